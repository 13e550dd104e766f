"""What was sent and is not answered yet: keeps tasks, lanes and the pool of items in step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.lane import Lane, Task
from equipoise.dispatch.pool import Pool


class Flight:
    """Tasks in flight, and those that were given up but may still be answered.

    `hungry` collects the lanes whose window has got room; whoever fills them clears it. `watch` is told of every lane
    that may have begun another task.
    """

    def __init__(self, pool: Pool, lanes: dict[ProcessorId, Lane], watch: Callable[[Lane], None]) -> None:
        self.pool = pool
        self.lanes = lanes
        self.tasks: dict[int, Task] = {}
        self.given_up: dict[int, Task] = {}
        self.by_variant: Counter[str] = Counter()  # items in flight; those that two tasks hold count twice
        self.hungry: dict[ProcessorId, Lane] = {}
        self._watch = watch
        self._next_task = 0

    def send(self, lane: Lane, variant: str, batch: int, items: tuple[int, ...], now_s: float) -> Task:
        """A new task in flight; its items were taken from the pool or shared by it."""
        retried = any(self.pool.has_failed(item) for item in items)
        task = lane.describe_task(variant, items, batch, now_s, number=self._next_task, retried=retried)
        self._next_task += 1
        self.tasks[task.number] = task
        self.by_variant[variant] += len(items)
        lane.add(task, now_s)
        self._watch(lane)
        return task

    def find(self, number: int) -> Task | None:
        """The task, if its answer has not come yet; given up or not."""
        return self.tasks.get(number) or self.given_up.get(number)

    def answer(self, task: Task, now_s: float) -> tuple[int, ...]:
        """The task is answered; returns those of its items that had no answer before."""
        accepted = self.pool.answer(task.items)
        if self.given_up.pop(task.number, None) is None:
            self._retire(task, now_s)
            self.pool.release(task.items)
        return accepted

    def fail(self, task: Task, max_failures: int, now_s: float) -> bool:
        """The task was not done: its items are open again, except those that keep failing alone.

        False if nobody waited for it any more.
        """
        if self.given_up.pop(task.number, None) is not None:
            return False
        self._retire(task, now_s)
        usable = sum(lane.usable for lane in self.lanes.values())
        self.pool.retry(task.items, task.pid, attempts=max_failures, processors=min(max_failures, usable))
        return True

    def give_up(self, tasks: Iterable[Task], now_s: float) -> None:
        """Wait no longer for these tasks: what only they hold is open again."""
        for task in list(tasks):
            self._retire(task, now_s)
            self.pool.release(task.items)
            self.given_up[task.number] = task

    def losers(self, accepted: Iterable[int]) -> list[Task]:
        """Tasks of which nothing is needed any more, now that others have answered these items."""
        if not any(self.pool.holders(item) for item in accepted):
            return []
        return [task for task in self.tasks.values() if not any(self.pool.is_in_flight(item) for item in task.items)]

    def _retire(self, task: Task, now_s: float) -> None:
        lane = self.lanes[task.pid]
        del self.tasks[task.number]
        self.by_variant[task.variant] -= len(task.items)
        lane.remove(task, now_s)
        self._watch(lane)
        self.hungry[lane.pid] = lane
