"""Near the end: which idle processor should do which late task once more. The first answer wins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest, nsmallest

from equipoise.dispatch.lane import Lane, Task
from equipoise.dispatch.pool import Pool

_LOOKED_AT = 8  # the latest few tasks decide when a request ends, the quickest few lanes can help; of thousands
_SOON_S = 0.002  # before it is too late: clocks and wake-ups are no more exact than that
_WORTH = 1.1  # a duplicate must promise to be this much quicker, for predictions are no better than that


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """The items of a task, to be done once more on `lane` with `variant`."""

    lane: Lane
    variant: str
    batch: int
    items: tuple[int, ...]


def find_duplicate(
    lanes: Iterable[Lane], pool: Pool, accuracies: Mapping[str, float], now_s: float, deadline_s: float
) -> tuple[Duplicate | None, float]:
    """The duplicate that helps most, if any does; if none does yet, when to look again.

    A duplicate is worth it if it should be answered sooner than the task itself. It is also if it should be in time,
    and the task may not be: because its deadline is too close for how such tasks scatter, or because it is late, and
    waiting any longer would be too late for a duplicate, too.
    One that may be late is left to a processor at work that should be done with it sooner, and in time.
    A duplicate runs the quickest variant that is at least as accurate as the one that it stands in for, so that
    nothing that was promised is given away.
    """
    lanes = list(lanes)
    idle = _ablest(lane for lane in lanes if lane.usable and not lane.tasks)
    at_work = _ablest(lane for lane in lanes if lane.usable and lane.tasks)
    turns_s = []
    for finish_s, lane, task in _latest(lanes, now_s) if idle else ():
        items = tuple(item for item in task.items if pool.is_in_flight(item))
        if not items or any(pool.holders(item) > 1 for item in items):
            continue
        quickest = _quickest(idle, task, items, accuracies, now_s)
        if quickest is None:
            continue
        needs_s, duplicate = quickest
        if now_s + _WORTH * needs_s > deadline_s:
            others = [other for other in at_work if other is not lane]
            later = _quickest(others, task, items, accuracies, now_s)
            if later is not None and later[0] < min(needs_s, deadline_s - now_s):
                continue
        turn_s = _turn_s(lane, finish_s, _WORTH * needs_s, now_s, deadline_s)
        if turn_s <= now_s:
            return duplicate, math.inf
        turns_s.append(turn_s)
    return None, min(turns_s, default=math.inf)


def _ablest(lanes: Iterable[Lane]) -> list[Lane]:
    return nsmallest(_LOOKED_AT, lanes, key=lambda lane: lane.least_item_s)


def _turn_s(lane: Lane, finish_s: float, needs_s: float, now_s: float, deadline_s: float) -> float:
    """From when on a duplicate that needs `needs_s` is worth it, if the lane's head is not answered by then.

    A head that is overdue should need as long again as it is overdue: at time t, what it holds up until `finish_s`
    should be over at 2 t - due + after.
    """
    due_s = lane.due_s
    after_s = finish_s - (now_s + abs(due_s - now_s))
    sooner_s = now_s if now_s + needs_s <= finish_s else due_s + needs_s - after_s
    last_s = deadline_s - needs_s
    if now_s > last_s:  # the duplicate would be late, too
        return sooner_s
    safe_s = deadline_s - lane.scatter_s
    if due_s + after_s > safe_s:
        return now_s
    unsafe_s = (safe_s + due_s - after_s) / 2
    return min(sooner_s, max(lane.late_from_s, min(unsafe_s, last_s - _SOON_S)))


def _latest(lanes: Sequence[Lane], now_s: float) -> list[tuple[float, Lane, Task]]:
    in_flight = ((finish_s, lane, task) for lane in lanes for finish_s, task in lane.finishes_s(now_s))
    return nlargest(_LOOKED_AT, in_flight, key=lambda entry: entry[0])


def _quickest(
    lanes: Sequence[Lane], task: Task, items: tuple[int, ...], accuracies: Mapping[str, float], now_s: float
) -> tuple[float, Duplicate] | None:
    """The one that should be answered first, and in how many seconds; of a lane at work, after what is in flight."""
    choices = [
        (
            lane.answer_s(lane.describe_task(variant, items, profile.best_batch, now_s), now_s + lane.busy_s(now_s)),
            lane,
            variant,
        )
        for lane in lanes
        for variant, profile in lane.profiles.items()
        if lane.can_run(variant) and accuracies[variant] >= accuracies[task.variant]
    ]
    if not choices:
        return None
    answer_s, lane, variant = min(choices, key=lambda choice: choice[0])
    return answer_s - now_s, Duplicate(lane=lane, variant=variant, batch=lane.profiles[variant].best_batch, items=items)
