"""The planner: a request and a cluster in, a plan out.

Infeasible is an answer: then the plan is the one with the least violation of the two promises, says that it is not
feasible, and carries the closest plans and what would make the request feasible.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Closest, Conditions, Needs, Plan
from equipoise.core.request import Prefer, Request
from equipoise.errors import PlanningError
from equipoise.planning.fleet import Fleet
from equipoise.planning.infeasible import closest_plans, needs
from equipoise.planning.limits import has_limits, needed_limits, without_limits
from equipoise.planning.problem import Problem
from equipoise.planning.strategies import Strategy, strategy_named

_NOTHING_CHANGED: Conditions = {}
_LOOSE = 0.005  # relative: a gap that is worth asking the exact solver
_PART = 0.5  # of its time, for that
_SMALL = 500  # pairs of processor and variant: of more it could not make much in that time


def plan(
    request: Request,
    cluster: Cluster | Fleet,
    conditions: Conditions = _NOTHING_CHANGED,
    strategy: str = "equipoise",
    *,
    settle_s: float = 2.0,
    clock: Callable[[], float] | None = None,
) -> Plan:
    """Who runs how many items with which variant, and whether that keeps both promises.

    settle_s   seconds that the exact solver may take where the fluid bound admits the request and the fast method
               finds no plan, which happens when whole items decide; half of them where the fast method cannot
               show that its plan, polished, is within 0.5 % of the optimum; 0 to take the fast method's word
               and not to polish, in milliseconds
    clock      stamps the plan with the seconds that planning took

    Pass a Fleet rather than a Cluster to plan with the same cluster again and again.
    Raises UnknownStrategyError, and PlanningError if no processor is available.
    """
    started_s = clock() if clock else 0.0
    chosen = strategy_named(strategy)
    fleet = cluster if isinstance(cluster, Fleet) else Fleet.of(cluster)
    fleet = fleet.at_confidence(request.requirement.confidence)
    problem = Problem(request=request, fleet=fleet, conditions=conditions)
    if not problem.usable.any():
        raise PlanningError("no processor is available that has a profile of any variant and the memory for it")
    found = chosen.solve(problem)
    if settle_s > 0:
        found = _with_time(problem, chosen, found, settle_s)
    if found is None or not found.feasible:
        found = _declined(problem, chosen, settle_s)
    return msgspec.structs.replace(found, solve_s=clock() - started_s) if clock else found


def _with_time(problem: Problem, strategy: Strategy, found: Plan | None, settle_s: float) -> Plan | None:
    """The plan polished, and where it may be far from the optimum or is not there, what the exact solver finds."""
    if found is None:
        settled = strategy.settle(problem, settle_s, None)
        return settled and strategy.polish(problem, settled)
    found = strategy.polish(problem, found)
    if found.gap is None or found.gap <= _LOOSE or problem.usable.sum() > _SMALL:
        return found
    settled = strategy.settle(problem, _PART * settle_s, found)
    return found if settled is None else strategy.polish(problem, _better(problem, found, settled))


def _better(problem: Problem, found: Plan, settled: Plan) -> Plan:
    """The better of two plans, with the tighter bound of the two."""
    if settled.bound is None or found.bound is None:
        return found
    tighter = min if problem.prefer is Prefer.ACCURACY else max
    bound = tighter(found.bound, settled.bound)
    one, other = problem.predict(found.shares), problem.predict(settled.shares)
    return problem.plan(found.strategy, other if problem.better(other, one) else one, bound=bound)


def _declined(problem: Problem, strategy: Strategy, settle_s: float) -> Plan:
    """The plan with the least violation. Its closest plans leave limits on energy and power out of account."""
    if not has_limits(problem):
        return _closest(problem, strategy.name, settle_s)
    free = without_limits(problem)
    found = strategy.solve(free) or strategy.settle(free, settle_s, None)
    if found is None or not found.feasible:
        found = _closest(free, strategy.name, settle_s)
    if not found.feasible:
        return msgspec.structs.replace(found, needs=_within_limits(problem, strategy, found.needs))
    least = problem.plan(strategy.name, problem.predict(found.shares))
    energy_j, power_w = needed_limits(problem, strategy.solve)
    return msgspec.structs.replace(
        least,
        closest=Closest(most_accurate_at_deadline=None, fastest_at_floor=None, least_violation=least),
        needs=Needs(deadline_s=None, min_accuracy=None, speed_factor=None, max_energy_j=energy_j, max_power_w=power_w),
    )


def _within_limits(problem: Problem, strategy: Strategy, needs: Needs | None) -> Needs | None:
    """Those of the needs that suffice with the limits in place, too."""

    def suffices(**changes: float | None) -> bool:
        requirement = msgspec.structs.replace(problem.request.requirement, **changes)
        request = msgspec.structs.replace(problem.request, requirement=requirement)
        asked = Problem(request=request, fleet=problem.fleet, conditions=problem.conditions)
        return strategy.solve(asked) is not None

    if needs is None:
        return None
    longer = needs.deadline_s is not None and suffices(deadline_s=needs.deadline_s, throughput_per_s=None)
    lower = needs.min_accuracy is not None and suffices(min_accuracy=needs.min_accuracy)
    return Needs(
        deadline_s=needs.deadline_s if longer else None,
        min_accuracy=needs.min_accuracy if lower else None,
        speed_factor=None,
    )


def _closest(problem: Problem, strategy: str, settle_s: float) -> Plan:
    closest = closest_plans(problem, strategy, settle_s)
    least = closest.least_violation
    if least is None:
        raise PlanningError(f"strategy {strategy!r} finds no plan at all for {problem.items} items")
    if least.feasible:
        return least  # the search for the least violation looks further, and has found one with none
    return msgspec.structs.replace(least, closest=closest, needs=needs(problem, closest, strategy, settle_s))
