"""A scenario: which requests come when, what happens to the nodes, and how the world differs from its description.

These nouns are the file format (TOML, see docs/simulation.md). What can be checked without the cluster is checked when
they are made, the rest by `check`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from random import Random

import msgspec

from equipoise.core.cluster import Cluster
from equipoise.core.request import Prefer, Request, Requirement, WhenLate
from equipoise.core.stream import StreamRequest
from equipoise.simulation.arrivals import Arrivals, Poisson

_FILE_NAME = re.compile(r"^[\w.-]*$")  # what a request's name may become


def _check_time(at_s: float) -> None:
    if not (math.isfinite(at_s) and at_s >= 0):
        raise ValueError(f"at_s must be 0 or more and finite, not {at_s}")


def _check_positive(**figures: float) -> None:
    for name, value in figures.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, not {value}")


class ScenarioError(ValueError):
    """What is wrong with a scenario, and where: `place` is a path in it, such as `events[2].node`."""

    def __init__(self, problem: str, place: str) -> None:
        super().__init__(problem)
        self.place = place


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many items at once. If what it requires cannot be had it is declined, unless the closest plan will do."""

    items: int
    requirement: Requirement
    name: str = ""  # by default its place in the scenario
    at_s: float = 0.0
    best_effort: bool = False

    def __post_init__(self) -> None:
        if self.items < 1:
            raise ValueError(f"items must be at least 1, not {self.items}")
        if not _FILE_NAME.match(self.name):
            raise ValueError(f"name {self.name!r} must be made of letters, digits, '.', '-' and '_'")
        _check_time(self.at_s)

    @property
    def request(self) -> Request:
        """It as the planner sees it."""
        return Request(items=self.items, requirement=self.requirement)


class Stream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items that keep arriving for `for_s` from `at_s` on, when `arrivals` has it; the rest is a stream's requirement.

    `arrivals_per_s` is the mean rate, and the one that is promised for. If it cannot be promised it is declined, unless
    the routes of the largest rate will do.
    """

    arrivals_per_s: float
    item_latency_s: float
    for_s: float
    confidence: float = 0.95
    min_accuracy: float = 0.0
    prefer: Prefer = Prefer.ACCURACY
    when_late: WhenLate = WhenLate.STOP
    arrivals: Arrivals = Poisson()
    name: str = ""  # by default its place in the scenario
    at_s: float = 0.0
    best_effort: bool = False

    def __post_init__(self) -> None:
        if not _FILE_NAME.match(self.name):
            raise ValueError(f"name {self.name!r} must be made of letters, digits, '.', '-' and '_'")
        _check_time(self.at_s)
        _check_positive(for_s=self.for_s)
        _ = self.request  # raises ValueError for what no stream can require

    def arrivals_s(self, seed: int) -> Iterator[float]:
        """When its items arrive in the run with this seed, in order, from the start of the scenario."""
        for after_s in self.arrivals.times_s(self.arrivals_per_s, Random(f"{seed}/streams/{self.name}")):
            if after_s >= self.for_s:
                return
            yield self.at_s + after_s

    @property
    def request(self) -> StreamRequest:
        """It as the planner sees it."""
        return StreamRequest(
            arrivals_per_s=self.arrivals_per_s,
            item_latency_s=self.item_latency_s,
            confidence=self.confidence,
            min_accuracy=self.min_accuracy,
            prefer=self.prefer,
            when_late=self.when_late,
        )


class _NodeEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Something happens to one node, or to a `fraction` of all nodes, chosen by chance; and is undone after `for_s`."""

    at_s: float
    node: str | None = None
    fraction: float | None = None
    for_s: float | None = None

    def __post_init__(self) -> None:
        _check_time(self.at_s)
        if (self.node is None) == (self.fraction is None):
            raise ValueError("node and fraction: an event needs one of them, and not both")
        if self.fraction is not None and not 0.0 < self.fraction <= 1.0:
            raise ValueError(f"fraction must be above 0 and at most 1, not {self.fraction}")
        if self.for_s is not None:
            _check_positive(for_s=self.for_s)


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
        _check_positive(speed=self.speed)


class Heats(_NodeEvent, frozen=True, kw_only=True, tag="heat"):
    """Under lasting work nodes slow down gradually, towards `speed`; idle, they recover."""

    speed: float
    time_constant_s: float
    processor: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(speed=self.speed, time_constant_s=self.time_constant_s)
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
            _check_positive(bandwidth_bytes_per_s=self.bandwidth_bytes_per_s)


NodeEvent = Leaves | Returns | Load | Heats | LinkChanges


class Stragglers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call in 1 / `probability` takes longer, by a factor whose tail is Pareto's: P(factor > x) = x ** -tail.

    No factor exceeds `most`.
    """

    probability: float
    tail: float = 1.5
    most: float = 100.0

    def __post_init__(self) -> None:
        if not 0.0 < self.probability <= 1.0:
            raise ValueError(f"probability must be above 0 and at most 1, not {self.probability}")
        _check_positive(tail=self.tail)
        if not (math.isfinite(self.most) and self.most >= 1):
            raise ValueError(f"most must be at least 1 and finite, not {self.most}")


class Truth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the world differs from the cluster description, and what the network notices.

    speed_error     true speeds are profiled ones times 1 - speed_error to 1 + speed_error, by chance, per processor
    variant_error   likewise, and independently, per processor and variant
    stragglers      calls that take far longer than they should
    lease_s         how long a node must be silent to be given up
    planning_s      how long the coordinator takes to plan the rest of a request
    """

    speed_error: float = 0.0
    variant_error: float = 0.0
    stragglers: Stragglers | None = None
    lease_s: float = 2.0
    planning_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("speed_error", "variant_error"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        _check_positive(lease_s=self.lease_s)
        if not (math.isfinite(self.planning_s) and self.planning_s >= 0):
            raise ValueError(f"planning_s must be 0 or more and finite, not {self.planning_s}")


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of a cluster and what befalls it, in the order of time."""

    requests: tuple[BatchRequest, ...] = ()
    streams: tuple[Stream, ...] = ()
    events: tuple[NodeEvent, ...] = ()
    truth: Truth = Truth()

    def __post_init__(self) -> None:
        if not self.requests and not self.streams:
            raise ValueError("there are neither requests nor streams, so nothing would happen")

    def named(self) -> Scenario:
        """The same, every request and stream with a name."""
        requests = (
            msgspec.structs.replace(asked, name=asked.name or f"request-{number}")
            for number, asked in enumerate(self.requests, start=1)
        )
        streams = (
            msgspec.structs.replace(asked, name=asked.name or f"stream-{number}")
            for number, asked in enumerate(self.streams, start=1)
        )
        return msgspec.structs.replace(self, requests=tuple(requests), streams=tuple(streams))

    def check(self, cluster: Cluster) -> None:
        """Raise ScenarioError if it contradicts itself or the cluster that it is to happen to."""
        _check_order("requests", (asked.at_s for asked in self.requests))
        _check_order("streams", (asked.at_s for asked in self.streams))
        _check_order("events", (event.at_s for event in self.events))
        named = self.named()
        _check_names(
            {f"requests[{n}]": asked.name for n, asked in enumerate(named.requests)}
            | {f"streams[{n}]": asked.name for n, asked in enumerate(named.streams)}
        )
        _check_nodes(self.events, cluster)
        _check_returns(self.events)


def _check_order(what: str, times: Iterable[float]) -> None:
    before_s = 0.0
    for number, at_s in enumerate(times):
        if at_s < before_s:
            raise ScenarioError(f"time runs backwards: {at_s} s comes after {before_s} s", f"{what}[{number}].at_s")
        before_s = at_s


def _check_names(names: Mapping[str, str]) -> None:
    seen: set[str] = set()
    for place, name in names.items():
        if name in seen:
            raise ScenarioError(f"two requests are called {name!r}", f"{place}.name")
        seen.add(name)


def _check_nodes(events: Iterable[NodeEvent], cluster: Cluster) -> None:
    processors = {node.name: [processor.name for processor in node.processors] for node in cluster.nodes}
    for number, event in enumerate(events):
        if event.node is not None and event.node not in processors:
            known = ", ".join(processors)
            raise ScenarioError(f"there is no node {event.node!r}; known: {known}", f"events[{number}].node")
        processor = getattr(event, "processor", None)
        of = processors[event.node] if event.node is not None else sorted(set().union(*processors.values()))
        if processor is not None and processor not in of:
            raise ScenarioError(
                f"there is no processor {processor!r} there; known: {', '.join(of)}", f"events[{number}].processor"
            )


def _check_returns(events: Iterable[NodeEvent]) -> None:
    """A node that is named can return only if it has left, and leave only if it is there."""
    back_s: dict[str, float] = {}  # of the nodes that have left, when they return
    for number, event in enumerate(events):
        name = event.node
        if name is None:
            continue
        away = event.at_s < back_s.get(name, -math.inf)
        if isinstance(event, Leaves):
            if away:
                raise ScenarioError(f"node {name!r} leaves, but it has left already", f"events[{number}].node")
            back_s[name] = math.inf if event.for_s is None else event.at_s + event.for_s
        elif isinstance(event, Returns):
            if not away and not any(isinstance(earlier, Leaves) and earlier.node is None for earlier in events):
                raise ScenarioError(f"node {name!r} returns, but it has not left", f"events[{number}].node")
            back_s[name] = -math.inf
