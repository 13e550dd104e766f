"""The machine that follows a stream from its first arrival to its last answer. It does no I/O and reads no clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import NoReturn

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions
from equipoise.core.request import WhenLate
from equipoise.core.stream import StreamPlan, StreamRequest
from equipoise.dispatch.belief import Belief
from equipoise.dispatch.commands import AbandonTask, AcceptAnswers, SendTask, WakeAt
from equipoise.dispatch.events import Interrupted, NodeLost, NodeReturned, TaskDone, TaskFailed, Tick
from equipoise.dispatch.lane import Lane, Task, lanes_of
from equipoise.dispatch.rest import usable_cluster
from equipoise.dispatch.stream.choice import Chooser
from equipoise.dispatch.stream.events import (
    ArrivalsEnded,
    AskForStreamPlan,
    EndStream,
    ItemArrived,
    ShedItems,
    StreamCommand,
    StreamEvent,
    StreamPlanReady,
)
from equipoise.dispatch.stream.replanning import Replanning
from equipoise.dispatch.stream.settings import StreamSettings
from equipoise.dispatch.stream.tally import StreamTally
from equipoise.dispatch.stream.waiting import Item, Queue

_SOON_S = 0.001  # a wake-up is never due at once, however times round


class StreamDispatcher:
    """Events in, commands out; every item that arrives is answered once or named as shed, and EndStream comes last.

    An item goes where it is its turn by the planned fractions, unless it would be late there. It waits here until
    its processor has room, so that what a lost or slow processor has not begun can go elsewhere, and items that wait
    may be inferred together. The stream is planned anew when nodes go or come, speeds drift or the rate does.
    """

    def __init__(
        self,
        request: StreamRequest,
        cluster: Cluster,
        *,
        settings: StreamSettings | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        self._request = request
        self._cluster = cluster
        self._settings = settings or StreamSettings()
        self._lanes = lanes_of(cluster, conditions or {})
        self._belief = Belief(self._lanes, lambda: self._settings.belief_margin_s)
        spreads = NormalDist().inv_cdf(max(0.5, request.confidence))
        self._queues = {pid: Queue(lane, spreads) for pid, lane in self._lanes.items()}
        self._accuracies = {variant.name: variant.accuracy for variant in cluster.variants}
        self._chooser = Chooser(request, self._queues, self._accuracies)
        self._replanning = Replanning(request, self._lanes.values(), self._settings)
        self._plan: StreamPlan | None = None
        self.tally = StreamTally()
        self._items: dict[int, Item] = {}  # that are not settled
        self._homeless: list[
            tuple[float, int, Item]
        ] = []  # that nobody can take at present; a heap, until when they may wait
        self._tasks: dict[int, tuple[Task, list[Item]]] = {}
        self._given_up: dict[int, tuple[Task, list[Item]]] = {}
        self._next_task = 0
        self._hungry: dict[Lane, None] = {}
        self._shed: dict[str, list[int]] = {}  # in this very event
        self._abandoned: list[Task] = []  # likewise
        self._now_s = self.start_s = 0.0
        self._wake_s = -math.inf
        self._ended = False
        self.end: EndStream | None = None

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
        return len(self._items)

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
                for item in list(self._items.values()):
                    self._shed_item(item, "interrupted")
            case _:
                _assert_never(event)
        return []

    def _on_arrival(self, number: int) -> None:
        if number in self._items:
            raise ValueError(f"item {number} has arrived already")
        self._replanning.arrived(self._now_s)
        self.tally.arrived += 1
        item = Item(number, self._now_s, self._now_s + self._request.item_latency_s)
        self._items[number] = item
        if len(self._items) > self._settings.max_unsettled_items:
            self._shed_item(item, "too many items wait")
        else:
            self._place(item)

    def _on_done(self, event: TaskDone) -> list[StreamCommand]:
        task, items = self._landed(event.task)
        if task is None:
            return []
        lane = self._lanes[task.pid]
        self.tally.worked(task.pid, task.variant, event.busy_s, event.load_s)
        lane.learn(task, event.busy_s - event.load_s + event.others_s)  # others' work slows it down, as heat does
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
        if item.waiting or (item.at, item.variant) != (task.pid, task.variant):
            self._withdraw(item)  # it was to be done again elsewhere
            self._chooser.credit += self._accuracies[task.variant] - self._request.min_accuracy
        self._settle(item)
        self.tally.answer(
            task.pid,
            task.variant,
            self._now_s - item.arrived_s,
            in_time=self._now_s <= item.due_s,
            accuracy=None if bad else self._accuracies[task.variant],
        )

    def _on_failed(self, event: TaskFailed) -> None:
        waited_for = event.task in self._tasks
        task, items = self._landed(event.task)
        if task is None or not waited_for:
            return
        lane = self._lanes[task.pid]
        lane.blame_for(task, self._settings.max_failures)
        if task.variant in lane.excluded:
            self._what_is_there_changed()
            self._move(self._queues[lane.pid].empty())
        for item in filter(lambda item: item.open, items):
            item.failures += 1
            self._withdraw(item)
            if item.failures >= self._settings.max_failures:
                self._shed_item(item, f"it failed {item.failures} times, at last because {event.reason}")
            else:
                self._place(item, anew=False)

    def _on_plan(self, plan: StreamPlan) -> None:
        if self._replanning.answered():
            self.tally.replanned += 1
            self._follow(plan)

    def _on_returned(self, event: NodeReturned) -> None:
        lanes = [lane for pid, lane in self._lanes.items() if pid.node == event.node]
        self._lose(lanes, gone=True)  # its queues are empty, whatever it was sent before
        for number in [number for number, (task, _) in self._given_up.items() if task.pid.node == event.node]:
            del self._given_up[number]
        for lane in lanes:
            lane.restart()
        self._what_is_there_changed()

    def _what_is_there_changed(self) -> None:
        self._replanning.want_now()
        self._follow(self._plan)

    def _follow(self, plan: StreamPlan | None) -> None:
        self._plan = plan
        self._chooser.follow(plan.routes if plan is not None else ())

    def _lose(self, lanes: Iterable[Lane], *, gone: bool) -> None:
        """These processors are lost, or late beyond belief: what they had goes elsewhere."""
        lanes = list(lanes)
        for lane in lanes:
            lane.available = lane.available and not gone
            lane.suspected = lane.suspected or not gone
        if lanes:
            self._what_is_there_changed()
        for lane in lanes:
            self._strip(lane, abandon=not gone)

    def _strip(self, lane: Lane, *, abandon: bool) -> None:
        flown = list(lane.tasks)
        unstarted = [lane.tasks[number] for number in flown[1:]]
        left = [item for number in flown for item in self._give_up(number)] + self._queues[lane.pid].empty()
        if abandon:
            self._abandoned += unstarted
        self._move(left)

    def _move(self, items: Iterable[Item]) -> None:
        """They were to be answered where they cannot be any more."""
        for item in items:
            self._withdraw(item)
            self.tally.resent += 1
            self._place(item, anew=False)

    def _give_up(self, number: int) -> list[Item]:
        task, items = self._tasks.pop(number)
        self._lanes[task.pid].remove(task, self._now_s)
        self._given_up[number] = (task, items)
        return [item for item in items if item.open]

    def _landed(self, number: int) -> tuple[Task | None, list[Item]]:
        """A task that was waited for, or no more; None if it is answered already."""
        if number in self._tasks:
            task, items = self._tasks.pop(number)
            lane = self._lanes[task.pid]
            lane.remove(task, self._now_s)
            self._belief.watch(lane)
            self._hungry[lane] = None
            return task, items
        return self._given_up.pop(number, (None, []))

    # --- items -----------------------------------------------------------------------------------------------------

    def _place(self, item: Item, *, anew: bool = True) -> None:
        """Have it wait where it should be answered; shed it if the requirement wants that."""
        if not any(lane.usable for lane in self._lanes.values()):
            patience_s = self._settings.patience_s if self._may_be_late else 0.0
            heapq.heappush(self._homeless, (item.due_s + patience_s, item.number, item))
            return
        way = self._chooser.choose(item, self._now_s)
        if way is None:
            self._shed_item(item, "it could not be answered as required")
            return
        self.tally.diverted += self._chooser.took(way, anew=anew)
        queue = self._queues[way.pid]
        queue.add(item, way.variant)
        self._hungry[queue.lane] = None

    def _withdraw(self, item: Item) -> None:
        """It is not, or not yet, answered where it was to be."""
        if item.waiting and item.at is not None:
            self._queues[item.at].remove(item)
        if item.at is not None:
            self._chooser.gave_up(item.variant)
            item.at = None

    def _shed_item(self, item: Item, reason: str) -> None:
        self._withdraw(item)
        self._settle(item)
        self.tally.shed[reason] += 1
        self._shed.setdefault(reason, []).append(item.number)

    def _settle(self, item: Item) -> None:
        item.open = item.waiting = False
        del self._items[item.number]

    # --- what to do about it ---------------------------------------------------------------------------------------

    def _go_on(self) -> list[StreamCommand]:
        self._house_the_homeless()
        sent: list[StreamCommand] = []
        while self._hungry:
            lane, _ = self._hungry.popitem()
            sent += self._fill(lane)
        commands = [*self._leave_behind(), *sent]
        if self._ended and not self._items:
            return commands + self._end()
        if self._replanning.is_due(self._now_s):
            commands.append(self._ask_for_plan())
        return commands + self._ask_to_be_woken()

    def _house_the_homeless(self) -> None:
        """Somebody can take them again, or they have waited too long."""
        usable = any(lane.usable for lane in self._lanes.values())
        while self._homeless and (usable or self._homeless[0][0] <= self._now_s):
            _, _, item = heapq.heappop(self._homeless)
            if item.open and usable:
                self._place(item, anew=False)
            elif item.open:
                self._shed_item(item, "no processor is left")

    def _fill(self, lane: Lane) -> list[StreamCommand]:
        """Send it what waits for it, as long as it has room. What would be late by now goes elsewhere, or is shed."""
        queue, commands = self._queues[lane.pid], list[StreamCommand]()
        while lane.usable and self._has_room(lane) and (head := queue.head()) is not None:
            if not self._may_be_late and queue.expects_s(head.variant, self._now_s) > head.due_s:
                queue.items.popleft()
                self._withdraw(head)
                self._place(head, anew=False)
            else:
                commands.append(self._send(queue, queue.call(self._now_s, late=self._may_be_late)))
        return commands

    def _has_room(self, lane: Lane) -> bool:
        return len(lane.tasks) < self._settings.window_tasks or not lane.covers_travel

    def _send(self, queue: Queue, items: list[Item]) -> SendTask:
        lane, variant = queue.lane, items[0].variant
        numbers = tuple(item.number for item in items)
        queue.take(items)
        retried = any(item.failures for item in items)
        task = lane.describe_task(variant, numbers, len(items), self._now_s, number=self._next_task, retried=retried)
        self._next_task += 1
        lane.add(task, self._now_s)
        self._tasks[task.number] = (task, items)
        self._belief.watch(lane)
        left_s = max(0.0, min(item.due_s for item in items) - self._now_s)
        return SendTask(
            task=task.number,
            pid=lane.pid,
            variant=variant,
            batch=len(items),
            items=numbers,
            expire_in_s=None,  # whether an item that is late counts is known here
            due_in_s=left_s,
        )

    @property
    def _may_be_late(self) -> bool:
        return self._request.when_late is WhenLate.KEEP_FLOOR

    def _leave_behind(self) -> list[StreamCommand]:
        commands: list[StreamCommand] = [_abandon(task) for task in self._abandoned]
        commands += [ShedItems(items=tuple(items), reason=reason) for reason, items in self._shed.items()]
        self._abandoned, self._shed = [], {}
        return commands

    def _ask_for_plan(self) -> AskForStreamPlan:
        return AskForStreamPlan(
            request=self._replanning.ask(self._now_s),
            cluster=usable_cluster(self._cluster, self._lanes),
            conditions={pid: lane.condition_now(self._now_s) for pid, lane in self._lanes.items()},
        )

    def _end(self) -> list[StreamCommand]:
        self.end = EndStream()
        return [*(_abandon(task) for task, _ in self._tasks.values()), self.end]

    def _ask_to_be_woken(self) -> list[StreamCommand]:
        homeless_s = self._homeless[0][0] if self._homeless else math.inf
        wanted_s = min(self._belief.next_s(), homeless_s, self._replanning.next_s())
        wanted_s = max(wanted_s, self._now_s + _SOON_S)
        if math.isinf(wanted_s) or self._now_s < self._wake_s <= wanted_s:
            return []  # woken earlier than needed, the machine asks again
        self._wake_s = wanted_s
        return [WakeAt(at_s=wanted_s)]


def _abandon(task: Task) -> AbandonTask:
    return AbandonTask(task=task.number, pid=task.pid)


def _assert_never(event: NoReturn) -> NoReturn:
    raise AssertionError(f"no way to handle {event!r}")
