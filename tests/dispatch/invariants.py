"""What must hold of a dispatcher after every event."""

from __future__ import annotations

from collections import Counter

from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.dispatch.pool import Pool


def check_invariants(dispatcher: Dispatcher) -> None:
    flight = dispatcher._flight
    check_pool(flight.pool, [task.items for task in flight.tasks.values()])
    in_lanes = {number for lane in flight.lanes.values() for number in lane.tasks}
    assert in_lanes == set(flight.tasks), "a task is in flight exactly if its lane has it"
    assert not set(flight.tasks) & set(flight.given_up), "a task is waited for or given up, not both"
    for lane in flight.lanes.values():
        deep = len(lane.tasks) > dispatcher._settings.window_tasks
        assert not deep or lane.uplink.link.latency_s, "a window is only deeper to hide latency"
        assert lane.available or not lane.tasks, "a lost processor has nothing in flight"
        assert not (lane.suspected and lane.tasks), "a suspected processor has nothing in flight"
        assert all(quota.items >= 0 for quota in lane.quotas)


def check_pool(pool: Pool, tasks: list[tuple[int, ...]]) -> None:
    """No item is lost, none is both open and in flight, and every holder is a task."""
    holders = Counter(item for items in tasks for item in items)
    waiting = Counter(
        item
        for item in [*pool._queue, *pool._order[pool._begun :], *(item for group in pool._retries for item in group)]
        if pool._state[item] == 0
    )
    for item in range(pool.items):
        assert pool.holders(item) == holders[item], f"item {item} is held by {holders[item]} tasks"
        state = pool._state[item]
        assert waiting[item] == (state == 0), f"open item {item} must wait exactly once"
        assert (state != 1) or holders[item] > 0, f"item {item} is lost: in flight, but nobody holds it"
        assert (state != 0) or holders[item] == 0, f"item {item} is open and in flight"
    counts = Counter(pool._state)
    assert [counts[state] for state in range(4)] == pool._count
