"""The machine that follows a stream from its first arrival to its last answer. It does no I/O and reads no clock."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import NoReturn

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions
from equipoise.core.stream import StreamPlan, StreamRequest
from equipoise.dispatch.belief import Belief
from equipoise.dispatch.commands import AbandonTask, AcceptAnswers, WakeAt
from equipoise.dispatch.events import Interrupted, NodeLost, NodeReturned, TaskDone, TaskFailed, Tick
from equipoise.dispatch.lane import Lane, Task, lanes_of
from equipoise.dispatch.rest import usable_cluster
from equipoise.dispatch.router import Router
from equipoise.dispatch.stream.choice import Assigner, Chooser
from equipoise.dispatch.stream.events import (
    ArrivalsEnded,
    AskForStreamPlan,
    EndStream,
    ItemArrived,
    StreamCommand,
    StreamEvent,
    StreamPlanReady,
)
from equipoise.dispatch.stream.flight import StreamFlight
from equipoise.dispatch.stream.replanning import Replanning
from equipoise.dispatch.stream.routed import Routed
from equipoise.dispatch.stream.settings import StreamSettings
from equipoise.dispatch.stream.tally import StreamTally
from equipoise.dispatch.stream.unsettled import Unsettled
from equipoise.dispatch.stream.waiting import Item, Queue

_SOON_S = 0.001  # a wake-up is never due at once, however times round


class StreamDispatcher:
    """Events in, commands out; every item that arrives is answered once or named as shed, and EndStream comes last.

    An item goes where it is its turn by the planned fractions, unless it would be late there. It waits here until
    its processor has room, so that what a lost or slow processor has not begun can go elsewhere, and items that wait
    may be inferred together. The stream is planned anew when nodes go or come, speeds drift or the rate does.

    With a `router` items go where it says, item by item; what it holds back waits here until something is answered.
    """

    def __init__(
        self,
        request: StreamRequest,
        cluster: Cluster,
        *,
        settings: StreamSettings | None = None,
        conditions: Conditions | None = None,
        router: Router | None = None,
    ) -> None:
        self._request = request
        self._cluster = cluster
        self._settings = settings or StreamSettings()
        self._lanes = lanes_of(cluster, conditions or {})
        self._belief = Belief(self._lanes, lambda: self._settings.belief_margin_s)
        spreads = NormalDist().inv_cdf(max(0.5, request.confidence))
        self._queues = {pid: Queue(lane, spreads) for pid, lane in self._lanes.items()}
        self._accuracies = {variant.name: variant.accuracy for variant in cluster.variants}
        self._replanning = Replanning(request, self._lanes.values(), self._settings)
        self._assigner = self._assigned_by(router)
        self._plan: StreamPlan | None = None
        self.tally = StreamTally()
        self._flight = StreamFlight(self._lanes, self._belief)
        self._unsettled = Unsettled(
            request,
            self._settings,
            queues=self._queues,
            assigner=self._assigner,
            tally=self.tally,
            hungry=self._flight.hungry,
        )
        self._abandoned: list[Task] = []  # in this very event
        self._now_s = self.start_s = 0.0
        self._wake_s = -math.inf
        self._ended = False
        self.end: EndStream | None = None

    def _assigned_by(self, router: Router | None) -> Assigner:
        if router is None:
            return Chooser(self._request, self._queues, self._accuracies, diverts=self._settings.diverts)
        return Routed(router, self._request, self._queues, self._accuracies, self._replanning.rate_per_s)

    def start(self, now_s: float, plan: StreamPlan | None = None) -> list[StreamCommand]:
        """Begin, with this plan if there already is one. To be called once."""
        self._now_s = self.start_s = now_s
        for lane in self._lanes.values():
            lane.free_s = now_s + lane.condition.busy_s
        if plan is None:
            self._replanning.want_now()
        self._follow(plan)
        return self._go_on()

    def handle(self, event: StreamEvent) -> list[StreamCommand]:
        """What to do about an event. Nothing is left to do once the stream is over."""
        if self.end is not None:
            return []
        self._now_s = max(self._now_s, event.now_s)
        accepted = self._take_in(event)
        return accepted + self._go_on()

    @property
    def unsettled_items(self) -> int:
        """Items that arrived and are neither answered nor shed."""
        return len(self._unsettled.items)

    # --- what happened ---------------------------------------------------------------------------------------------

    def _take_in(self, event: StreamEvent) -> list[StreamCommand]:
        match event:
            case ItemArrived(item=number):
                self._on_arrival(number)
            case TaskDone():
                return self._on_done(event)
            case TaskFailed():
                self._on_failed(event)
            case StreamPlanReady(plan=plan):
                self._on_plan(plan)
            case NodeLost():
                self._lose([lane for pid, lane in self._lanes.items() if pid.node == event.node], gone=True)
            case NodeReturned():
                self._on_returned(event)
            case Tick():
                self._lose(self._belief.overdue(self._now_s), gone=False)
            case ArrivalsEnded():
                self._ended = True
            case Interrupted():
                self._ended = True
                for item in list(self._unsettled.items.values()):
                    self._unsettled.shed(item, "interrupted")
            case _:
                _assert_never(event)
        return []

    def _on_arrival(self, number: int) -> None:
        self._replanning.arrived(self._now_s)
        self.tally.arrived += 1
        self._unsettled.arrive(number, self._now_s)

    def _on_done(self, event: TaskDone) -> list[StreamCommand]:
        task, items = self._flight.land(event.task, self._now_s)
        if task is None:
            return []
        lane = self._lanes[task.pid]
        self.tally.worked(task.pid, task.variant, event.busy_s, event.load_s)
        lane.learn(task, event.busy_s - event.load_s + event.others_s)  # others' work slows it down, as heat does
        self._assigner.learn(task, items, self._now_s)
        if lane.suspected:  # slow, but alive
            lane.suspected = False
            self._what_is_there_changed()
        self._replanning.learned(lane)
        accepted = [item for item in items if item.open]
        self.tally.dropped += len(items) - len(accepted)
        for item in accepted:
            self._answer(item, task, bad=item.number in event.bad_items)
        numbers = tuple(item.number for item in accepted)
        return [AcceptAnswers(task=task.number, items=numbers)] if numbers else []

    def _answer(self, item: Item, task: Task, *, bad: bool) -> None:
        self._unsettled.answer(item, task)
        self.tally.answer(
            task.pid,
            task.variant,
            self._now_s - item.arrived_s,
            in_time=self._now_s <= item.due_s,
            accuracy=None if bad else self._accuracies[task.variant],
        )

    def _on_failed(self, event: TaskFailed) -> None:
        waited_for = event.task in self._flight.tasks
        task, items = self._flight.land(event.task, self._now_s)
        if task is None or not waited_for:
            return
        lane = self._lanes[task.pid]
        lane.blame_for(task, self._settings.max_failures)
        if task.variant in lane.excluded:
            self._what_is_there_changed()
            self._unsettled.move(self._queues[lane.pid].empty(), self._now_s)
        for item in filter(lambda item: item.open, items):
            item.failures += 1
            self._unsettled.withdraw(item)
            if item.failures >= self._settings.max_failures:
                self._unsettled.shed(item, f"it failed {item.failures} times, at last because {event.reason}")
            else:
                self._unsettled.place(item, self._now_s, anew=False)

    def _on_plan(self, plan: StreamPlan) -> None:
        if self._replanning.answered():
            self.tally.replanned += 1
            self._follow(plan)

    def _on_returned(self, event: NodeReturned) -> None:
        lanes = [lane for pid, lane in self._lanes.items() if pid.node == event.node]
        self._lose(lanes, gone=True)  # its queues are empty, whatever it was sent before
        self._flight.forget(event.node)
        for lane in lanes:
            lane.restart()
        self._what_is_there_changed()

    def _what_is_there_changed(self) -> None:
        self._replanning.want_now()
        self._follow(self._plan)

    def _follow(self, plan: StreamPlan | None) -> None:
        self._plan = plan
        self._assigner.follow(plan.routes if plan is not None else ())

    def _lose(self, lanes: Iterable[Lane], *, gone: bool) -> None:
        """These processors are lost, or late beyond belief: what they had goes elsewhere."""
        lanes = list(lanes)
        for lane in lanes:
            lane.available = lane.available and not gone
            lane.suspected = lane.suspected or not gone
        if lanes:
            self._what_is_there_changed()
        for lane in lanes:
            unstarted = list(lane.tasks.values())[1:]  # the first may have begun: its answer would show life
            left = self._flight.give_up(lane, self._now_s) + self._queues[lane.pid].empty()
            self._abandoned += [] if gone else unstarted
            self._unsettled.move(left, self._now_s)

    # --- what to do about it ---------------------------------------------------------------------------------------

    def _go_on(self) -> list[StreamCommand]:
        self._unsettled.see_to_those_without_place(self._now_s, in_flight=bool(self._flight.tasks))
        sent: list[StreamCommand] = []
        while self._flight.hungry:
            lane, _ = self._flight.hungry.popitem()
            sent += self._fill(lane)
        commands = [*map(_abandon, self._abandoned), *self._unsettled.take_shed(), *sent]
        self._abandoned = []
        if self._ended and not self._unsettled.items:
            return commands + self._end()
        if self._replanning.is_due(self._now_s):
            commands.append(self._ask_for_plan())
        return commands + self._ask_to_be_woken()

    def _fill(self, lane: Lane) -> list[StreamCommand]:
        """Send it what waits for it, as long as it has room. What would be late by now goes elsewhere, or is shed."""
        queue, commands = self._queues[lane.pid], list[StreamCommand]()
        may_be_late = self._settings.may_be_late(self._request)
        while lane.usable and self._has_room(lane) and (head := queue.head()) is not None:
            if not may_be_late and queue.expects_s(head.variant, self._now_s) > head.due_s:
                queue.items.popleft()
                self._unsettled.withdraw(head)
                self._unsettled.place(head, self._now_s, anew=False)
            else:
                call = queue.call(self._now_s, late=may_be_late)
                commands.append(self._flight.send(queue, call, self._now_s))
        return commands

    def _has_room(self, lane: Lane) -> bool:
        return len(lane.tasks) < self._settings.window_tasks or not lane.covers_travel

    def _ask_for_plan(self) -> AskForStreamPlan:
        return AskForStreamPlan(
            request=self._replanning.ask(self._now_s),
            cluster=usable_cluster(self._cluster, self._lanes),
            conditions={pid: lane.condition_now(self._now_s) for pid, lane in self._lanes.items()},
        )

    def _end(self) -> list[StreamCommand]:
        self.end = EndStream()
        return [*(_abandon(task) for task, _ in self._flight.tasks.values()), self.end]

    def _ask_to_be_woken(self) -> list[StreamCommand]:
        wanted_s = min(self._belief.next_s(), self._unsettled.next_s, self._replanning.next_s())
        wanted_s = max(wanted_s, self._now_s + _SOON_S)
        if math.isinf(wanted_s) or self._now_s < self._wake_s <= wanted_s:
            return []  # woken earlier than needed, the machine asks again
        self._wake_s = wanted_s
        return [WakeAt(at_s=wanted_s)]


def _abandon(task: Task) -> AbandonTask:
    return AbandonTask(task=task.number, pid=task.pid)


def _assert_never(event: NoReturn) -> NoReturn:
    raise AssertionError(f"no way to handle {event!r}")
