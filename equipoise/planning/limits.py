"""Limits beside the two promises: what the cluster may draw at any moment, and what a request may cost in energy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import msgspec
import numpy as np

from equipoise.core.plan import Condition, Plan
from equipoise.core.ranges import ASKED
from equipoise.core.request import Prefer, Requirement
from equipoise.planning.ladders import ladder_of
from equipoise.planning.mixer import Found, Mixer
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import TOLERANCE, Floats, Problem, described_watts, item_joules
from equipoise.planning.thrift import thriftiest

# What an item may be worth less than its accuracy: from only the best ones counting to sheer speed.
_PRICES = (0.75, 0.5, 0.25, 0.0, -10.0)
_GOLDEN = (5**0.5 - 1) / 2
_SECTIONS = 28  # a millionth of where the search begins
_HALVINGS = 30
_HUNDREDTH = 0.01
_PRECISION = 1e-3  # relative, of the least time or the highest accuracy within an energy budget


def within_power(problem: Problem) -> Problem:
    """The same problem with only those processors that may be at work together under `max_power_w`.

    Processors are taken in the order of what they are worth per watt, as many as fit; of several prices of an item,
    that one whose choice promises most.
    Raises PlanningError if the power of a processor is not described.
    """
    most_w = problem.request.requirement.max_power_w
    if most_w is None:
        return problem
    watts = described_watts(problem)
    spare_w = most_w - problem.fleet.costs.idle_w
    candidates = _choices_by_worth(problem, watts, spare_w)
    at_s = problem.deadline_s if math.isfinite(problem.deadline_s) else None
    return max(
        (_only(problem, chosen) for chosen in candidates),
        key=lambda few: _promise(few, at_s) if few.usable.any() else -math.inf,
    )


def _choices_by_worth(problem: Problem, watts: Floats, spare_w: float) -> Iterable[np.ndarray]:
    """Sets of processors (P,) that may work together."""
    fleet = problem.fleet
    item_s = np.where(problem.usable, fleet.item_s, np.inf) / problem.readiness.speed[:, None]
    chosen = []
    for price in _PRICES:
        worth = (np.maximum(0.0, fleet.accuracy - price) / item_s).max(axis=1)
        order = np.argsort(-worth / np.maximum(watts, TOLERANCE), kind="stable")
        chosen.append(_as_many_as_fit(order[worth[order] > 0], watts, spare_w))
    return chosen


def _as_many_as_fit(order: np.ndarray, watts: Floats, spare_w: float) -> np.ndarray:
    chosen = np.zeros(len(watts), dtype=bool)
    for p in order.tolist():
        if watts[p] <= spare_w * (1 + TOLERANCE):
            chosen[p] = True
            spare_w -= watts[p]
    return chosen


def _promise(problem: Problem, deadline_s: float | None) -> float:
    """How good the fluid optimum is: accuracy at the deadline, or the negative of the least time."""
    mixer = Mixer.of_accuracy(problem)
    if deadline_s is not None and problem.prefer is not Prefer.LATENCY:
        return mixer.fluid_gain(deadline_s)
    return -mixer.least_time_s(problem.floor * problem.items)


def _only(problem: Problem, chosen: np.ndarray) -> Problem:
    conditions = dict(problem.conditions)
    for p in np.flatnonzero(~chosen):
        pid = problem.fleet.pids[p]
        conditions[pid] = msgspec.structs.replace(conditions.get(pid, Condition()), available=False)
    return Problem(request=problem.request, fleet=problem.fleet, conditions=conditions)


def within_energy(problem: Problem, best: Callable[[Problem], Found]) -> Found:
    """The best plan under `max_energy_j`, `best` being how to find one without that limit."""
    most_j = problem.request.requirement.max_energy_j
    if most_j is None or problem.prefer is Prefer.ENERGY:
        return best(problem)
    free = best(_asking(problem, max_energy_j=None))
    if free.prediction is None or problem.is_within_limits(free.prediction):
        return free
    if problem.prefer is Prefer.ACCURACY:
        return _most_accurate(problem, free)
    return _fastest(problem, free)


def _most_accurate(problem: Problem, free: Found) -> Found:
    """The highest floor at which the thriftiest plan is within the budget."""
    best = _thriftiest_within(problem, problem.deadline_s)
    if best is None:
        return Found(prediction=None, bound=free.bound)
    high = bound = min(free.bound, _accuracy_bound(problem))
    while high - best.accuracy > _PRECISION * high:
        middle = (best.accuracy + high) / 2
        found = _thriftiest_within(problem, problem.deadline_s, middle)
        high, best = (middle, best) if found is None else (high, found)
    return Found(prediction=best, bound=bound)


def _accuracy_bound(problem: Problem) -> float:
    """What no plan within the budget can beat.

    Lagrange: at any price per joule, (most worth of accuracy - price x joules) + price x budget bounds the accuracy.
    The bound is convex in the price, so a golden section search finds the price at which it is tightest.
    """
    joules, budget_j = item_joules(problem), problem.request.requirement.max_energy_j or 0.0
    item_s = np.where(problem.usable, problem.fleet.item_s, np.inf)

    def bound(price: float) -> float:
        ladder = ladder_of(item_s, problem.fleet.accuracy - price * np.nan_to_num(joules))
        return (Mixer(problem, ladder).fluid_gain(problem.deadline_s) + price * budget_j) / problem.items

    low, high = 0.0, 10.0 / float(np.nanmin(joules))
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = bound(left), bound(right)
    for _ in range(_SECTIONS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = bound(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = bound(right)
    return min(at_left, at_right)


def _fastest(problem: Problem, free: Found) -> Found:
    """The shortest deadline within which the thriftiest plan is within the budget."""
    least_s = free.bound
    low_s = free.prediction.latency_s if free.prediction else least_s
    best, tried_s = None, low_s
    for _ in range(_HALVINGS):
        found = _thriftiest_within(problem, min(tried_s, problem.deadline_s))
        if found is not None:
            best = found
            break
        if tried_s >= problem.deadline_s:
            return Found(prediction=None, bound=least_s)
        low_s, tried_s = tried_s, 2 * tried_s
    while best is not None and best.latency_s - low_s > _PRECISION * best.latency_s:
        middle_s = (low_s + best.latency_s) / 2
        found = _thriftiest_within(problem, middle_s)
        low_s, best = (middle_s, best) if found is None else (low_s, found)
    return Found(prediction=best, bound=least_s)


def _thriftiest_within(problem: Problem, deadline_s: float, floor: float | None = None) -> Prediction | None:
    """The plan of least energy within a deadline, if it is within the budget."""
    asked = _asking(
        problem,
        deadline_s=deadline_s,
        throughput_per_s=None,
        prefer=Prefer.ENERGY,
        min_accuracy=problem.floor if floor is None else floor,
        max_energy_j=None,
    )
    found = thriftiest(asked).prediction
    return found if found is not None and asked.keeps(found) and problem.is_within_limits(found) else None


def _asking(problem: Problem, **changes: object) -> Problem:
    requirement: Requirement = msgspec.structs.replace(problem.request.requirement, **changes)
    request = msgspec.structs.replace(problem.request, requirement=requirement)
    return Problem(request=request, fleet=problem.fleet, conditions=problem.conditions)


def without_limits(problem: Problem) -> Problem:
    """The same problem with no limit on energy and power."""
    return _asking(problem, max_energy_j=None, max_power_w=None)


def has_limits(problem: Problem) -> bool:
    """True if energy or power is limited."""
    wanted = problem.request.requirement
    return wanted.max_energy_j is not None or wanted.max_power_w is not None


def needed_limits(problem: Problem, ask: Callable[[Problem], Plan | None]) -> tuple[float | None, float | None]:
    """Joules and watts, each of which alone would do where the promises alone can be kept; None where it would not.

    ask   puts a question to the strategy that declined the request. Each figure has been put to it; a hundredth less
          is declined.
    """
    wanted, fleet = problem.request.requirement, problem.fleet
    energy_j = power_w = None
    if wanted.max_energy_j is not None and (free := ask(_asking(problem, max_energy_j=None))) is not None:
        cheapest = thriftiest(_asking(without_limits(problem), prefer=Prefer.ENERGY)).prediction
        least_j = wanted.max_energy_j if cheapest is None or cheapest.energy_j is None else cheapest.energy_j
        energy_j = _least(least_j, free.energy_j, lambda joules: ask(_asking(problem, max_energy_j=joules)))
    if wanted.max_power_w is not None and (free := ask(_asking(problem, max_power_w=None))) is not None:
        least_w = fleet.costs.idle_w + float(np.nanmin(np.where(problem.usable.any(axis=1), fleet.watts, np.nan)))
        most_w = problem.predict(free.shares).power_w
        power_w = _least(least_w, most_w, lambda watts: ask(_asking(problem, max_power_w=watts)))
    return energy_j, power_w


def _least(start: float, most: float | None, ask: Callable[[float], Plan | None]) -> float | None:
    """The least figure from `start` upwards that suffices, to a hundredth; None if not even `most` does."""
    low = high = max(start, ASKED.least)
    if ask(high) is not None:
        return high
    high = max(high, most or 0.0)
    if ask(high) is None:
        return None
    while high - low > _HUNDREDTH * high:
        middle = (low + high) / 2
        low, high = (low, middle) if ask(middle) is not None else (middle, high)
    return high
