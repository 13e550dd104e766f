"""The limit `clairvoyant`: what nobody can beat who knows all that will happen in a scenario.

It is a bound and not a run. Who knows the future knows for each processor p how much work, in seconds at the speed of
its profile, it can do from the request's arrival until any time D later:

    W_p(D) = sum, over the stretches of its future until D, of  most_work_s(pace, seconds)  where its node is there

(equipoise/simulation/pace.py; without heat that is the integral of its true speed). Its items with variant v truly take
s[p,v] seconds of work each: what the profile says at the best batch size, times what the profile is wrong by. The most
accuracy that `items` can have until D is that of divisible items without fixed costs,

    A(D) = max  sum a[v] x[p,v] / items    subject to   sum_v s[p,v] x[p,v] <= W_p(D),   sum x[p,v] = items,   x >= 0

(equipoise/planning/fluid.py), which rises with D: so the least latency at the floor is found by bisection.

Of a stream that lasts T seconds, with a fraction c of its items answered within L, c N of the N that arrive are
answered by T + L after its beginning. Their accuracy is no better than A(T + L) of c N items; the others may be late,
and as accurate as can be:

    accuracy  <=  c A(T + L)  +  (1 - c) max a[v]

What it leaves out could only tighten it, so that it remains one: links, memory, energy, stragglers, other requests,
warmth from one stretch to the next, all loading but the first of each processor, and that items of a stream cannot be
answered before they arrive. It holds for what calls take in
the mean: where they scatter (`latency_stddev_s`), a single run may beat it by luck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from equipoise.core.cluster import Cluster
from equipoise.core.request import Request
from equipoise.planning.fluid import fill
from equipoise.planning.hulls import Hulls, upper_hulls
from equipoise.simulation.agenda import Agenda
from equipoise.simulation.happenings import Happenings
from equipoise.simulation.pace import Heat, most_work_s
from equipoise.simulation.records import discard
from equipoise.simulation.scenario import BatchRequest, Scenario, Stream
from equipoise.simulation.world import SimulatedNode, World

Floats = npt.NDArray[np.float64]

_CLOSE = 1e-12  # relative; the bisection has converged
_ROUNDING = 1e-9  # of accuracy: what a receipt forgives, too


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What no strategy can beat in one request of one run.

    latency_s    the least with which all items are answered at the floor; None if that cannot be at all
    of_deadline  the same over the deadline; None without either
    accuracy     the best possible if all items are answered within the deadline; None if they cannot be
    keepable     whether both promises could be kept
    """

    request: str
    latency_s: float | None
    of_deadline: float | None
    accuracy: float | None
    keepable: bool


class StreamLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What no strategy can beat in one stream of one run.

    accuracy     the best possible if its latency is kept; None if it cannot be
    keepable     whether both promises could be kept
    """

    stream: str
    accuracy: float | None
    keepable: bool


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Those of everything that is asked for in one run, in the order of the scenario."""

    requests: tuple[Limit, ...]
    streams: tuple[StreamLimit, ...]


def limits(cluster: Cluster, scenario: Scenario, seed: int = 0) -> Limits:
    """The limits of the run that `simulate` makes of the same arguments.

    Raises ScenarioError if the scenario does not fit the cluster.
    """
    scenario.check(cluster)
    scenario = scenario.named()
    agenda = Agenda()
    world = World(cluster, scenario.truth, agenda, seed, discard)
    Happenings(cluster, world, agenda, seed).enter(scenario.events)
    futures = _foreseen(world, agenda)
    item_s = _true_item_s(cluster, world)
    accuracy = np.array([variant.accuracy for variant in cluster.variants])
    hulls = upper_hulls(item_s, np.broadcast_to(accuracy, item_s.shape))
    slowest_s = float(item_s[np.isfinite(item_s)].max())
    loads_s = np.array([min((p.load_s for p in known.profiles), default=0.0) for _, known in cluster.processors()])

    def foresight(at_s: float, loads_s: Floats) -> _Foresight:
        return _Foresight(futures, hulls, slowest_s, at_s, loads_s)

    return Limits(
        requests=tuple(
            foresight(asked.at_s, loads_s * _is_first(scenario, asked)).limit(asked) for asked in scenario.requests
        ),
        streams=tuple(
            foresight(asked.at_s, 0.0 * loads_s).stream_limit(asked, seed, float(accuracy.max()))
            for asked in scenario.streams
        ),
    )


def _is_first(scenario: Scenario, asked: BatchRequest) -> bool:
    """True if nobody can have loaded anything for it."""
    earlier = any(other.at_s < asked.at_s for other in scenario.requests)
    return not earlier and not any(stream.at_s <= asked.at_s for stream in scenario.streams)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A time in which nothing changes for a processor that is there."""

    from_s: float
    to_s: float
    steady: float
    heat: Heat | None

    def work_s(self, from_s: float, to_s: float) -> float:
        """The most work within it between two times."""
        seconds = min(to_s, self.to_s) - max(from_s, self.from_s)
        return most_work_s(self.steady, self.heat, seconds) if seconds > 0 else 0.0


_Future = tuple[_Stretch, ...]


@dataclass(frozen=True, slots=True)
class _Moment:
    """A processor from one time on, until the next moment."""

    at_s: float
    heard: bool
    life: int  # of its node, which loses what it was sent when it begins another
    steady: float
    heat: Heat | None

    def same(self, other: _Moment) -> bool:
        return (self.heard, self.life, self.steady, self.heat) == (other.heard, other.life, other.steady, other.heat)


def _foreseen(world: World, agenda: Agenda) -> list[_Future]:
    """(P,) what will become of every processor, whatever it is asked to do: the events happen to an idle world."""
    moments: list[list[_Moment]] = [[] for node in world.nodes for _ in node.processors]

    def look() -> bool:
        if agenda.next_s > agenda.now_s:  # all that happens at this time has happened
            for past, now in zip(moments, _now(world.nodes, agenda.now_s), strict=True):
                if not (past and now.same(past[-1])):
                    past.append(now)
        return False

    agenda.run(until=look)
    look()  # it is not asked after the last action
    return [_stretches(past) for past in moments]


def _now(nodes: Sequence[SimulatedNode], now_s: float) -> list[_Moment]:
    return [
        _Moment(now_s, node.heard, node.life, *processor.pace)
        for node in nodes
        for processor in node.processors.values()
    ]


def _stretches(moments: Sequence[_Moment]) -> _Future:
    """Those in which what it does will count: heard, or within a silence that ends before the node is given up."""
    ends_s = [*(following.at_s for following in moments[1:]), math.inf]
    return tuple(
        _Stretch(one.at_s, to_s, one.steady, one.heat)
        for number, (one, to_s) in enumerate(zip(moments, ends_s, strict=True))
        if one.heard or _lives_on(moments, number)
    )


def _lives_on(moments: Sequence[_Moment], number: int) -> bool:
    """True if the node was last heard in the same life in which it is heard next."""
    before = next((one.life for one in reversed(moments[:number]) if one.heard), None)
    after = next((one.life for one in moments[number:] if one.heard), None)
    return before == after


def _true_item_s(cluster: Cluster, world: World) -> Floats:
    """(P, V) seconds of work per item; inf where there is no profile."""
    processors = [processor for node in world.nodes for processor in node.processors.values()]
    item_s = np.full((len(processors), len(cluster.variants)), np.inf)
    column = {variant.name: number for number, variant in enumerate(cluster.variants)}
    for row, (processor, (_, known)) in enumerate(zip(processors, cluster.processors(), strict=True)):
        for profile in known.profiles:
            item_s[row, column[profile.variant]] = processor.true_item_s(profile.variant)
    return item_s


@dataclass(frozen=True)
class _Foresight:
    """What can be done for a request that comes at `at_s`.

    slowest_s   of work for an item, with any variant on any processor
    loads_s     (P,) of work before a processor's first item
    """

    futures: Sequence[_Future]
    hulls: Hulls
    slowest_s: float
    at_s: float
    loads_s: Floats

    def limit(self, asked: BatchRequest) -> Limit:
        request = asked.request
        floor = request.requirement.min_accuracy - _ROUNDING
        accuracy, latency_s = self._best_accuracy(request), self._least_latency_s(request.items, floor)
        timed = latency_s is not None and math.isfinite(request.deadline_s)
        return Limit(
            request=asked.name,
            latency_s=latency_s,
            of_deadline=latency_s / request.deadline_s if timed and latency_s is not None else None,
            accuracy=accuracy,
            keepable=accuracy is not None and accuracy >= floor,
        )

    def stream_limit(self, asked: Stream, seed: int, most_accurate: float) -> StreamLimit:
        arrived = sum(1 for _ in asked.arrivals_s(seed))
        in_time = math.ceil(asked.confidence * arrived)
        if not arrived:
            return StreamLimit(stream=asked.name, accuracy=most_accurate, keepable=True)
        timely = self._accuracy(in_time, asked.for_s + asked.item_latency_s)
        accuracy = None if timely is None else (in_time * timely + (arrived - in_time) * most_accurate) / arrived
        keepable = accuracy is not None and accuracy >= asked.min_accuracy - 1 / arrived  # as a StreamOutcome has it
        return StreamLimit(stream=asked.name, accuracy=accuracy, keepable=keepable)

    def _best_accuracy(self, request: Request) -> float | None:
        within_s = request.deadline_s
        return self._accuracy(request.items, within_s if math.isfinite(within_s) else self._long_s(request.items))

    def _least_latency_s(self, items: int, floor: float) -> float | None:
        low_s, high_s = 0.0, self._long_s(items)
        if not self._keeps(items, floor, high_s):
            return None
        while high_s - low_s > _CLOSE * high_s:
            middle_s = (low_s + high_s) / 2
            if self._keeps(items, floor, middle_s):
                high_s = middle_s
            else:
                low_s = middle_s
        return low_s  # of the two the one that is a bound

    def _long_s(self, items: int) -> float:
        """So long that more time brings no more: whoever is there in the end could do everything alone by then."""
        work_s = items * self.slowest_s + float(self.loads_s.max())
        last = [future[-1] for future in self.futures if future]
        return max(
            (
                max(0.0, one.from_s - self.at_s) + work_s / (one.steady * (one.heat.speed if one.heat else 1.0))
                if math.isinf(one.to_s)
                else max(0.0, one.to_s - self.at_s)
                for one in last
            ),
            default=0.0,
        )

    def _keeps(self, items: int, floor: float, within_s: float) -> bool:
        accuracy = self._accuracy(items, within_s)
        return accuracy is not None and accuracy >= floor

    def _accuracy(self, items: int, within_s: float) -> float | None:
        filled = fill(self.hulls, self._work_s(within_s), items)
        return None if filled is None else filled.gain / items

    def _work_s(self, within_s: float) -> Floats:
        from_s, to_s = self.at_s, self.at_s + within_s
        total_s = np.array([sum(one.work_s(from_s, to_s) for one in future) for future in self.futures])
        return np.maximum(0.0, total_s - self.loads_s)
