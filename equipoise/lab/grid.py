"""What is asked of every strategy on a cluster, and what each of them can do there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from equipoise.core.plan import Plan
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.planning.fleet import Fleet
from equipoise.planning.frontier import frontier, undominated
from equipoise.planning.planner import plan
from equipoise.planning.strategies import strategy_named

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEVELS = 20
OURS, EXACT = "equipoise", "milp"
_TIMED = 5  # requests, for the time that planning takes
_LENIENT = 0.99  # of the accuracy that could be had: a floor with some slack
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Levels:
    """Accuracy floors (F,) and rates in items/s (R,), spread over what a cluster can reach."""

    floors: Floats
    rates_per_s: Floats

    @classmethod
    def of(cls, fleet: Fleet, items: int, count: int = LEVELS) -> Levels:
        """The middles of `count` equal steps of each.

        Floors go from the accuracy of the fastest plan for `items` items up to that of the most accurate variant, rates
        from 0 up to the rate of that fastest plan.
        """
        steps = (np.arange(count) + 0.5) / count
        fastest = at_floor(fleet, items, 0.0, OURS)
        return cls(
            floors=fastest.accuracy + steps * (fleet.best_accuracy - fastest.accuracy),
            rates_per_s=steps * fastest.throughput_per_s,
        )


class Point(NamedTuple):
    """What a plan promises."""

    throughput_per_s: float
    accuracy: float


@dataclass(frozen=True)
class Reach:
    """The most that a strategy can do at each level; nan where it has no plan.

    `points` are its undominated plans. `gap` is the largest of its plans' relative distances to what is possible; None
    if it proves nothing.
    """

    rates_per_s: Floats  # (F,) with at least that accuracy
    accuracies: Floats  # (R,) at least that fast
    points: tuple[Point, ...]  # slowest and most accurate last
    gap: float | None = None

    def kept(self, levels: Levels) -> Bools:
        """(R, F) true where it keeps both promises: by its fastest plan at the floor, or its best one at the rate."""
        fast_enough = self.rates_per_s[None, :] * (1 + _TOLERANCE) >= levels.rates_per_s[:, None]
        accurate_enough = self.accuracies[:, None] >= levels.floors[None, :] - _TOLERANCE
        return fast_enough | accurate_enough


def at_floor(fleet: Fleet, items: int, floor: float, strategy: str) -> Plan:
    """The strategy's fastest plan at least so accurate."""
    requirement = Requirement(min_accuracy=float(floor), prefer=Prefer.LATENCY)
    return plan(Request(items=items, requirement=requirement), fleet, strategy=strategy)


def at_rate(fleet: Fleet, items: int, rate_per_s: float, strategy: str) -> Plan:
    """The strategy's most accurate plan at least so fast."""
    requirement = Requirement(throughput_per_s=float(rate_per_s))
    return plan(Request(items=items, requirement=requirement), fleet, strategy=strategy)


def reach(fleet: Fleet, items: int, levels: Levels, strategy: str) -> Reach:
    """What a strategy can do at each level. Raises UnknownStrategyError."""
    if strategy_named(strategy).candidates is not None:
        return _among_candidates(fleet, items, levels, strategy)
    fast = [at_floor(fleet, items, floor, strategy) for floor in levels.floors]
    accurate = [at_rate(fleet, items, rate, strategy) for rate in levels.rates_per_s]
    plans = [found for found in (*fast, *accurate) if found.feasible]
    gaps = [found.gap for found in plans if found.gap is not None]
    return Reach(
        rates_per_s=np.array([found.throughput_per_s if found.feasible else np.nan for found in fast]),
        accuracies=np.array([found.accuracy if found.feasible else np.nan for found in accurate]),
        points=_points(undominated(plans)),
        gap=max(gaps, default=None),
    )


def _among_candidates(fleet: Fleet, items: int, levels: Levels, strategy: str) -> Reach:
    """Of a strategy whose candidates do not depend on the request: the best of them is what it plans."""
    known = frontier(items, fleet, strategy=strategy)
    rates, accuracies = (np.array([getattr(p, name) for p in known]) for name in ("throughput_per_s", "accuracy"))
    enough = accuracies >= levels.floors[:, None] - _TOLERANCE
    in_time = rates * (1 + _TOLERANCE) >= levels.rates_per_s[:, None]
    return Reach(
        rates_per_s=_best_where(rates, enough),
        accuracies=_best_where(accuracies, in_time),
        points=_points(known),
    )


def _points(plans: Iterable[Plan]) -> tuple[Point, ...]:
    return tuple(Point(found.throughput_per_s, found.accuracy) for found in plans)


def _best_where(values: Floats, allowed: Bools) -> Floats:
    """(L,) the largest of the values (N,) that each level allows (L, N); nan where it allows none."""
    best = np.where(allowed, values, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(best), best, np.nan)


def planning_s(
    fleet: Fleet, items: int, levels: Levels, found: Reach, *, strategy: str, clock: Callable[[], float]
) -> float | None:
    """Median seconds to plan a request that the strategy can keep, from slow to fast; None if it can keep none."""
    able = np.flatnonzero(np.isfinite(found.accuracies))
    taken = []
    for k in able[np.linspace(0, len(able) - 1, min(_TIMED, len(able))).round().astype(int)]:
        requirement = Requirement(
            min_accuracy=_LENIENT * float(found.accuracies[k]), throughput_per_s=float(levels.rates_per_s[k])
        )
        request = Request(items=items, requirement=requirement)
        taken.append(plan(request, fleet, strategy=strategy, clock=clock).solve_s)
    return float(np.median(taken)) if taken else None


def feasible(kept: Mapping[str, Bools]) -> Bools:
    """(R, F) the requirements that some strategy can keep."""
    some: Bools = np.logical_or.reduce(list(kept.values()))
    return some
