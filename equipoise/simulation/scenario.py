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
from equipoise.simulation.events import (
    Event,
    ScenarioError,
    check_nodes,
    check_positive,
    check_returns,
    check_time,
)

_FILE_NAME = re.compile(r"^[\w.-]*$")  # what a request's name may become


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
        check_time(self.at_s)

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
        check_time(self.at_s)
        check_positive(for_s=self.for_s)
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
        check_positive(tail=self.tail)
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
        check_positive(lease_s=self.lease_s)
        if not (math.isfinite(self.planning_s) and self.planning_s >= 0):
            raise ValueError(f"planning_s must be 0 or more and finite, not {self.planning_s}")


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of a cluster and what befalls it, in the order of time."""

    requests: tuple[BatchRequest, ...] = ()
    streams: tuple[Stream, ...] = ()
    events: tuple[Event, ...] = ()
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
        check_nodes(self.events, cluster)
        check_returns(self.events)


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
