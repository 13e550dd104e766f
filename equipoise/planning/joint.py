"""The `equipoise` strategy: shares and variants chosen together.

The fluid optimum says where to look and what cannot be beaten; whole items are chosen near it; the cost model has
the last word. Three searches, one for each preference: the most accurate plan within a deadline is one look, the
fastest plan above a floor is a search over deadlines, the thriftiest plan within both one over the price of accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from equipoise.core.plan import Plan
from equipoise.core.request import Prefer
from equipoise.planning.alone import best_alone
from equipoise.planning.limits import within_energy, within_power
from equipoise.planning.mixer import Found, Mixer
from equipoise.planning.polish import polished
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import TOLERANCE, Problem
from equipoise.planning.thrift import thriftiest

_LATENCY_PRECISION = 1e-4  # relative, of the search over deadlines
_SLACK_PRECISION = 0.01  # the same where time is what is left over
_FIRST_STEP, _SLACK_STEP = 1e-3, 0.03  # relative to the bound
_DEADLINES = 16  # tried at most by that search
_CLOSE = 2e-3  # relative: a gap that is not worth polishing
_SMALL = 500  # pairs of processor and variant: of more, polishing would take too long
_PATIENCE = 1e3  # how many times the fluid bound a plan may take before the search for a first one gives up


def best(problem: Problem) -> Found:
    """The best plan that keeps both promises within all limits, in the sense of the problem's preference."""
    return within_energy(within_power(problem), _best_by_preference)


def _best_by_preference(problem: Problem) -> Found:
    if not problem.usable.any():  # no processor is within the power that is allowed
        return Found(prediction=None, bound=0.0 if problem.prefer is Prefer.ACCURACY else math.inf)
    match problem.prefer:
        case Prefer.ACCURACY:
            return _most_accurate_then_fastest(problem)
        case Prefer.LATENCY:
            return fastest(problem, floor=problem.floor, deadline_s=problem.deadline_s)
        case Prefer.ENERGY:
            return thriftiest(problem)


def solve(problem: Problem) -> Plan | None:
    """The plan of strategy `equipoise`, or None if it finds none that keeps both promises."""
    found = best_alone(problem) or best(problem)
    if found.prediction is None:
        return None
    return problem.plan("equipoise", found.prediction, bound=found.bound)


def polish(problem: Problem, plan: Plan) -> Plan:
    """The plan made better where accuracy or latency is preferred and more than divisible items decides.

    Takes up to some seconds, where `solve` takes milliseconds.
    """
    requirement = problem.request.requirement
    if problem.prefer is Prefer.ENERGY or requirement.confidence is not None or not is_rough(problem):
        return plan
    if plan.bound is None:
        return plan
    if problem.usable.sum() > _SMALL or (plan.gap or 0.0) <= _CLOSE:
        return plan
    if problem.prefer is Prefer.ACCURACY and not math.isfinite(problem.deadline_s):
        return plan  # time is no limit, so that nothing can be won by being closer to it
    return problem.plan(plan.strategy, polished(problem, problem.predict(plan.shares), plan.bound), bound=plan.bound)


def is_rough(problem: Problem) -> bool:
    """True if more than divisible items that cost the same each decides."""
    fleet = problem.fleet
    return fleet.has_links or fleet.has_batches or fleet.is_memory_bound or problem.readiness.load_s is not None


def is_admitted_by_bound(problem: Problem) -> bool:
    """False if the fluid bound proves that no plan keeps both promises."""
    mixer = Mixer.of_accuracy(problem)
    return mixer.fluid_gain(problem.deadline_s) >= problem.floor * problem.items * (1 - TOLERANCE)


def most_accurate(problem: Problem, *, deadline_s: float) -> Found:
    """The most accurate plan within a deadline, whatever the floor. The bound is an accuracy."""
    found = Mixer.of_accuracy(problem).mix(deadline_s)
    return Found(prediction=found.prediction, bound=found.bound / problem.items)


def fastest(problem: Problem, *, floor: float, deadline_s: float = math.inf, is_quick: bool = False) -> Found:
    """The fastest plan at least as accurate as `floor`; None if that takes longer than `deadline_s`.

    Brackets the shortest deadline for which the most accurate plan reaches the floor, from the fluid bound upwards.
    Every plan found is at least as fast as the deadline that it was asked for, so the bracket closes quickly.

    is_quick   True to spare what takes longest, where speed is only what is left over
    """
    mixer = Mixer.of_accuracy(problem)
    bound_s = mixer.least_time_s(floor * problem.items)
    if not bound_s <= deadline_s * (1 + TOLERANCE):
        return Found(prediction=None, bound=bound_s)

    def look(at_s: float) -> Prediction | None:
        return mixer.mix_at_floor(at_s, floor, is_quick=is_quick)

    precision, step_s = _SLACK_PRECISION, bound_s * _SLACK_STEP
    if not is_quick or not step_s:
        quickest_s = float((problem.fleet.item_s[problem.usable]).min())
        precision, step_s = _LATENCY_PRECISION, min(quickest_s, bound_s * _FIRST_STEP or math.inf)
    found, low_s = _first_at_floor(look, bound_s, deadline_s, step_s)
    for _ in range(_DEADLINES):
        if found is None or found.latency_s - low_s <= found.latency_s * precision:
            break
        middle_s = (low_s + found.latency_s) / 2
        faster = look(middle_s)
        if faster is None:
            low_s = middle_s
        else:
            found = faster
    return Found(prediction=found, bound=bound_s)


def _first_at_floor(
    look: Callable[[float], Prediction | None], bound_s: float, longest_s: float, step_s: float
) -> tuple[Prediction | None, float]:
    """What is found for the first deadline from the bound on, in steps that double, for which something is found; and
    a deadline for which there was nothing.
    """
    patience_s = _PATIENCE * (bound_s + 1)
    low_s = tried_s = bound_s
    found = look(tried_s)
    while found is None and tried_s < longest_s and step_s <= patience_s:
        low_s, tried_s = tried_s, min(longest_s, tried_s + step_s)
        found = look(tried_s)
        step_s *= 2
    return found, low_s


def _most_accurate_then_fastest(problem: Problem) -> Found:
    found = most_accurate(problem, deadline_s=problem.deadline_s)
    if found.prediction is None or not problem.keeps(found.prediction):
        return Found(prediction=None, bound=found.bound)
    if found.prediction.accuracy < problem.best_accuracy - TOLERANCE:
        return found  # the deadline is what limits the accuracy, so there is no time to win
    floor = found.prediction.accuracy - TOLERANCE / 2
    faster = fastest(problem, floor=floor, deadline_s=problem.deadline_s, is_quick=is_rough(problem))
    return Found(prediction=faster.prediction or found.prediction, bound=found.bound)
