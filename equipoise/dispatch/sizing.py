"""How many items go into a task: guided self-scheduling, in whole inference batches."""

from __future__ import annotations

import math

from equipoise.dispatch.lane import Lane, Quota
from equipoise.dispatch.settings import Settings


def next_task_items(lane: Lane, quota: Quota, within_s: float, now_s: float, settings: Settings) -> int:
    """Items of the next task that a lane is sent from a quota.

    What it will not reach `within_s` seconds must not make its tasks so large that they miss the deadline whole.
    """
    batch = quota.batches[lane.pid]
    item_s = lane.item_s(quota.variant, batch)
    reached = math.floor(min(within_s / item_s, quota.items))
    return task_items(
        min(quota.items, max(batch, reached)),
        batch,
        item_s,
        settings,
        item_bytes=lane.item_bytes[quota.variant],
        timely_items=_timely_items(lane, quota, item_s, now_s, settings),
        sharers=len(quota.batches),
    )


def _timely_items(lane: Lane, quota: Quota, item_s: float, now_s: float, settings: Settings) -> float:
    """What arrives before the lane is idle; on a link that is too slow for that, its turn among its neighbours."""
    item_bytes = lane.item_bytes[quota.variant]
    if not item_bytes:
        return math.inf
    least = max(1.0, settings.min_task_s / item_s)
    return max(lane.timely_bytes(now_s) / item_bytes, least * lane.turn)


def task_items(
    left_items: int,
    batch: int,
    item_s: float,
    settings: Settings,
    *,
    item_bytes: int = 0,
    timely_items: float = math.inf,
    sharers: int = 1,
) -> int:
    """Items of the next task of a share with `left_items` >= 1 still to be sent; at most `left_items`.

    A task is a fixed part of what is left, so that tasks shrink towards the end and processors finish together
    (Polychronopoulos & Kuck, IEEE Trans. Computers 36(12), 1987), but no shorter than what makes the cost per
    task negligible, and no longer or larger than what may be lost at once. Unless that makes it too short, it is no
    larger than the `timely_items` that arrive before the processor is idle. `sharers` processors draw on the share.
    """
    guided = left_items / (settings.tasks_per_share * sharers)
    shortest = settings.min_task_s / item_s
    longest = min(settings.max_task_s / item_s, settings.max_task_bytes / item_bytes if item_bytes else math.inf)
    calls = max(1, round(min(max(min(guided, timely_items), shortest), longest) / batch))
    items = calls * batch
    remnant = left_items - items  # too short to pay for a task of its own, it joins this one
    return left_items if remnant < min(shortest, items) / 2 else items
