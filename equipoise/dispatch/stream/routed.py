"""Where an item goes when a router decides (dispatch/router.py): the literature's policies that look at queues."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from equipoise.core.cluster import ProcessorId
from equipoise.core.stream import Route, StreamRequest
from equipoise.dispatch.lane import Task
from equipoise.dispatch.router import Answered, Router, Seen, Situation
from equipoise.dispatch.stream.choice import Way
from equipoise.dispatch.stream.waiting import Item, Queue


class Routed:
    """Asks a router for one item after the other. What it holds back waits, in the order of arrival.

    A processor has in flight what it was sent and what waits here for it. The floor is held on average: an item owes
    what those before it have left over or lack.
    """

    def __init__(
        self,
        router: Router,
        request: StreamRequest,
        queues: Mapping[ProcessorId, Queue],
        accuracies: Mapping[str, float],
        rate_per_s: Callable[[float], float],
    ) -> None:
        self.holds = True
        self._router, self._request, self._queues = router, request, queues
        self._accuracies, self._rate_per_s = accuracies, rate_per_s
        self._credit = 0.0  # sum over all items answered or on their way of their accuracy less the floor
        self._seen = {
            pid: Seen(pid=pid, profiles=queue.lane.profiles, resident=queue.lane.resident)
            for pid, queue in queues.items()
        }
        self._situation = Situation(processors=list(self._seen.values()))
        self._began: dict[int, tuple[float, int]] = {}  # when, and behind how many items, each was assigned

    def follow(self, routes: Sequence[Route]) -> None:
        """A router has no use for routes."""

    def choose(self, item: Item, now_s: float) -> Way | None:
        """Where the router wants it; None if it holds it back."""
        for queue in self._queues.values():
            self._look_at(queue, now_s)
        now, in_flight = self._situation, sum(seen.in_flight_items for seen in self._seen.values())
        now.now_s, now.left_s = now_s, item.due_s - now_s
        now.unanswered_items = in_flight + now.unsent_items
        now.owed_accuracy = min(1.0, max(0.0, self._request.min_accuracy - self._credit))
        now.load_per_s = self._rate_per_s(now_s)
        choice = self._router.choose(now)
        return None if choice is None else Way(choice.pid, choice.variant)

    def took(self, item: Item, way: Way, now_s: float, *, anew: bool) -> bool:
        """Nothing is ever out of turn."""
        self._began[item.number] = (now_s, self._seen[way.pid].in_flight_items)
        self._credit += self._worth(way.variant)
        return False

    def gave_up(self, item: Item) -> None:
        """Its variant counts no more."""
        self._began.pop(item.number, None)
        self._credit -= self._worth(item.variant)

    def regained(self, variant: str) -> None:
        """This one counts after all."""
        self._credit += self._worth(variant)

    def learn(self, task: Task, items: Sequence[Item], now_s: float) -> None:
        """The router is told of every item how long it took since it was assigned."""
        for item in items:
            if (began := self._began.pop(item.number, None)) is not None:
                self._router.learn(
                    Answered(
                        now_s=now_s,
                        pid=task.pid,
                        variant=task.variant,
                        items=1,
                        ahead_items=began[1],
                        response_s=now_s - began[0],
                    )
                )

    def _worth(self, variant: str) -> float:
        return self._accuracies[variant] - self._request.min_accuracy

    def _look_at(self, queue: Queue, now_s: float) -> None:
        lane, seen = queue.lane, self._seen[queue.lane.pid]
        seen.usable, seen.in_flight_items = lane.usable, lane.items_in_flight + queue.waiting
        began_s = lane.head_since_s if lane.tasks else now_s
        seen.free_s = began_s + lane.work_in_flight_s + queue.work_s if seen.in_flight_items else -math.inf
        if len(seen.profiles) != len(lane.profiles) - len(lane.excluded):
            seen.profiles = {variant: p for variant, p in lane.profiles.items() if lane.can_run(variant)}
