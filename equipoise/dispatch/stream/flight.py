"""What a stream has sent and not heard of: keeps tasks, lanes and the items in them in step."""

from __future__ import annotations

from collections.abc import Mapping

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.belief import Belief
from equipoise.dispatch.commands import SendTask
from equipoise.dispatch.lane import Lane, Task
from equipoise.dispatch.stream.waiting import Item, Queue


class StreamFlight:
    """Tasks in flight, and those that were given up but may still be answered, each with its items.

    `hungry` collects the lanes that have room or something to be sent; whoever fills them clears it.
    """

    def __init__(self, lanes: Mapping[ProcessorId, Lane], belief: Belief) -> None:
        self.tasks: dict[int, tuple[Task, list[Item]]] = {}
        self.given_up: dict[int, tuple[Task, list[Item]]] = {}
        self.hungry: dict[Lane, None] = {}
        self._lanes = lanes
        self._belief = belief
        self._next_task = 0

    def send(self, queue: Queue, items: list[Item], now_s: float) -> SendTask:
        """Those at the head of a queue set out as one call."""
        lane, variant = queue.lane, items[0].variant
        numbers = tuple(item.number for item in items)
        queue.take(items)
        retried = any(item.failures for item in items)
        task = lane.describe_task(variant, numbers, len(items), now_s, number=self._next_task, retried=retried)
        self._next_task += 1
        lane.add(task, now_s)
        self.tasks[task.number] = (task, items)
        self._belief.watch(lane)
        return SendTask(
            task=task.number,
            pid=lane.pid,
            variant=variant,
            batch=len(items),
            items=numbers,
            expire_in_s=None,  # whether an item that is late counts is known here
            due_in_s=max(0.0, min(item.due_s for item in items) - now_s),
        )

    def land(self, number: int, now_s: float) -> tuple[Task | None, list[Item]]:
        """A task that was waited for, or no more; None if it is answered already."""
        if number not in self.tasks:
            return self.given_up.pop(number, (None, []))
        task, items = self.tasks.pop(number)
        lane = self._lanes[task.pid]
        lane.remove(task, now_s)
        self._belief.watch(lane)
        self.hungry[lane] = None
        return task, items

    def give_up(self, lane: Lane, now_s: float) -> list[Item]:
        """Wait no longer for what a lane was sent; returns the items that are still to be answered."""
        left: list[Item] = []
        for number in list(lane.tasks):
            task, items = self.tasks.pop(number)
            lane.remove(task, now_s)
            self.given_up[number] = (task, items)
            left += [item for item in items if item.open]
        return left

    def forget(self, node: str) -> None:
        """What a node was sent and given up for will not be answered any more."""
        for number in [number for number, (task, _) in self.given_up.items() if task.pid.node == node]:
            del self.given_up[number]
