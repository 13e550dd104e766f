"""Limits beside the two promises: what the cluster may draw at any moment, and what a request may cost in energy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import msgspec
import numpy as np

from equipoise.core.plan import Condition
from equipoise.core.request import Prefer, Requirement
from equipoise.planning.fleet import ladder_of
from equipoise.planning.mixer import Found, Mixer
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import TOLERANCE, Floats, Problem, described_watts, item_joules
from equipoise.planning.thrift import thriftiest

# What an item may be worth less than its accuracy: from only the best ones counting to sheer speed.
_PRICES = (0.75, 0.5, 0.25, 0.0, -10.0)
_HALVINGS = 30
_PRECISION = 1e-3  # relative, of the least time within an energy budget


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
        return _most_accurate(problem, most_j, free.bound)
    return _fastest(problem, free)


def _most_accurate(problem: Problem, most_j: float, bound: float) -> Found:
    """Lagrange: at a price per joule an item is worth accuracy - price x joules.

    The least price whose plan is within the budget is looked for; at any price, (most worth + price x budget) bounds
    the accuracy.
    """
    joules = item_joules(problem)
    item_s = np.where(problem.usable, problem.fleet.item_s, np.inf)
    best: Prediction | None = None
    low, high, price = 0.0, math.inf, 1.0 / float(np.nanmax(joules))
    for _ in range(_HALVINGS):
        ladder = ladder_of(item_s, problem.fleet.accuracy - price * np.nan_to_num(joules))
        found = (mixed := Mixer(problem, ladder).mix(problem.deadline_s)).prediction
        bound = min(bound, (mixed.bound + price * most_j) / problem.items)
        if found is not None and problem.is_within_limits(found):
            high = price
            best = found if best is None or found.accuracy > best.accuracy else best
        else:
            low = price
        price = (low + high) / 2 if math.isfinite(high) else 4 * price
    return Found(prediction=best if best is not None and problem.keeps(best) else None, bound=bound)


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


def _thriftiest_within(problem: Problem, deadline_s: float) -> Prediction | None:
    asked = _asking(problem, deadline_s=deadline_s, throughput_per_s=None, prefer=Prefer.ENERGY)
    found = thriftiest(asked).prediction
    return found if found is not None and asked.keeps(found) else None


def _asking(problem: Problem, **changes: object) -> Problem:
    requirement: Requirement = msgspec.structs.replace(problem.request.requirement, **changes)
    request = msgspec.structs.replace(problem.request, requirement=requirement)
    return Problem(request=request, fleet=problem.fleet, conditions=problem.conditions)
