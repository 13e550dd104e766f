"""What can be had when a request cannot: the closest plans, and what would make it feasible."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from equipoise.core.plan import Closest, Condition, Needs, Plan
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.planning import joint
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import Problem
from equipoise.planning.strategies import strategy_named

_HALVINGS = 20  # of the searches below: a millionth of where they start
_DOUBLINGS = 40

_MostAccurate = Callable[[float], "Prediction | None"]  # within so many seconds, whatever the floor


def closest_plans(problem: Problem, strategy: str) -> Closest:
    """The most accurate plan at the deadline, the fastest at the floor, and the least violation of both."""
    chosen = strategy_named(strategy)
    if chosen.candidates is not None:
        counts = chosen.candidates(problem)
        found = _closest_among(problem, [problem.predict(problem.shares(each)) for each in counts])
    else:
        found = _closest_joint(problem) if chosen.joint else _closest_solved(problem, chosen.solve)
    plans = [problem.plan(strategy, prediction) if prediction else None for prediction in found]
    return Closest(most_accurate_at_deadline=plans[0], fastest_at_floor=plans[1], least_violation=plans[2])


def needs(problem: Problem, closest: Closest, strategy: str) -> Needs:
    """What would have to change; each figure was tried: with it, the strategy finds a plan."""

    def feasible(changed: Problem) -> bool:
        return strategy_named(strategy).solve(changed) is not None

    deadline_s = min_accuracy = speed_factor = None
    if closest.fastest_at_floor is not None:
        fastest_s = closest.fastest_at_floor.latency_s
        deadline_s = _least(fastest_s, lambda seconds: feasible(_with(problem, deadline_s=seconds)))
        if problem.deadline_s < math.inf:
            start = max(1.0, fastest_s / problem.deadline_s)
            speed_factor = _least(start, lambda factor: feasible(_faster(problem, factor)))
    if closest.most_accurate_at_deadline is not None:
        min_accuracy = closest.most_accurate_at_deadline.accuracy
    return Needs(deadline_s=deadline_s, min_accuracy=min_accuracy, speed_factor=speed_factor)


def _closest_joint(problem: Problem) -> tuple[Prediction | None, Prediction | None, Prediction | None]:
    def most_accurate(deadline_s: float) -> Prediction | None:
        return joint.most_accurate(problem, deadline_s=deadline_s).prediction

    at_deadline = most_accurate(problem.deadline_s)
    at_floor = joint.fastest(problem, floor=problem.floor).prediction
    return at_deadline, at_floor, _least_violation(problem, most_accurate, at_deadline, at_floor)


def _closest_solved(
    problem: Problem, solve: Callable[[Problem], Plan | None]
) -> tuple[Prediction | None, Prediction | None, Prediction | None]:
    """By a strategy that can be asked for nothing but the plan of a request."""

    def asked(requirement: Requirement) -> Prediction | None:
        request = Request(items=problem.items, requirement=requirement)
        found = solve(Problem(request=request, fleet=problem.fleet, conditions=problem.conditions))
        return None if found is None else problem.predict(found.shares)

    def most_accurate(deadline_s: float) -> Prediction | None:
        if math.isfinite(deadline_s):
            return asked(Requirement(deadline_s=deadline_s))
        return asked(Requirement(min_accuracy=problem.best_accuracy, prefer=Prefer.LATENCY))

    at_deadline = most_accurate(problem.deadline_s)
    at_floor = asked(Requirement(min_accuracy=problem.floor, prefer=Prefer.LATENCY))
    return at_deadline, at_floor, _least_violation(problem, most_accurate, at_deadline, at_floor)


def _closest_among(
    problem: Problem, predictions: list[Prediction]
) -> tuple[Prediction | None, Prediction | None, Prediction | None]:
    in_time = [p for p in predictions if problem.keeps(p, floor=0.0)]
    accurate = [p for p in predictions if problem.keeps(p, deadline_s=math.inf)]
    return (
        max(in_time, key=lambda p: (p.accuracy, -p.latency_s), default=None),
        min(accurate, key=lambda p: (p.latency_s, -p.accuracy), default=None),
        min(predictions, key=problem.violation, default=None),
    )


def _least_violation(problem: Problem, most_accurate: _MostAccurate, *known: Prediction | None) -> Prediction | None:
    """The plan whose larger relative violation is least, by a search over how much both promises are bent."""
    best = min((p for p in known if p is not None), key=problem.violation, default=None)
    high = problem.violation(best) if best else 1.0
    for _ in range(_DOUBLINGS):
        if best is not None:
            break
        best = _bent(problem, most_accurate, high)
        high = problem.violation(best) if best else 2 * high
    low = 0.0
    for _ in range(_HALVINGS):
        if high - low <= 1e-6 * high:
            break
        middle = (low + high) / 2
        found = _bent(problem, most_accurate, middle)
        if found is None:
            low = middle
        else:
            best, high = found, min(middle, problem.violation(found))
    return best


def _bent(problem: Problem, most_accurate: _MostAccurate, violation: float) -> Prediction | None:
    """A plan that violates neither promise by more than this, relatively."""
    found = most_accurate(problem.deadline_s * (1 + violation))
    return found if found is not None and problem.violation(found) <= violation else None


def _least(start: float, feasible: Callable[[float], bool]) -> float | None:
    """The least figure from `start` upwards that is feasible, to a millionth; None if none is found."""
    low, high, step = start, start, start * 1e-6
    while not feasible(high):
        low, high = high, high + step
        step *= 2
        if high > 1e6 * start:
            return None
    while high - low > 1e-6 * start:
        middle = (low + high) / 2
        low, high = (low, middle) if feasible(middle) else (middle, high)
    return high


def _with(problem: Problem, *, deadline_s: float) -> Problem:
    """The same problem with only this deadline, whatever its preference was limited by."""
    old = problem.request.requirement
    requirement = Requirement(deadline_s=deadline_s, min_accuracy=old.min_accuracy, prefer=old.prefer)
    request = Request(items=problem.items, requirement=requirement)
    return Problem(request=request, fleet=problem.fleet, conditions=problem.conditions)


def _faster(problem: Problem, factor: float) -> Problem:
    """The same problem on processors that are all this much faster."""
    conditions = {
        pid: msgspec.structs.replace(state, speed=state.speed * factor)
        for pid in problem.fleet.pids
        for state in [problem.conditions.get(pid, Condition())]
    }
    return Problem(request=problem.request, fleet=problem.fleet, conditions=conditions)
