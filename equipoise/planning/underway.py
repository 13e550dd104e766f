"""Plans for a request that is followed while it runs: made quickly, and with an eye on what may still happen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import msgspec

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Closest, Condition, Conditions, HurriedPlan, Plan
from equipoise.core.request import Prefer, Request, Requirement, WhenLate
from equipoise.planning.fleet import Fleet
from equipoise.planning.limits import has_limits
from equipoise.planning.planner import plan
from equipoise.planning.problem import Problem
from equipoise.planning.security import hurry
from equipoise.planning.strategies import strategy_named

_AWAY = Condition(available=False)
_TOWARDS_THE_DEADLINE = (0.0, 0.1, 0.3)
Solve = Callable[[Problem], Plan | None]


def plan_underway(request: Request, cluster: Cluster | Fleet, conditions: Conditions, strategy: str) -> Plan:
    """A plan for the rest of a request; of a strategy that plans again while it runs, without lengthy proofs.

    Promises go before a budget of energy: where both cannot be had within it any more, the plan is the thriftiest that
    keeps them. Where they cannot be had at all, the closest plan is that which the requirement's `when_late` asks for,
    and what would help is not looked for. Raises UnknownStrategyError, and PlanningError if no processor is available.
    """
    fleet, chosen = cluster if isinstance(cluster, Fleet) else Fleet.of(cluster), strategy_named(strategy)
    found = None
    if chosen.adapts:
        cautious = fleet.at_confidence(request.requirement.confidence)
        problem = _with_known_watts(Problem(request=request, fleet=cautious, conditions=conditions))
        if problem.usable.any():
            found = (
                _hurried(problem, chosen.solve)
                or chosen.solve(problem)
                or _over_budget(problem, chosen.solve)
                or _conceding(problem, chosen.solve)
            )
    # an exact answer that takes seconds is of no use while the work goes on
    return found or plan(request, fleet, conditions, strategy, settle_s=0.0)


def _with_known_watts(problem: Problem) -> Problem:
    """Without the processors whose watts are not described, where watts count: they may have joined since."""
    if not has_limits(problem) and problem.prefer is not Prefer.ENERGY:
        return problem
    unknown = [pid for pid, watts in zip(problem.fleet.pids, problem.fleet.watts, strict=True) if math.isnan(watts)]
    return replace(problem, conditions={**problem.conditions, **dict.fromkeys(unknown, _AWAY)}) if unknown else problem


def _hurried(problem: Problem, solve: Solve) -> Plan | None:
    """A plan that is quicker than it has to be, to be safe sooner; None if that is not worth it (security.py)."""
    sooner = hurry(problem)
    if sooner is None:
        return None
    for part in _TOWARDS_THE_DEADLINE:  # whole items and confidence may need more time than divisible items do
        found = solve(problem.due(sooner.deadline_s + part * (problem.deadline_s - sooner.deadline_s)))
        if found is not None:
            return HurriedPlan(**msgspec.structs.asdict(found), for_s=sooner.for_s)
    return None


def _over_budget(problem: Problem, solve: Solve) -> Plan | None:
    """The plan of least energy that keeps both promises, if it is a budget that cannot be kept.

    Without a deadline least energy would take for ever: then the preference stands.
    """
    if problem.request.requirement.max_energy_j is None:
        return None
    prefer = Prefer.ENERGY if math.isfinite(problem.deadline_s) else problem.prefer
    return solve(_asking(problem, max_energy_j=None, prefer=prefer))


def _conceding(problem: Problem, solve: Solve) -> Plan | None:
    """What is to be done instead: as accurate as possible in time, or as fast as possible at the floor."""
    in_time = problem.request.requirement.when_late is WhenLate.KEEP_DEADLINE
    if in_time:
        less = _asking(problem, max_energy_j=None, min_accuracy=0.0, prefer=Prefer.ACCURACY)
    else:
        less = _asking(problem, max_energy_j=None, deadline_s=None, throughput_per_s=None, prefer=Prefer.LATENCY)
    found = solve(less)
    if found is None:
        return None
    closest = Closest(
        most_accurate_at_deadline=found if in_time else None,
        fastest_at_floor=None if in_time else found,
        least_violation=found,
    )
    return msgspec.structs.replace(found, feasible=False, prefer=problem.prefer, closest=closest)


def _asking(problem: Problem, **changes: object) -> Problem:
    requirement: Requirement = msgspec.structs.replace(problem.request.requirement, **changes)
    request = msgspec.structs.replace(problem.request, requirement=requirement)
    return Problem(request=request, fleet=problem.fleet, conditions=problem.conditions)
