"""The plan to begin a request with: admitted or not, and with a reserve before the deadline where there is room."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions, Plan
from equipoise.core.request import Prefer, Request
from equipoise.dispatch.settings import Settings
from equipoise.planning.fleet import Fleet
from equipoise.planning.planner import plan as plan_with
from equipoise.planning.problem import relative_gap
from equipoise.planning.strategies import strategy_named


def admit(
    request: Request,
    cluster: Cluster | Fleet,
    strategy: str = "equipoise",
    *,
    conditions: Conditions | None = None,
    settle_s: float = 2.0,
    clock: Callable[[], float] | None = None,
) -> Plan:
    """A plan for the request; with slack, one that leaves the dispatcher its reserve before the deadline.

    A plan that fills its deadline to the last millisecond is broken by the first late answer. So a strategy that adapts
    begins as it goes on: with the reserve that every re-plan keeps, unless both promises cannot be had with it.
    `settle_s` is how long the exact solver may take where the fast method is in doubt. The bound is that of the request
    itself. Raises UnknownStrategyError and PlanningError.
    """
    fleet = cluster if isinstance(cluster, Fleet) else Fleet.of(cluster)
    conditions = conditions or {}
    full = plan_with(request, fleet, conditions, strategy=strategy, settle_s=settle_s, clock=clock)
    reserve_s = Settings().reserve_before_s(request.deadline_s)
    in_time_anyway = full.latency_s <= request.deadline_s - reserve_s
    if not full.feasible or in_time_anyway or not strategy_named(strategy).adapts:
        return full
    earlier = msgspec.structs.replace(
        request.requirement, deadline_s=request.deadline_s - reserve_s, throughput_per_s=None
    )
    sooner = msgspec.structs.replace(request, requirement=earlier)
    reserved = plan_with(sooner, fleet, conditions, strategy=strategy, settle_s=settle_s, clock=clock)
    if not reserved.feasible:
        return full
    value = {
        Prefer.ACCURACY: reserved.accuracy,
        Prefer.LATENCY: reserved.latency_s,
        Prefer.ENERGY: reserved.energy_j,
    }[reserved.prefer]
    gap = None if value is None or full.bound is None else relative_gap(value, full.bound)
    return msgspec.structs.replace(reserved, bound=full.bound, gap=gap, solve_s=full.solve_s + reserved.solve_s)
