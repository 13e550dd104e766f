"""A schedule for several requests at once.

1. Who gets which seconds. The joint fluid optimum (`allotment.py`) says it, or proves that there is no schedule.
2. Whole plans. Requests take turns, earliest deadline first. In its turn request k is planned by the planner of one
   request, on processors that are free for it only as long as it makes nobody else late; of processor p that is

       min over requests j >= k of deadline[j] - work on p of all others that are due by then

   where the others' work is what they are allotted or, once they are planned, what they take. To the planner, a
   processor looks busy until just that much is left before the deadline. So whatever a plan takes of it, the promises
   of the others are kept, and turns may follow in any order, any number of times.
3. Further turns, as long as one of them gains accuracy.
4. Again from 1, a few times: with fixed costs spread over the items of the allotment before, and counted more for those
   that found no plan in what they were allotted. The most accurate schedule is taken.

Where whole items upset all that, other beginnings are tried: the schedule that stands, with the new request in what it
leaves; earliest deadline first; and, if asked for, the exact solver (`queue_exact.py`). The cost model judges every
outcome (`sharing.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from equipoise.core.plan import Plan
from equipoise.core.queue import Promise, QueuedRequest, Schedule
from equipoise.core.request import Prefer
from equipoise.planning.allotment import Allotment, Demand, allot, solver_is_there, with_charges
from equipoise.planning.queue_exact import Ints, exact
from equipoise.planning.sharing import SharedFleet
from equipoise.planning.strategies import strategy_named

Floats = npt.NDArray[np.float64]

_ROUNDS = 4  # of turns that look for more accuracy
_MARGIN = 1e-8  # of a deadline that is left alone in each turn: rounding errors add up over requests
_NEAR_ENOUGH = 1e-3  # relative gap to the bound at which no other allotment is tried
_ALLOTMENTS = 6  # that are tried
_MORE = 0.5  # caution about fixed costs for a request that found no plan
_LESS, _LEAST_CAUTION = 0.7, 0.05  # where no allotment is left


@dataclass(frozen=True, slots=True)
class _Draft:
    """Plans so far, of requests in the order of their deadlines, and the seconds that each takes or is allotted."""

    plans: tuple[Plan | None, ...]
    work_s: Floats  # (K, P)

    def with_plan(self, k: int, plan: Plan, work_s: Floats) -> _Draft:
        """The same with another plan for request k."""
        changed = self.work_s.copy()
        changed[k] = work_s
        return _Draft((*self.plans[:k], plan, *self.plans[k + 1 :]), changed)

    @property
    def missing(self) -> list[int]:
        return [k for k, plan in enumerate(self.plans) if plan is None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A schedule, or None; `impossible` if it is proven that there is none."""

    schedule: Schedule | None
    impossible: bool = False


def in_order(requests: Sequence[QueuedRequest]) -> tuple[QueuedRequest, ...]:
    """Earliest deadline first; of equal ones by name."""
    return tuple(sorted(requests, key=lambda request: (request.deadline_s, request.name)))


def find_schedule(
    requests: Sequence[QueuedRequest],
    shared: SharedFleet,
    standing: Schedule | None = None,
    *,
    settle_s: float = 0.0,
) -> Outcome:
    """Plans that keep the promises of all requests, if they are found.

    standing   a schedule of some of them, to fall back on where rounding upsets a new one
    settle_s   seconds that the exact solver may take where no schedule is found that the fluid optimum allows for

    Without highspy there is no bound and no proof, and schedules are improved from earliest deadline first.
    """
    return _Search(requests, shared, standing or Schedule()).run(settle_s)


def earliest_deadline_first(
    requests: Sequence[QueuedRequest], shared: SharedFleet, *, prefer: Prefer | None = None
) -> Schedule | None:
    """The baseline: each request in turn takes all it likes of what is left; None if one of them finds no plan.

    prefer   what each does with its slack, instead of what it asks for
    """
    ordered = in_order(requests)
    plans: list[Plan] = []
    for request in ordered:
        busy_s = shared.free_after(ordered[: len(plans)], plans)
        found = _plan(request, shared, busy_s, prefer)
        if found is None:
            return None
        plans.append(found)
    timed = shared.timed(ordered, plans)
    return None if timed is None else _schedule_of(ordered, timed, None)


class _Search:
    """Looks for a schedule of given requests."""

    def __init__(self, requests: Sequence[QueuedRequest], shared: SharedFleet, standing: Schedule) -> None:
        self._requests = in_order(requests)
        self._shared = shared
        self._standing = standing
        self._deadline_s = np.array([request.deadline_s for request in self._requests])

    def run(self, settle_s: float) -> Outcome:
        """See the module's head."""
        if not self._requests:
            return Outcome(Schedule())
        if not solver_is_there():
            return Outcome(self._otherwise(None))
        demand = self._shared.demand(self._requests)
        fluid = allot(demand)
        if fluid is None:
            return Outcome(None, impossible=True)
        bound = self._bound(fluid)
        found = self._by_allotment(demand, fluid, bound) or self._otherwise(bound)
        return Outcome(found) if found is not None or settle_s <= 0 else self._settled(demand, bound, settle_s)

    def _settled(self, demand: Demand, bound: float | None, settle_s: float) -> Outcome:
        """What the exact solver says within its time."""
        answer = exact(demand, time_limit_s=settle_s)
        if answer.items is None:
            return Outcome(None, impossible=answer.bound == -math.inf)
        plans = [self._plan_of(k, answer.items[k]) for k in range(len(self._requests))]
        return Outcome(self._finished(self._draft(self._shared.lined_up(self._requests, plans)), bound))

    def _plan_of(self, k: int, items: Ints) -> Plan:
        """The plan that gives request k these items, (P, V) over all processors, as if it were alone."""
        family = self._requests[k].family
        fleet = self._shared.fleets[family]
        problem = self._shared.problem(self._requests[k], self._shared.start_s)
        counts = items[self._shared.rows[family], : len(fleet.names)]
        return problem.plan("equipoise", problem.predict_counts(counts))

    def _by_allotment(self, demand: Demand, fluid: Allotment, bound: float | None) -> Schedule | None:
        """The best schedule that follows an allotment."""
        best: tuple[float, _Draft] | None = None
        for draft in self._drafts(demand, fluid):
            right = self._right(draft)
            if (best is None or right > best[0]) and self._timed(draft) is not None:
                best = right, draft
            if best is not None and (bound is None or best[0] >= fluid.bound * (1 - _NEAR_ENOUGH)):
                break
        return None if best is None else self._finished(best[1], bound)

    def _drafts(self, demand: Demand, fluid: Allotment) -> Iterator[_Draft]:
        """Complete drafts that follow allotments; who finds no plan in what he gets is allotted more the next time."""
        caution = np.ones(len(self._requests))
        allotted: Allotment | None = fluid
        for _ in range(_ALLOTMENTS):
            if allotted is None:
                return
            draft = self._turns_of_missing(_Draft((None,) * len(caution), allotted.work_s))
            if not draft.missing:
                yield draft
            caution[draft.missing] += _MORE
            allotted, caution = _next_allotment(demand, allotted.items, caution)

    def _right(self, draft: _Draft) -> float:
        """Right answers to expect for those who want accuracy."""
        pairs = zip(self._requests, draft.plans, strict=True)
        return sum(plan.accuracy * request.items for request, plan in pairs if plan and request.wants_accuracy)

    def _finished(self, draft: _Draft, bound: float | None) -> Schedule | None:
        """The schedule that a complete draft leads to; None if the cost model finds a promise broken."""
        if self._timed(draft) is None:
            return None
        timed = self._timed(self._improved(draft))
        assert timed is not None, "a turn is taken only if the schedule keeps its promises with it"
        return _schedule_of(self._requests, timed, bound)

    def _otherwise(self, bound: float | None) -> Schedule | None:
        """The first schedule from beginnings that need no allotment."""
        for beginning in self._beginnings():
            draft = self._complete(beginning)
            found = None if draft is None else self._finished(draft, bound)
            if found is not None:
                return found
        return None

    def _bound(self, fluid: Allotment) -> float | None:
        items = sum(request.items for request in self._requests if request.wants_accuracy)
        return min(1.0, fluid.bound / items) if items else None

    def _beginnings(self) -> Iterator[_Draft]:
        yield self._draft([self._standing_plan(request) for request in self._requests])
        for prefer in (Prefer.LATENCY, None):
            found = earliest_deadline_first(self._requests, self._shared, prefer=prefer)
            if found is not None:
                yield self._draft([promise.plan for promise in found.promises])

    def _standing_plan(self, request: QueuedRequest) -> Plan | None:
        return next((p.plan for p in self._standing.promises if p.request.name == request.name), None)

    def _draft(self, plans: Sequence[Plan | None]) -> _Draft:
        """Plans that were made one after the other, with the seconds that each takes."""
        work_s = np.zeros((len(self._requests), len(self._shared.pids)))
        free_s = self._shared.start_s
        for k, plan in enumerate(plans):
            if plan is not None:
                work_s[k] = _work_s(plan, free_s, self._shared)
                free_s = np.where(work_s[k] > 0, free_s + work_s[k], free_s)
        return _Draft(tuple(plans), work_s)

    def _complete(self, draft: _Draft) -> _Draft | None:
        """A plan for every request that has none; where one finds none, the others step back to their floors."""
        draft = self._turns_of_missing(draft)
        if draft.missing:
            for k, plan in enumerate(draft.plans):
                if plan is not None:
                    draft = self._turn(draft, k, Prefer.LATENCY) or draft
            draft = self._turns_of_missing(draft)
        return None if draft.missing else draft

    def _turns_of_missing(self, draft: _Draft) -> _Draft:
        for k in draft.missing:
            draft = self._turn(draft, k) or draft
        return draft

    def _turn(self, draft: _Draft, k: int, prefer: Prefer | None = None) -> _Draft | None:
        """The draft with the plan that request k likes best in the time that it has; None if there is no plan."""
        busy_s = self._busy_for(draft, k)
        plan = _plan(self._requests[k], self._shared, busy_s, prefer)
        return None if plan is None else draft.with_plan(k, plan, _work_s(plan, busy_s, self._shared))

    def _busy_for(self, draft: _Draft, k: int) -> Floats:
        """(P,) until when each processor has to look busy, so that request k makes nobody late."""
        others = draft.work_s.cumsum(axis=0)
        others[k:] -= draft.work_s[k]
        left_s = (self._deadline_s[k:, None] - self._shared.start_s - others[k:]).min(axis=0)
        deadline_s = self._deadline_s[k]
        busy_s: Floats = np.maximum(self._shared.start_s, deadline_s * (1 + _MARGIN) - np.maximum(0.0, left_s))
        return busy_s

    def _improved(self, draft: _Draft) -> _Draft:
        """Turns for those who want accuracy, as long as one of them gains."""
        for _ in range(_ROUNDS):
            before = draft
            for k, request in enumerate(self._requests):
                if request.wants_accuracy:
                    draft = self._gained(draft, self._turn(draft, k), k)
            if draft is before:
                break
        return draft

    def _gained(self, old: _Draft, new: _Draft | None, k: int) -> _Draft:
        was, now = old.plans[k], None if new is None else new.plans[k]
        if new is None or was is None or now is None or now.accuracy <= was.accuracy + 1e-9:
            return old
        return new if self._timed(new) is not None else old

    def _timed(self, draft: _Draft) -> tuple[Plan, ...] | None:
        return self._shared.timed(self._requests, [plan for plan in draft.plans if plan is not None])


def _next_allotment(demand: Demand, items: Floats, caution: Floats) -> tuple[Allotment | None, Floats]:
    """An allotment with as much caution as there is room for, and how much that was."""
    while caution.max() > _LEAST_CAUTION:
        found = allot(with_charges(demand, items, caution))
        if found is not None:
            return found, caution
        caution = caution * _LESS
    return None, caution


def _plan(request: QueuedRequest, shared: SharedFleet, busy_s: Floats, prefer: Prefer | None = None) -> Plan | None:
    requirement = request.requirement
    if prefer is not None:
        requirement = msgspec.structs.replace(requirement, prefer=prefer)
    problem = shared.problem(msgspec.structs.replace(request, requirement=requirement), busy_s)
    found = strategy_named("equipoise").solve(problem) if problem.usable.any() else None
    return found if found is not None and found.feasible else None


def _work_s(plan: Plan, busy_s: Floats, shared: SharedFleet) -> Floats:
    """(P,) seconds that a plan takes of each processor that was busy until then."""
    finish_s = busy_s.copy()
    for share in plan.shares:
        row = shared.index[share.pid]
        finish_s[row] = max(finish_s[row], share.finish_s)
    available = np.isfinite(busy_s)
    work_s: Floats = np.zeros(len(busy_s))
    work_s[available] = finish_s[available] - busy_s[available]
    return work_s


def _schedule_of(requests: Sequence[QueuedRequest], plans: Sequence[Plan], bound: float | None) -> Schedule:
    promises = (Promise(request=request, plan=plan) for request, plan in zip(requests, plans, strict=True))
    return Schedule(promises=tuple(promises), bound=bound)
