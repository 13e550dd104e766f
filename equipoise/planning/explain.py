"""Why a plan is what it is: prices, what each node contributes, and what is left unused.

What a change would cost is asked of the planner itself, with the changed request or without the node, and by the plan's
own strategy; only the dual prices that stand beside it come from the fluid optimum.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.explanation import Explanation, Loss, MoreAccuracy, MoreTime, NodeRole, Obstacle, Promises
from equipoise.core.plan import Condition, Conditions, Plan
from equipoise.core.request import Prefer, Request
from equipoise.errors import PlanningError
from equipoise.planning import planner
from equipoise.planning.fleet import Fleet
from equipoise.planning.fluid import fill
from equipoise.planning.problem import Floats, Problem
from equipoise.planning.unused import idle_processors, unused_variants

_NODES = 8  # at work are asked about; each costs a plan or two
_POINT = 0.01  # of accuracy
_TENTH = 0.1  # of the time there is, where that is less than a second
_SETTLE_S = 0.2  # for the exact solver, per question
_NOTHING = 1e-6  # relative: less than this is no gain
_NOTHING_CHANGED: Conditions = {}


def explain(
    request: Request, cluster: Cluster | Fleet, plan: Plan, conditions: Conditions = _NOTHING_CHANGED
) -> Explanation:
    """Why `plan`, the planner's answer to `request` under these conditions, is what it is.

    Plans again about half a dozen times, and twice for each of the up to eight nodes with the most items.
    Raises UnknownStrategyError if the plan's strategy is not known here.
    """
    fleet = cluster if isinstance(cluster, Fleet) else Fleet.of(cluster)
    asking = _Asking(request=request, fleet=fleet, plan=plan, conditions=conditions)
    unused, idle = unused_variants(asking.problem, plan), idle_processors(asking.problem, plan)
    if not plan.feasible:
        return Explanation(prefer=plan.prefer, obstacle=_obstacle(asking), unused=unused, idle=idle)
    more_time = _more_time(asking)
    busiest = _busiest_nodes(plan)
    return Explanation(
        prefer=plan.prefer,
        promises=_promises(asking, more_time),
        more_accuracy=_more_accuracy(asking),
        more_time=more_time,
        nodes=tuple(_role(asking, node) for node in busiest[:_NODES]),
        nodes_left_out=max(0, len(busiest) - _NODES),
        unused=unused,
        idle=idle,
    )


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """A plan, and the planner to be asked what would be if things were different."""

    request: Request
    fleet: Fleet
    plan: Plan
    conditions: Conditions

    @cached_property
    def problem(self) -> Problem:
        return Problem(request=self.request, fleet=self.fleet, conditions=self.conditions)

    @property
    def time_s(self) -> float:
        """What there is: the deadline where slack goes to accuracy or energy, else what the plan takes."""
        deadline_s = self.request.deadline_s
        return deadline_s if math.isfinite(deadline_s) and self.plan.prefer is not Prefer.LATENCY else self.latency_s

    @property
    def latency_s(self) -> float:
        return self.plan.latency_s

    def again(
        self, changes: dict[str, Any], conditions: Conditions | None = None, settle_s: float = _SETTLE_S
    ) -> Plan | None:
        """The plan with other requirements or conditions, which may be an infeasible one; None if nothing can work."""
        requirement = msgspec.structs.replace(self.request.requirement, **changes)
        request = msgspec.structs.replace(self.request, requirement=requirement)
        under = self.conditions if conditions is None else conditions
        try:
            return planner.plan(request, self.fleet, under, self.plan.strategy, settle_s=settle_s)
        except PlanningError:
            return None

    def most_accurate(self, time_s: float, conditions: Conditions | None = None) -> Plan | None:
        """The most accurate plan within `time_s`."""
        within = {"deadline_s": time_s, "throughput_per_s": None, "min_accuracy": 0.0, "prefer": Prefer.ACCURACY}
        found = self.again(within, conditions, settle_s=0.0)
        return found if found is not None and found.feasible else None

    def fastest(self, floor: float) -> Plan | None:
        """The fastest plan at least as accurate as `floor`, whatever the deadline."""
        above = {"deadline_s": None, "throughput_per_s": None, "min_accuracy": floor, "prefer": Prefer.LATENCY}
        found = self.again(above)
        return found if found is not None and found.feasible else None

    @cached_property
    def accuracy_per_s(self) -> float | None:
        """Accuracy that one more second on every processor at work is worth at the fluid optimum.

        With g the gain of one more item (the price of the count), a second on p is worth
        speed[p] x max over v of (accuracy[v] - g) / item_s[p,v], if that is positive: the dual prices of the linear
        program in `fluid`. None if the items do not fit into the time, or the strategy proves no bound: then it does
        not plan near that optimum.
        """
        if self.plan.bound is None:
            return None
        ready = self.problem.readiness
        time_s = ready.time_s(self.time_s)
        filled = fill(self.fleet.hulls, time_s, self.request.items)
        if filled is None:
            return None
        surplus = np.where(self.problem.usable, (self.fleet.accuracy - filled.price) / self.fleet.item_s, 0.0)
        worth: Floats = surplus.max(axis=1, initial=0.0) * np.where(time_s > 0, ready.speed, 0.0)
        return float(worth.sum()) / self.request.items


def _more_time(asking: _Asking) -> MoreTime:
    step_s = 1.0 if asking.time_s >= 1.0 else _TENTH * asking.time_s
    before = asking.plan if asking.plan.prefer is Prefer.ACCURACY else asking.most_accurate(asking.time_s)
    after = asking.most_accurate(asking.time_s + step_s)
    gained = after.accuracy - before.accuracy if after is not None and before is not None else 0.0
    per_s = asking.accuracy_per_s
    return MoreTime(
        step_s=step_s,
        accuracy=gained if gained > _NOTHING else 0.0,
        dual_accuracy=None if per_s is None else per_s * step_s,
    )


def _more_accuracy(asking: _Asking) -> MoreAccuracy:
    accuracy = asking.plan.accuracy
    step = min(_POINT, asking.problem.best_accuracy - accuracy)
    if step <= _NOTHING:
        return MoreAccuracy(step=0.0, seconds=None, dual_seconds=None)
    before = asking.plan if asking.plan.prefer is Prefer.LATENCY else asking.fastest(accuracy)
    after = asking.fastest(accuracy + step)
    seconds = max(0.0, after.latency_s - before.latency_s) if after is not None and before is not None else None
    per_s = asking.accuracy_per_s
    return MoreAccuracy(step=step, seconds=seconds, dual_seconds=step / per_s if per_s else None)


def _promises(asking: _Asking, more_time: MoreTime) -> Promises:
    plan, requirement = asking.plan, asking.request.requirement
    deadline_s = asking.request.deadline_s
    return Promises(
        deadline_binds=_deadline_binds(asking, more_time),
        floor_binds=plan.prefer is not Prefer.ACCURACY
        and requirement.min_accuracy > 0
        and _improves(asking, {"min_accuracy": max(0.0, requirement.min_accuracy - _POINT)}),
        whole_items=plan.gap is not None and plan.gap > _NOTHING,
        slack_s=deadline_s - plan.latency_s if math.isfinite(deadline_s) else None,
        slack_accuracy=plan.accuracy - requirement.min_accuracy,
    )


def _deadline_binds(asking: _Asking, more_time: MoreTime) -> bool:
    if not math.isfinite(asking.request.deadline_s):
        return False
    match asking.plan.prefer:
        case Prefer.ACCURACY:
            return more_time.accuracy > 0
        case Prefer.LATENCY:
            return False  # the plan is as fast as it can be; a later deadline changes nothing
        case Prefer.ENERGY:
            return _improves(asking, {"deadline_s": asking.time_s + more_time.step_s, "throughput_per_s": None})


def _improves(asking: _Asking, relaxed: dict[str, Any]) -> bool:
    """True if the relaxed request has a plan with less latency or less energy, whichever is preferred."""
    plan, found = asking.plan, asking.again(relaxed)
    if found is None or not found.feasible:
        return False
    if plan.prefer is Prefer.LATENCY:
        return found.latency_s < plan.latency_s * (1 - _NOTHING)
    return (found.energy_j or 0.0) < (plan.energy_j or 0.0) * (1 - _NOTHING)


def _busiest_nodes(plan: Plan) -> list[str]:
    """Nodes at work, most items first."""
    items: Counter[str] = Counter()
    for share in plan.shares:
        items[share.node] += share.items
    return [node for node, _ in items.most_common()]


def _role(asking: _Asking, node: str) -> NodeRole:
    shares = [share for share in asking.plan.shares if share.node == node]
    items = sum(share.items for share in shares)
    accuracy = dict(zip(asking.fleet.names, asking.fleet.accuracy.tolist(), strict=True))
    lost = _without(asking, node)
    without = asking.again({}, lost)
    others = _in_time(without) if asking.plan.prefer is Prefer.ACCURACY else asking.most_accurate(asking.time_s, lost)
    return NodeRole(
        node=node,
        items=items,
        accuracy=sum(share.items * accuracy[share.variant] for share in shares) / items,
        beyond_others=None if others is None else max(0.0, asking.plan.accuracy - others.accuracy),
        loss=_loss(asking.plan, without),
    )


def _without(asking: _Asking, node: str) -> Mapping[ProcessorId, Condition]:
    gone = {
        pid: msgspec.structs.replace(asking.conditions.get(pid, Condition()), available=False)
        for pid in asking.fleet.pids
        if pid.node == node
    }
    return {**asking.conditions, **gone}


def _in_time(without: Plan | None) -> Plan | None:
    """The most accurate plan in time, of a plan that may have to do without a node."""
    if without is None or without.closest is None:
        return without
    return without.closest.most_accurate_at_deadline


def _loss(plan: Plan, without: Plan | None) -> Loss:
    if without is None:
        return Loss(feasible=False, accuracy=None, seconds=None)
    in_time = _in_time(without)
    at_floor = without if without.closest is None else without.closest.fastest_at_floor
    return Loss(
        feasible=without.feasible,
        accuracy=None if in_time is None else plan.accuracy - in_time.accuracy,
        seconds=None if at_floor is None else at_floor.latency_s - plan.latency_s,
    )


def _obstacle(asking: _Asking) -> Obstacle:
    closest = asking.plan.closest
    fastest = asking.fastest(0.0)
    return Obstacle(
        deadline_alone_fails=closest is None or closest.most_accurate_at_deadline is None,
        floor_alone_fails=closest is None or closest.fastest_at_floor is None,
        fastest_s=None if fastest is None else fastest.latency_s,
        best_accuracy=asking.problem.best_accuracy,
    )
