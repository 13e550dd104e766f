"""What a plan leaves unused, and why: variants that no share runs, and processors without items."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from equipoise.core.cluster import ProcessorId
from equipoise.core.explanation import IdleProcessor, UnusedVariant, WhyIdle, WhyUnused
from equipoise.core.plan import Condition, Plan, Share
from equipoise.core.request import Prefer
from equipoise.planning.hulls import upper_hulls
from equipoise.planning.problem import TOLERANCE, Floats, Problem

Bools = npt.NDArray[np.bool_]


def unused_variants(problem: Problem, plan: Plan) -> tuple[UnusedVariant, ...]:
    """Every variant that no share of the plan runs, most accurate first, with the reason."""
    used = {share.variant for share in plan.shares}
    view = _Variants.of(problem, plan)
    columns = np.argsort(-problem.fleet.accuracy, kind="stable").tolist()
    return tuple(view.judge(v) for v in columns if problem.fleet.names[v] not in used)


def idle_processors(problem: Problem, plan: Plan) -> tuple[IdleProcessor, ...]:
    """Every processor without items in the plan, in the order of the description, with the reason."""
    at_work = {share.pid for share in plan.shares}
    time_s = _time_to_be_useful_s(problem, plan)
    in_time = WhyIdle.LEFT_OUT if plan.bound is None else WhyIdle.NOT_NEEDED
    return tuple(_idle(problem, pid, time_s, in_time) for pid in problem.fleet.pids if pid not in at_work)


@dataclass(frozen=True, kw_only=True)
class _Variants:
    """What each processor's variants are to one another; arrays are (P, V)."""

    problem: Problem
    usable: Bools
    on_hull: Bools
    load_s: Floats
    used: Bools

    @classmethod
    def of(cls, problem: Problem, plan: Plan) -> _Variants:
        fleet = problem.fleet
        item_s = np.where(problem.usable, fleet.item_s, np.inf)
        hulls = upper_hulls(item_s, np.broadcast_to(fleet.accuracy, item_s.shape))
        on_hull, used = np.zeros((2, *item_s.shape), dtype=bool)
        on_hull[hulls.processor, hulls.rung] = True
        for share in plan.shares:
            used[fleet.index[share.pid], fleet.column[share.variant]] = True
        load_s = problem.readiness.load_s
        return cls(
            problem=problem,
            usable=problem.usable,
            on_hull=on_hull,
            load_s=np.zeros(item_s.shape) if load_s is None else load_s,
            used=used,
        )

    def judge(self, v: int) -> UnusedVariant:
        """Why no share runs variant number `v`."""
        name = self.problem.fleet.names[v]
        rows = np.flatnonzero(self.usable[:, v])
        if not len(rows):
            return UnusedVariant(variant=name, why=WhyUnused.NOWHERE)
        rivals = self._beaten_by(v)[rows]
        if rivals.any(axis=1).all():
            return UnusedVariant(variant=name, why=WhyUnused.DOMINATED, instead=self._fewest(rivals))
        if not self.on_hull[rows, v].any():
            return UnusedVariant(variant=name, why=WhyUnused.OFF_HULL, instead=self._around(v))
        return UnusedVariant(variant=name, why=self._out_of_place(v))

    def _beaten_by(self, v: int) -> Bools:
        """(P, V) true where a variant is faster, no dearer to set up, and at least as accurate as `v`."""
        fleet = self.problem.fleet
        better: Bools = (
            self.usable
            & (fleet.item_s <= fleet.item_s[:, [v]])
            & (self.load_s <= self.load_s[:, [v]])
            & (fleet.accuracy >= fleet.accuracy[v])
            & ((fleet.item_s < fleet.item_s[:, [v]]) | (fleet.accuracy > fleet.accuracy[v]))
        )
        return better

    def _fewest(self, rivals: Bools) -> tuple[str, ...]:
        """As few of the rivals (rows, V) as name one for every row; of equals those that are good themselves."""
        good = self.on_hull.sum(axis=0) / (len(self.on_hull) + 1)
        names: list[str] = []
        while len(rivals):
            widest = int((rivals.sum(axis=0) + good).argmax())
            names.append(self.problem.fleet.names[widest])
            rivals = rivals[~rivals[:, widest]]
        return tuple(names)

    def _around(self, v: int) -> tuple[str, ...]:
        """Next to `v` on the hull of the first processor that can run it: one slower and one faster, if there are."""
        fleet = self.problem.fleet
        p = int(np.flatnonzero(self.usable[:, v])[0])
        corners = np.flatnonzero(self.on_hull[p])
        slower = [c for c in corners if fleet.item_s[p, c] >= fleet.item_s[p, v]]
        faster = [c for c in corners if fleet.item_s[p, c] < fleet.item_s[p, v]]
        nearest = [min(slower, key=lambda c: fleet.item_s[p, c])] if slower else []
        nearest += [max(faster, key=lambda c: fleet.item_s[p, c])] if faster else []
        return tuple(fleet.names[c] for c in nearest)

    def _out_of_place(self, v: int) -> WhyUnused:
        """Of a variant on some hull: on which side of what is used it lies, on the processors at work."""
        accuracy = self.problem.fleet.accuracy
        rows = np.flatnonzero(self.on_hull[:, v] & self.used.any(axis=1))
        above = [bool(accuracy[v] > accuracy[self.used[p]].max()) for p in rows]
        below = [bool(accuracy[v] < accuracy[self.used[p]].min()) for p in rows]
        if above and all(above):
            return WhyUnused.TOO_SLOW
        return WhyUnused.TOO_INACCURATE if below and all(below) else WhyUnused.OUTBID


def _time_to_be_useful_s(problem: Problem, plan: Plan) -> float:
    """An item that is done later than this does not help the plan."""
    if problem.prefer is Prefer.LATENCY or not math.isfinite(problem.deadline_s):
        return plan.latency_s
    return max(problem.deadline_s, plan.latency_s)


def _idle(problem: Problem, pid: ProcessorId, time_s: float, in_time: WhyIdle) -> IdleProcessor:
    """Why a processor is idle: `in_time` if it could do an item within `time_s`."""
    state = problem.conditions.get(pid, Condition())
    if not state.available:
        return IdleProcessor(node=pid.node, processor=pid.processor, why=WhyIdle.UNAVAILABLE)
    p = problem.fleet.index[pid]
    if not problem.usable[p].any():
        why = WhyIdle.MEMORY if np.isfinite(problem.fleet.item_s[p]).any() else WhyIdle.NO_PROFILE
        return IdleProcessor(node=pid.node, processor=pid.processor, why=why)
    first_item_s = min(_one_item_s(problem, pid, state))
    why = in_time if first_item_s <= time_s * (1 + TOLERANCE) else _why_late(problem, pid, time_s)
    return IdleProcessor(node=pid.node, processor=pid.processor, why=why, first_item_s=first_item_s)


def _why_late(problem: Problem, pid: ProcessorId, time_s: float) -> WhyIdle:
    """What must be taken away for a single item to be in time: work queued, loads, the link; or it is too slow."""
    state = problem.conditions.get(pid, Condition())
    latest_s = time_s * (1 + TOLERANCE)
    free = msgspec.structs.replace(state, busy_s=0.0)
    loaded = msgspec.structs.replace(free, resident=frozenset(problem.fleet.names))
    link_s = problem.fleet.cluster.node(pid.node).link.latency_s
    if min(_one_item_s(problem, pid, free)) <= latest_s:
        return WhyIdle.BUSY
    if min(_one_item_s(problem, pid, loaded)) <= latest_s:
        return WhyIdle.LOAD
    return WhyIdle.LINK if min(_one_item_s(problem, pid, loaded)) - link_s <= latest_s else WhyIdle.TOO_SLOW


def _one_item_s(problem: Problem, pid: ProcessorId, state: Condition) -> Iterator[float]:
    """When one item would be done, by each variant that the processor can run, by the cost model."""
    for v in np.flatnonzero(problem.usable[problem.fleet.index[pid]]):
        share = Share(
            node=pid.node, processor=pid.processor, variant=problem.fleet.names[v], batch=1, items=1, finish_s=0.0
        )
        yield problem.fleet.costs.predict((share,), {pid: state}).latency_s
