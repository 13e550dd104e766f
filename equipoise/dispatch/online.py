"""The dispatcher that asks a router where every item goes, instead of following a plan.

Losses, failures, late answers, the deadline and the books are the dispatcher's own: only the assignment differs. All
items of a request are there from the start; the router is asked for one call after the other until it holds back.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions
from equipoise.core.request import Request
from equipoise.dispatch.commands import Command, SendTask
from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.dispatch.events import Event, NodeJoined, TaskDone, Tick
from equipoise.dispatch.lane import Lane
from equipoise.dispatch.router import Answered, Router, Seen, Situation
from equipoise.dispatch.settings import Settings

# A serving system neither plans again nor sends the same query twice; how much a processor is sent, the router says.
ONLINE = Settings(replan=False, duplicate_stragglers=False, window_tasks=sys.maxsize)


class OnlineDispatcher(Dispatcher):
    """Events in, commands out, as of any dispatcher; it never asks for a plan, and needs none to start."""

    def __init__(
        self,
        request: Request,
        cluster: Cluster,
        order: Sequence[int],
        *,
        router: Router,
        settings: Settings = ONLINE,
        conditions: Conditions | None = None,
    ) -> None:
        super().__init__(request, cluster, order, settings=settings, conditions=conditions)
        self._router = router
        self._see_processors()
        self._sent: dict[int, tuple[float, int]] = {}  # when, and behind how many items, each task in flight was sent
        self._held_back = False  # the router waits, but nothing is in flight that it could wait for

    def handle(self, event: Event) -> list[Command]:
        """As of any dispatcher."""
        self._all_changed |= not isinstance(event, TaskDone)
        self._held_back &= isinstance(event, Tick)
        if isinstance(event, TaskDone):
            self._teach(event)
        return super().handle(event)

    def _on_joined(self, event: NodeJoined) -> None:
        super()._on_joined(event)
        self._see_processors()

    def _see_processors(self) -> None:
        self._seen = {
            pid: Seen(pid=pid, profiles=lane.profiles, resident=lane.resident) for pid, lane in self._lanes.items()
        }
        self._situation = Situation(processors=list(self._seen.values()))
        self._all_changed = True  # and not only those whose tasks are over

    def _teach(self, event: TaskDone) -> None:
        task, sent = self._flight.find(event.task), self._sent.pop(event.task, None)
        if task is None or sent is None:
            return
        self._all_changed |= self._lanes[task.pid].suspected  # it is slow, but alive
        self._router.learn(
            Answered(
                now_s=event.now_s,
                pid=task.pid,
                variant=task.variant,
                items=len(task.items),
                ahead_items=sent[1],
                response_s=event.now_s - sent[0],
            )
        )

    def _assign(self) -> list[Command]:
        for lane in (self._lanes if self._all_changed else self._flight.hungry).values():
            self._look_at(lane)
        self._all_changed = False
        self._flight.hungry.clear()
        commands: list[Command] = []
        while self._pool.open_items:
            choice = self._router.choose(self._now())
            if choice is None:
                break
            lane = self._lanes[choice.pid]
            commands.append(self._send(lane, choice.variant, choice.batch, self._pool.take(choice.batch)))
            self._look_at(lane)
        self._held_back = bool(self._pool.open_items) and not self._flight.tasks
        if self._held_back:
            self._stranded_since_s = min(self._stranded_since_s, self._now_s)
        return commands

    @property
    def _can_go_on(self) -> bool:
        return super()._can_go_on and not self._held_back

    def _send(self, lane: Lane, variant: str, batch: int, items: tuple[int, ...]) -> SendTask:
        ahead_items = lane.items_in_flight
        command = super()._send(lane, variant, batch, items)
        self._sent[command.task] = (self._now_s, ahead_items)
        return command

    def _now(self) -> Situation:
        now, pool = self._situation, self._pool
        now.now_s, now.left_s = self._now_s, self._deadline_s - self._now_s
        now.unsent_items = pool.open_items
        now.unanswered_items = pool.open_items + pool.in_flight_items
        now.load_per_s = now.unanswered_items / now.left_s if now.left_s > 0 else math.inf
        now.owed_accuracy = self._owed_accuracy()
        return now

    def _owed_accuracy(self) -> float:
        floor, accuracies = self._request.requirement.min_accuracy, self._tally.accuracies
        if not floor:
            return 0.0
        in_flight = sum(accuracies[variant] * items for variant, items in self._flight.by_variant.items())
        return max(0.0, (floor * self._request.items - self._tally.earned - in_flight) / self._pool.open_items)

    def _look_at(self, lane: Lane) -> None:
        seen = self._seen[lane.pid]
        seen.usable, seen.in_flight_items = lane.usable, lane.items_in_flight
        seen.free_s = lane.head_since_s + lane.work_in_flight_s if lane.tasks else -math.inf
        if len(seen.profiles) != len(lane.profiles) - len(lane.excluded):
            seen.profiles = {variant: p for variant, p in lane.profiles.items() if lane.can_run(variant)}
