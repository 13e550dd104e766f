"""What can be had when a request cannot: the closest plans, and what would make it feasible.

Every figure of `needs` has been put to the same strategy and the same exact solver that declined the request: with it
there is a plan, and with a hair less (a thousandth) there is none. The second half costs a proof each, so the solver
has only a part of its time for it. Where it runs out of that, or is not asked (`settle_s` 0), it is the fast method's
word: there may be a plan with less that it does not find, by as much as it falls short of the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import msgspec

from equipoise.core.plan import Closest, Condition, Needs, Plan
from equipoise.core.request import Prefer, Requirement
from equipoise.planning import joint
from equipoise.planning.mixer import Mixer
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import Problem
from equipoise.planning.strategies import Strategy, strategy_named

HAIR = 1e-3  # relative: so much less than a figure of `needs` is declined
_PART = 0.25  # of the exact solver's time, for the first question asked again
_PATIENCE = 0.8  # of what the question before had, for each further one: so together at most 5 _PART
_FINEST = 1e-6  # relative: the first step where a figure has to be looked for
_PROBES = 40  # of each search below
_HALVINGS = 20  # of the search for the least violation: a millionth of where it starts
_FASTEST = 1e6  # times as fast: what cannot be done then is not a matter of speed

_MostAccurate = Callable[[float], "Prediction | None"]  # within so many seconds, whatever the floor


def closest_plans(problem: Problem, strategy: str, settle_s: float = 0.0) -> Closest:
    """The most accurate plan at the deadline, the fastest at the floor, and the least violation of both.

    settle_s   seconds that the exact solver had for the request itself; 0 to take the fast method's word
    """
    chosen = strategy_named(strategy)
    search = _Search(problem=problem, strategy=chosen, limits_s=_time_limits_s(settle_s))
    predictions: list[Prediction] = []
    if chosen.candidates is not None:
        predictions = [problem.predict_counts(counts) for counts in chosen.candidates(problem)]
    most_accurate = _most_accurate_by(problem, chosen)
    at_deadline = search.most_accurate(_first_in_time(problem, chosen, predictions, most_accurate))
    at_floor = search.fastest(_first_at_floor(problem, chosen, predictions))
    least = min(predictions, key=problem.violation, default=None)
    if least is None:
        least = _least_violation(problem, most_accurate, at_deadline, at_floor)
    plans = [problem.plan(strategy, found) if found else None for found in (at_deadline, at_floor, least)]
    return Closest(most_accurate_at_deadline=plans[0], fastest_at_floor=plans[1], least_violation=plans[2])


def needs(problem: Problem, closest: Closest, strategy: str, settle_s: float = 0.0) -> Needs:
    """What would have to change; each figure alone suffices, and a hair less does not. None where it alone cannot."""
    search = _Search(problem=problem, strategy=strategy_named(strategy), limits_s=_time_limits_s(settle_s))
    in_time, at_floor = closest.most_accurate_at_deadline, closest.fastest_at_floor
    speed_factor = None
    if at_floor is not None and math.isfinite(problem.deadline_s):
        factors = _speed_factors(problem, at_floor)
        if _is_speed_as_good_as_time(problem) and search.is_kept_by_speed(factors[0]):
            speed_factor = factors[0]
        elif search.is_kept_by_speed(_FASTEST):
            speed_factor = _least(search.likely_factors(factors), search.is_kept_by_speed)
    return Needs(
        deadline_s=None if at_floor is None else at_floor.latency_s,
        min_accuracy=None if in_time is None else in_time.accuracy,
        speed_factor=speed_factor,
    )


def _time_limits_s(settle_s: float) -> Iterator[float]:
    return (_PART * settle_s * _PATIENCE**asked for asked in count())


@dataclass(frozen=True, kw_only=True)
class _Search:
    """A declined problem, and the planner to be asked again about changed ones."""

    problem: Problem
    strategy: Strategy
    limits_s: Iterator[float]  # of the exact solver, question by question

    def answer(self, problem: Problem) -> Prediction | None:
        """A prediction that keeps the promises of `problem`, if the planner finds one."""
        if self.strategy.joint and not joint.is_admitted_by_bound(problem):
            return None
        found = self.strategy.solve(problem) or self.strategy.settle(problem, next(self.limits_s), None)
        if found is not None and found.feasible:
            return problem.predict(found.shares)
        if not self.strategy.joint:
            return None
        # As the planner looks for the closest plans of what it declines: now and then one keeps both promises.
        looks = (
            _first_in_time(problem, self.strategy, [], _most_accurate_by(problem, self.strategy)),
            _first_at_floor(problem, self.strategy, []),
        )
        return next((look for look in looks if look is not None and problem.keeps(look)), None)

    def most_accurate(self, known: Prediction | None) -> Prediction | None:
        """The most accurate plan in time: `known`, raised by asking for higher floors as long as there are any."""
        best, step = known or self._above(0.0), HAIR
        for _ in range(_PROBES):
            found = None if best is None else self._above(best.accuracy * (1 + step))
            if found is not None and best is not None and found.accuracy > best.accuracy:
                best, step = found, 2 * step
            elif step == HAIR:
                break
            else:
                step = HAIR
        return best

    def fastest(self, known: Prediction | None) -> Prediction | None:
        """The fastest plan at the floor: `known`, lowered by asking for earlier deadlines as long as there are any."""
        best, step = known or self._within(math.inf), HAIR
        for _ in range(_PROBES):
            found = None if best is None else self._within(best.latency_s * (1 - min(step, 0.5)))
            if found is not None:
                best, step = found, 2 * step
            elif step == HAIR:
                break
            else:
                step = HAIR
        return best

    def is_kept_by_speed(self, factor: float) -> bool:
        """True if processors so many times as fast are all that the request needs."""
        return self.answer(_faster(self.problem, factor)) is not None

    def likely_factors(self, factors: tuple[float, ...]) -> tuple[float, ...]:
        """A closer guess than `factors`, where they do not do: by the bound, and by what a single look finds."""
        if not self.strategy.joint or self.is_kept_by_speed(factors[0]):
            return factors
        proven = _least(factors[:1], lambda factor: joint.is_admitted_by_bound(_faster(self.problem, factor)))
        likely = proven and _least((proven,), lambda factor: _is_kept_at_a_look(_faster(self.problem, factor)))
        return (likely,) if likely else factors

    def _above(self, floor: float) -> Prediction | None:
        """A plan in time above this floor, the most accurate that the planner finds."""
        if floor > 1.0:
            return None
        changed = _with(self.problem, min_accuracy=floor)
        found = self.answer(changed)
        if found is None and changed.fleet.has_loads and self.strategy.joint and joint.is_admitted_by_bound(changed):
            # With fixed costs the way down from later deadlines leads to plans that are not found at this one.
            fastest = replace(self, problem=changed).fastest(_first_at_floor(changed, self.strategy, []))
            found = fastest if fastest is not None and changed.keeps(fastest) else None
        if found is None or not math.isfinite(changed.deadline_s) or changed.prefer is Prefer.ACCURACY:
            return found
        better = self.answer(_with(changed, prefer=Prefer.ACCURACY))
        return found if better is None else max(found, better, key=lambda prediction: prediction.accuracy)

    def _within(self, deadline_s: float) -> Prediction | None:
        """A plan at the floor within this deadline, the fastest that the planner finds."""
        changed = _due(self.problem, deadline_s)
        found = self.answer(changed)
        if found is None or changed.prefer is Prefer.LATENCY:
            return found
        faster = self.answer(_with(changed, prefer=Prefer.LATENCY))
        return found if faster is None else min(found, faster, key=lambda prediction: prediction.latency_s)


def _most_accurate_by(problem: Problem, strategy: Strategy) -> _MostAccurate:
    """How the strategy finds the most accurate plan within a deadline."""
    if strategy.joint:
        return lambda deadline_s: joint.most_accurate(problem, deadline_s=deadline_s).prediction

    def asked(deadline_s: float) -> Prediction | None:
        changed = _due(_with(problem, min_accuracy=0.0), deadline_s)
        if math.isfinite(deadline_s):
            changed = _with(changed, prefer=Prefer.ACCURACY)
        else:
            changed = _with(changed, prefer=Prefer.LATENCY, min_accuracy=problem.best_accuracy)
        return _solved(changed, strategy)

    return asked


def _is_kept_at_a_look(problem: Problem) -> bool:
    return Mixer.of_accuracy(problem).mix_at_floor(problem.deadline_s, problem.floor) is not None


def _first_in_time(
    problem: Problem, strategy: Strategy, predictions: list[Prediction], most_accurate: _MostAccurate
) -> Prediction | None:
    if predictions:
        in_time = [p for p in predictions if problem.keeps(p, floor=0.0)]
        return max(in_time, key=lambda p: (p.accuracy, -p.latency_s), default=None)
    found = most_accurate(problem.deadline_s)
    if found is None and strategy.joint:  # the other search looks elsewhere
        return joint.fastest(problem, floor=0.0, deadline_s=problem.deadline_s).prediction
    return found


def _first_at_floor(problem: Problem, strategy: Strategy, predictions: list[Prediction]) -> Prediction | None:
    if strategy.joint:
        return joint.fastest(problem, floor=problem.floor).prediction
    if not predictions:
        return _solved(_due(problem, math.inf), strategy)
    accurate = [p for p in predictions if problem.keeps(p, deadline_s=math.inf)]
    return min(accurate, key=lambda p: (p.latency_s, -p.accuracy), default=None)


def _solved(problem: Problem, strategy: Strategy) -> Prediction | None:
    found: Plan | None = strategy.solve(problem)
    return None if found is None else problem.predict(found.shares)


def _least_violation(problem: Problem, most_accurate: _MostAccurate, *known: Prediction | None) -> Prediction | None:
    """The plan whose larger relative violation is least, by a search over how much both promises are bent."""
    best = min((p for p in known if p is not None), key=problem.violation, default=None)
    high = problem.violation(best) if best else 1.0
    for _ in range(_PROBES):
        if best is not None:
            break
        best = _bent(problem, most_accurate, high)
        high = problem.violation(best) if best else 2 * high
    low = 0.0
    for _ in range(_HALVINGS):
        if high - low <= _FINEST * high:
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


def _is_speed_as_good_as_time(problem: Problem) -> bool:
    """True if processors k times as fast can do exactly what k times the deadline allows.

    So it is where nothing waits or travels, and nothing but time and accuracy is promised.
    """
    asked = problem.request.requirement
    time_and_accuracy = Requirement(
        deadline_s=asked.deadline_s,
        throughput_per_s=asked.throughput_per_s,
        min_accuracy=asked.min_accuracy,
        prefer=asked.prefer,
        when_late=asked.when_late,
    )
    travels = problem.fleet.input_bytes.any()
    return asked == time_and_accuracy and not travels and not problem.readiness.start_s.any()


def _speed_factors(problem: Problem, fastest: Plan) -> tuple[float, ...]:
    """Between which factors `fastest` keeps the deadline: waiting for work and links gets no faster."""
    least = max(1.0, fastest.latency_s / problem.deadline_s)
    starts_s = problem.readiness.start_s
    wait_s = max(float(starts_s[problem.fleet.index[share.pid]]) for share in fastest.shares)
    if not 0 < wait_s < problem.deadline_s:
        return (least,)
    return least, max(least, (fastest.latency_s - wait_s) / (problem.deadline_s - wait_s))


def _least(starts: tuple[float, ...], is_kept: Callable[[float], bool]) -> float | None:
    """The least figure near `starts` that suffices, so that a hair less does not; None if none is found."""
    low, high = _bracket(starts, is_kept)
    if not math.isfinite(high):
        return None
    for _ in range(_PROBES):
        if high - low > HAIR * high * (1 + _FINEST):
            middle = (low + high) / 2
            low, high = (low, middle) if is_kept(middle) else (middle, high)
        elif low > high * (1 - HAIR) and is_kept(high * (1 - HAIR)):
            low, high = 0.9 * high, high * (1 - HAIR)  # what is kept is not quite monotone: look further down
        else:
            break
    return high


def _bracket(starts: tuple[float, ...], is_kept: Callable[[float], bool]) -> tuple[float, float]:
    """A figure that is declined and one that is kept, close to `starts`; the second is inf if none is found."""
    low = starts[0]
    if is_kept(low):
        high, step = low, HAIR
        while is_kept(starts[0] * (1 - step)) and step < 0.5:
            high, step = starts[0] * (1 - step), 2 * step
        return starts[0] * (1 - step), high
    for start in starts[1:]:
        if is_kept(start):
            return low, start
        low = start
    step = HAIR / 4
    while not is_kept(starts[-1] * (1 + step)):
        low, step = starts[-1] * (1 + step), 2 * step
        if step > _FASTEST:
            return low, math.inf
    return low, starts[-1] * (1 + step)


def _with(problem: Problem, **changes: Any) -> Problem:
    """The same problem with a changed requirement."""
    requirement: Requirement = msgspec.structs.replace(problem.request.requirement, **changes)
    return replace(problem, request=msgspec.structs.replace(problem.request, requirement=requirement))


def _due(problem: Problem, deadline_s: float) -> Problem:
    """The same problem with only this deadline; without one, less time is all that slack can go to."""
    if math.isfinite(deadline_s):
        return _with(problem, deadline_s=deadline_s, throughput_per_s=None)
    return _with(problem, deadline_s=None, throughput_per_s=None, prefer=Prefer.LATENCY)


def _faster(problem: Problem, factor: float) -> Problem:
    """The same problem on processors that are all this much faster."""
    conditions = {
        pid: msgspec.structs.replace(state, speed=state.speed * factor)
        for pid in problem.fleet.pids
        for state in [problem.conditions.get(pid, Condition())]
    }
    return replace(problem, conditions=conditions)
