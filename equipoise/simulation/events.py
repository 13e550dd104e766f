"""What can befall the nodes of a scenario, and the links to them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from equipoise.core.cluster import Cluster


def check_time(at_s: float) -> None:
    """Raise ValueError if that is no time."""
    if not (math.isfinite(at_s) and at_s >= 0):
        raise ValueError(f"at_s must be 0 or more and finite, not {at_s}")


def check_positive(**figures: float) -> None:
    """Raise ValueError if one of them is not positive and finite."""
    for name, value in figures.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, not {value}")


class ScenarioError(ValueError):
    """What is wrong with a scenario, and where: `place` is a path in it, such as `events[2].node`."""

    def __init__(self, problem: str, place: str) -> None:
        super().__init__(problem)
        self.place = place


class _NodeEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Something happens to one node, or to a `fraction` of all nodes, chosen by chance; and is undone after `for_s`."""

    at_s: float
    node: str | None = None
    fraction: float | None = None
    for_s: float | None = None

    def __post_init__(self) -> None:
        check_time(self.at_s)
        if (self.node is None) == (self.fraction is None):
            raise ValueError("node and fraction: an event needs one of them, and not both")
        if self.fraction is not None and not 0.0 < self.fraction <= 1.0:
            raise ValueError(f"fraction must be above 0 and at most 1, not {self.fraction}")
        if self.for_s is not None:
            check_positive(for_s=self.for_s)


class Leaves(_NodeEvent, frozen=True, kw_only=True, tag="leaves"):
    """Nodes go: killed, which is noticed at once, or `silent`, which is noticed when their lease has run out."""

    silent: bool = False


class Returns(_NodeEvent, frozen=True, kw_only=True, tag="returns"):
    """Nodes that left are there again; killed ones with nothing loaded."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.for_s is not None:
            raise ValueError("for_s makes no sense for a node that returns; let it leave again")


class Load(_NodeEvent, frozen=True, kw_only=True, tag="load"):
    """From one moment to the next, background load slows nodes down to `speed` times what their profiles say."""

    speed: float
    processor: str | None = None  # by default all of the node

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(speed=self.speed)


class Heats(_NodeEvent, frozen=True, kw_only=True, tag="heat"):
    """Under lasting work nodes slow down gradually, towards `speed`; idle, they recover."""

    speed: float
    time_constant_s: float
    processor: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(speed=self.speed, time_constant_s=self.time_constant_s)
        if self.speed > 1:
            raise ValueError(f"speed must be at most 1, not {self.speed}: heat slows down")


class LinkChanges(_NodeEvent, frozen=True, kw_only=True, tag="link"):
    """The links of nodes are others from now on; what is not given stays."""

    latency_s: float | None = None
    bandwidth_bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latency_s is None and self.bandwidth_bytes_per_s is None:
            raise ValueError("latency_s and bandwidth_bytes_per_s: a link that changes needs one of them")
        if self.latency_s is not None and not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise ValueError(f"latency_s must be 0 or more and finite, not {self.latency_s}")
        if self.bandwidth_bytes_per_s is not None:
            check_positive(bandwidth_bytes_per_s=self.bandwidth_bytes_per_s)


class UplinkChanges(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="uplink"
):
    """The coordinators' uplink, which all nodes share, is another from now on; undone after `for_s`."""

    at_s: float
    bandwidth_bytes_per_s: float
    for_s: float | None = None

    def __post_init__(self) -> None:
        check_time(self.at_s)
        check_positive(bandwidth_bytes_per_s=self.bandwidth_bytes_per_s)
        if self.for_s is not None:
            check_positive(for_s=self.for_s)


NodeEvent = Leaves | Returns | Load | Heats | LinkChanges
Event = NodeEvent | UplinkChanges


def check_nodes(events: Iterable[Event], cluster: Cluster) -> None:
    """Raise ScenarioError if an event is for a node or processor that the cluster lacks."""
    processors = {node.name: [processor.name for processor in node.processors] for node in cluster.nodes}
    for number, event in enumerate(events):
        if isinstance(event, UplinkChanges):
            continue
        if event.node is not None and event.node not in processors:
            known = ", ".join(processors)
            raise ScenarioError(f"there is no node {event.node!r}; known: {known}", f"events[{number}].node")
        processor = getattr(event, "processor", None)
        of = processors[event.node] if event.node is not None else sorted(set().union(*processors.values()))
        if processor is not None and processor not in of:
            raise ScenarioError(
                f"there is no processor {processor!r} there; known: {', '.join(of)}", f"events[{number}].processor"
            )


def check_returns(events: Iterable[Event]) -> None:
    """Raise ScenarioError if a node that is named returns though it has not left, or leaves though it is not there."""
    known = list(events)
    back_s: dict[str, float] = {}  # of the nodes that have left, when they return
    for number, event in enumerate(known):
        if isinstance(event, UplinkChanges) or event.node is None:
            continue
        name = event.node
        away = event.at_s < back_s.get(name, -math.inf)
        if isinstance(event, Leaves):
            if away:
                raise ScenarioError(f"node {name!r} leaves, but it has left already", f"events[{number}].node")
            back_s[name] = math.inf if event.for_s is None else event.at_s + event.for_s
        elif isinstance(event, Returns):
            if not away and not any(isinstance(earlier, Leaves) and earlier.node is None for earlier in known):
                raise ScenarioError(f"node {name!r} returns, but it has not left", f"events[{number}].node")
            back_s[name] = -math.inf
