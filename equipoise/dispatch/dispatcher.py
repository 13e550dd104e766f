"""The machine that follows one request from plan to last answer. It does no I/O and reads no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions, Plan
from equipoise.core.request import Prefer, Request, WhenLate
from equipoise.dispatch.belief import Belief, Lateness
from equipoise.dispatch.commands import (
    AbandonTask,
    AcceptAnswers,
    AskForPlan,
    Command,
    Finish,
    Outcome,
    SendTask,
    WakeAt,
)
from equipoise.dispatch.course import Course
from equipoise.dispatch.events import (
    Event,
    Interrupted,
    NodeJoined,
    NodeLost,
    NodeReturned,
    PlanReady,
    RoundTrip,
    TaskDone,
    TaskFailed,
    Tick,
)
from equipoise.dispatch.flight import Flight
from equipoise.dispatch.lane import Lane, Task, lanes_of, renew_lanes
from equipoise.dispatch.pool import Pool
from equipoise.dispatch.progress import Progress
from equipoise.dispatch.rest import rest_of, usable_cluster, with_link, with_node
from equipoise.dispatch.settings import Settings
from equipoise.dispatch.sizing import next_task_items
from equipoise.dispatch.stragglers import find_duplicate
from equipoise.dispatch.tally import Tally
from equipoise.planning.security import is_cautious

_SOON_S = 0.001  # a wake-up is never due at once, however times round


class Dispatcher:
    """Events in, commands out; every item gets exactly one answer, and exactly one Finish is the last command.

    `order` is the order in which items are assigned, a permutation of 0 to items - 1: at random, because the
    expected accuracy of a mix of variants is their weighted mean only if chance decides who gets which item.

    Every event is first taken in (who answered, who is gone), then the machine goes on: it ends, asks for a plan
    of what is open if that would change, fills the windows of processors that can take more, has idle ones do
    late tasks once more, and says when it wants to be woken.
    """

    def __init__(
        self,
        request: Request,
        cluster: Cluster,
        order: Sequence[int],
        *,
        settings: Settings | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        if len(order) != request.items:
            raise ValueError(f"order has {len(order)} items, but the request has {request.items}")
        self._request = request
        self._settings = settings or Settings()
        self._cluster = cluster
        self._usable_cluster: Cluster | None = cluster  # None while it may have changed
        self._lanes = lanes_of(cluster, conditions or {})
        self._pool = Pool(order)
        self._belief = Belief(self._lanes, self._belief_margin_s)
        self._lateness = Lateness(self._lanes, self._settings.min_task_s)
        self._flight = Flight(self._pool, self._lanes, self._watch)
        accuracies = {variant.name: variant.accuracy for variant in cluster.variants}
        self._course = Course(self._lanes, request.requirement, self._settings, accuracies)
        self._tally = Tally(accuracies)
        self._now_s = self._deadline_s = 0.0
        self._stranded_since_s = math.inf
        self._look_again_s = math.inf  # for stragglers
        self._look_not_before_s = -math.inf
        self._wake_s = -math.inf
        self._trouble = ""  # what was last heard of going wrong
        self._finish: Finish | None = None

    @property
    def finish(self) -> Finish | None:
        """How the request ended; None while it runs."""
        return self._finish

    def start(self, now_s: float, plan: Plan | None = None) -> list[Command]:
        """Begin, with this plan if there already is one. The deadline counts from `now_s`. To be called once."""
        self._now_s = self._tally.start_s = now_s
        self._deadline_s = now_s + self._request.deadline_s
        self._look_not_before_s = now_s + self._settings.look_pause_s * len(self._lanes)  # what begins now is not late
        for lane in self._lanes.values():
            lane.free_s = now_s + lane.condition.busy_s
        if plan is None:
            self._course.want_now()
        elif self._course.follow(plan, self._pool.open_items, now_s):
            self._flight.hungry.update(self._lanes)
            if self._settings.replan and is_cautious(self._request.requirement):
                self._course.want_now()  # the first plan says what can be had; the next one, how to begin safely
        return self._go_on()

    def handle(self, event: Event) -> list[Command]:
        """What to do about an event. Nothing is left to do once the request is over."""
        if self._finish is not None:
            return []
        self._now_s = max(self._now_s, event.now_s)
        if isinstance(event, Interrupted):
            return self._end(Outcome.INTERRUPTED, "interrupted")
        return self._take_in(event) + self._go_on()

    def progress(self, now_s: float) -> Progress:
        """How far the request is."""
        return self._tally.progress(now_s, self._request.deadline_s, self._course.replanned, self._flight)

    # --- what happened ---------------------------------------------------------------------------------------------

    def _take_in(
        self, event: PlanReady | TaskDone | TaskFailed | NodeLost | NodeReturned | NodeJoined | RoundTrip | Tick
    ) -> list[Command]:
        match event:
            case TaskDone():
                return self._on_done(event)
            case TaskFailed():
                self._on_failed(event)
            case PlanReady(plan=plan):
                if self._course.answer(plan, self._pool.open_items, self._now_s):
                    self._flight.hungry.update(self._lanes)
            case NodeLost():
                self._on_lost(event)
            case NodeReturned():
                self._on_returned(event)
            case NodeJoined():
                self._on_joined(event)
            case RoundTrip():
                self._learn_latency(event)
            case Tick():  # no other event: answers that came while the coordinator stood still go first
                self._notice_the_late()
                return self._suspect_the_overdue()
            case _:
                _assert_never(event)
        return []

    def _on_done(self, event: TaskDone) -> list[Command]:
        task = self._flight.find(event.task)
        if task is None:
            return []  # the same answer once more
        lane = self._lanes[task.pid]
        accepted = self._flight.answer(task, self._now_s)
        self._tally.done(task, event, accepted, self._now_s, lane.watts)
        lane.learn(task, event.busy_s - event.load_s + event.others_s)  # others' work slows it down, as heat does
        self._learn_link(lane, task, event)
        if lane.suspected:  # slow, but alive
            lane.suspected = False
            self._course.want_now()
        self._course.want_if_drifted(lane, self._now_s)
        if not accepted:
            return []
        losers = self._flight.losers(accepted)
        self._flight.give_up(losers, self._now_s)
        return [AcceptAnswers(task=task.number, items=accepted), *map(_abandon, losers)]

    def _learn_link(self, lane: Lane, task: Task, event: TaskDone) -> None:
        travel = event.travel
        if travel is None or not self._settings.replan:
            return
        if lane.uplink.learn(task.size_bytes, travel.sent_s, travel.arrived_s, event.busy_s):
            self._plan_over_it(lane)

    def _learn_latency(self, event: RoundTrip) -> None:
        lane = next(iter(self._lanes_on(event.node)), None)
        if lane is None or not self._settings.replan:
            return
        if lane.uplink.learn_round_trip(event.sent_s, event.now_s):
            self._plan_over_it(lane)

    def _plan_over_it(self, lane: Lane) -> None:
        """The link to the node of this lane has turned out to be another one."""
        self._cluster = with_link(self._cluster, lane.pid.node, lane.uplink.link)
        self._usable_cluster = None
        self._course.want_now()

    def _on_failed(self, event: TaskFailed) -> None:
        task = self._flight.find(event.task)
        if task is None or not self._flight.fail(task, self._settings.max_failures, self._now_s):
            return
        self._trouble = f"{task.variant} on {task.pid}: {event.reason}"
        self._lanes[task.pid].blame_for(task, self._settings.max_failures)
        self._usable_cluster = None
        self._course.want_now()

    def _on_lost(self, event: NodeLost) -> None:
        for lane in self._lanes_on(event.node):
            self._trouble = f"node {event.node}: {event.reason}"
            lane.available = False
            self._strip(lane)

    def _on_returned(self, event: NodeReturned) -> None:
        for lane in self._lanes_on(event.node):
            self._strip(lane)  # its queues are empty, whatever it was sent before
            lane.restart()
        self._usable_cluster = None

    def _on_joined(self, event: NodeJoined) -> None:
        self._cluster = with_node(self._cluster, event.node)
        self._usable_cluster = None
        for lane in renew_lanes(self._lanes, self._cluster, event.node, event.conditions, self._now_s):
            lane.available = False
            self._strip(lane)
        self._course.want_now()

    def _belief_margin_s(self) -> float:
        return self._settings.belief_margin_at_s(min(self._deadline_s, self._course.planned_end_s) - self._now_s)

    def _watch(self, lane: Lane) -> None:
        self._belief.watch(lane)
        if self._settings.replan:
            self._lateness.watch(lane)

    def _notice_the_late(self) -> None:
        """Who is late with a task that ought to be over need not end it before that counts."""
        for lane in self._lateness.late(self._now_s):
            self._course.want_if_drifted(lane, self._now_s)

    def _suspect_the_overdue(self) -> list[Command]:
        commands: list[Command] = []
        for lane in self._belief.overdue(self._now_s):
            self._trouble = f"{lane.pid} does not answer"
            lane.suspected = True
            unstarted = list(lane.tasks.values())[1:]  # the first may have begun: its answer would show life
            self._strip(lane)
            commands += map(_abandon, unstarted)
        return commands

    def _strip(self, lane: Lane) -> None:
        """Take everything from a lane, what it was sent and what it was to be sent."""
        self._flight.give_up(lane.tasks.values(), self._now_s)
        lane.quotas = []
        self._course.want_now()

    def _lanes_on(self, node: str) -> list[Lane]:
        return [lane for pid, lane in self._lanes.items() if pid.node == node]

    # --- what to do about it ---------------------------------------------------------------------------------------

    def _go_on(self) -> list[Command]:
        ending = self._ending()
        if ending is not None:
            return self._end(*ending)
        return self._assign() + self._ask_to_be_woken()

    def _assign(self) -> list[Command]:
        """Who is to work on what now."""
        commands: list[Command] = []
        for lane in self._flight.hungry.values():
            commands += self._fill(lane)
        self._flight.hungry.clear()
        if self._course.is_due(self._pool.open_items, self._now_s):
            commands.append(self._ask_for_plan())
        return commands + self._duplicate_stragglers()

    def _ending(self) -> tuple[Outcome, str] | None:
        if self._pool.settled:
            return (Outcome.ABANDONED, self._trouble) if self._pool.given_up_items else (Outcome.ANSWERED, "")
        if self._now_s >= self._deadline_s and self._deadline_ends_it:
            return Outcome.STOPPED, "the deadline has passed"
        if self._can_go_on:
            self._stranded_since_s = math.inf
            return None
        self._stranded_since_s = min(self._stranded_since_s, self._now_s)
        hopeless = not self._flight.tasks and all(
            lane.available and not lane.suspected for lane in self._lanes.values()
        )
        if hopeless or self._now_s >= self._stranded_since_s + self._settings.patience_s:
            return Outcome.ABANDONED, f"no processor is left: {self._trouble}"
        return None

    @property
    def _can_go_on(self) -> bool:
        return any(lane.usable for lane in self._lanes.values())

    @property
    def _deadline_ends_it(self) -> bool:
        return self._request.requirement.when_late is not WhenLate.KEEP_FLOOR

    def _end(self, outcome: Outcome, reason: str) -> list[Command]:
        unanswered = self._pool.unanswered()
        self._finish = Finish(outcome=outcome, unanswered=unanswered, reason=reason if unanswered else "")
        return [*map(_abandon, self._flight.tasks.values()), self._finish]

    def _ask_for_plan(self) -> Command:
        if self._usable_cluster is None:
            self._usable_cluster = usable_cluster(self._cluster, self._lanes)
        left_s = self._deadline_s - self._now_s
        rest = rest_of(self._request, self._flight, self._tally, left_s, self._settings)
        return AskForPlan(
            request=self._course.ask(rest, self._request.requirement, self._now_s),
            cluster=self._usable_cluster,
            conditions={pid: lane.condition_now(self._now_s) for pid, lane in self._lanes.items()},
        )

    def _fill(self, lane: Lane) -> list[Command]:
        commands: list[Command] = []
        while lane.usable and self._has_room(lane) and self._pool.open_items:
            quota = lane.next_quota()
            if quota is None:
                break
            within_s = self._deadline_s - self._now_s - lane.busy_s(self._now_s) if self._deadline_ends_it else math.inf
            items = self._pool.take(next_task_items(lane, quota, within_s, self._now_s, self._settings))
            self._course.sent(lane, quota, len(items))
            commands.append(self._send(lane, quota.variant, quota.batches[lane.pid], items))
        return commands

    def _has_room(self, lane: Lane) -> bool:
        return len(lane.tasks) < self._settings.window_tasks or not lane.covers_travel

    def _send(self, lane: Lane, variant: str, batch: int, items: tuple[int, ...]) -> SendTask:
        task = self._flight.send(lane, variant, batch, items, self._now_s)
        self._tally.sent(task, self._now_s)
        expires = self._deadline_ends_it and math.isfinite(self._deadline_s)
        return SendTask(
            task=task.number,
            pid=lane.pid,
            variant=variant,
            batch=batch,
            items=items,
            expire_in_s=self._deadline_s - self._now_s if expires else None,
            due_in_s=self._deadline_s - self._now_s if math.isfinite(self._deadline_s) else None,
        )

    def _duplicate_stragglers(self) -> list[Command]:
        self._look_again_s = math.inf
        saves_energy = self._request.requirement.prefer is Prefer.ENERGY and self._now_s < self._deadline_s
        if not self._settings.duplicate_stragglers or self._pool.open_items or saves_energy:
            return []
        if self._now_s < self._look_not_before_s:
            self._look_again_s = self._look_not_before_s
            return []
        self._look_not_before_s = self._now_s + self._settings.look_pause_s * len(self._lanes)
        commands: list[Command] = []
        while True:
            found, self._look_again_s = find_duplicate(
                self._lanes.values(), self._pool, self._tally.accuracies, self._now_s, self._deadline_s
            )
            if found is None:
                return commands
            items = self._pool.share(found.items)
            self._tally.duplicated += len(items)
            commands.append(self._send(found.lane, found.variant, found.batch, items))

    def _ask_to_be_woken(self) -> list[Command]:
        wanted_s = min(
            self._deadline_s if self._deadline_ends_it else math.inf,
            self._belief.next_s(),
            self._lateness.next_s(),
            self._stranded_since_s + self._settings.patience_s,
            self._look_again_s,
            self._course.next_s(self._now_s),
        )
        wanted_s = max(wanted_s, self._now_s + _SOON_S)
        if math.isinf(wanted_s) or self._now_s < self._wake_s <= wanted_s:
            return []  # woken earlier than needed, the machine asks again
        self._wake_s = wanted_s
        return [WakeAt(at_s=wanted_s)]


def _abandon(task: Task) -> Command:
    return AbandonTask(task=task.number, pid=task.pid)


def _assert_never(event: NoReturn) -> NoReturn:
    raise AssertionError(f"no way to handle {event!r}")
