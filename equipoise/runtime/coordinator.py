"""The shell around the dispatcher: events in from clock, network and user, commands out to nodes and sink.

It decides nothing. Every command's outcome, failure included, goes back to the dispatcher as an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

from equipoise.core.cluster import Cluster, Node
from equipoise.core.plan import Conditions, Plan
from equipoise.core.receipt import LostNode
from equipoise.dispatch.commands import (
    AbandonTask,
    AcceptAnswers,
    AskForPlan,
    Command,
    Finish,
    SendTask,
    WakeAt,
)
from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.dispatch.events import (
    Event,
    Interrupted,
    NodeJoined,
    NodeLost,
    NodeReturned,
    PlanReady,
    TaskDone,
    TaskFailed,
    Tick,
)
from equipoise.dispatch.progress import Progress
from equipoise.errors import NodeError
from equipoise.fabric.base import Fabric
from equipoise.fabric.messages import Answer
from equipoise.runtime.exchange import Exchange, ExchangeSettings
from equipoise.runtime.fitting import Fitting
from equipoise.runtime.inputs import Items
from equipoise.runtime.interrupt import Interrupt
from equipoise.runtime.links import ping_for_ever
from equipoise.runtime.outputs import Sink

Planner = Callable[[AskForPlan], Plan]
OnProgress = Callable[[Progress], None]
OnStep = Callable[[Event | None, list[Command]], None]  # None is the start
OnLost = Callable[[LostNode], None]
Survey = Callable[[str], Awaitable[tuple[Node, Conditions] | None]]  # a node that is there -> what it is by now


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorSettings:
    """How often progress is reported and the ways to nodes at work are tried, and how long nodes are waited for."""

    progress_period_s: float = 0.1
    ping_period_s: float = 0.5
    exchange: ExchangeSettings = field(default_factory=ExchangeSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Who else wants to know; none of them alters the outcome."""

    on_progress: OnProgress | None = None  # some ten times a second, and when it is over
    on_step: OnStep | None = None  # every event with the commands that it led to
    on_lost: OnLost | None = None  # every loss of a node, also of one that comes back


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a request went."""

    finish: Finish
    progress: Progress  # the last one
    elapsed_s: float  # from start to finish, planning and waiting included
    lost: tuple[LostNode, ...] = ()


async def run_request(
    dispatcher: Dispatcher,
    *,
    cluster: Cluster,
    family: str,
    fabric: Fabric,
    items: Items,
    sink: Sink,
    planner: Planner,
    classes: range | None = None,
    survey: Survey | None = None,
    fitting: Fitting | None = None,
    first_plan: Plan | None = None,
    interrupt: Interrupt | None = None,
    hooks: Hooks | None = None,
    settings: CoordinatorSettings | None = None,
) -> Ran:
    """Run one request to its end; once `interrupt` is set, keep what is answered and end early.

    `family` is the identity of the family whose variants the cluster has, `classes` what its answers may be; others
    are failures of their node. `survey` is asked about nodes that come while the request runs, or that were there but
    not ready; it may take its time, and None is a node that cannot be used. Without `fitting` items travel as they are.
    Raises whatever `sink` raises, and PlanningError; then, as when it is cancelled, the nodes are told to forget
    the rest. Afterwards nothing of the request is left on the event loop.
    """
    settings = settings or CoordinatorSettings()
    run = _Run(
        dispatcher=dispatcher,
        fabric=fabric,
        exchange=Exchange(fabric, family, items, settings.exchange, classes=classes, fitting=fitting),
        sink=sink,
        planner=planner,
        survey=survey,
        hooks=hooks or Hooks(),
        settings=settings,
    )
    try:
        return await run.to_the_end({node.name for node in cluster.nodes}, first_plan, interrupt or Interrupt())
    finally:
        await run.clean_up()


@dataclass(kw_only=True, eq=False)
class _Run:
    """One request under way. Lives on the event loop's thread; only disk, encoding and planning leave it."""

    dispatcher: Dispatcher
    fabric: Fabric
    exchange: Exchange
    sink: Sink
    planner: Planner
    survey: Survey | None
    hooks: Hooks
    settings: CoordinatorSettings
    events: asyncio.Queue[Event | BaseException] = field(default_factory=asyncio.Queue)
    sent: dict[int, SendTask] = field(default_factory=dict)  # not yet answered
    answers: dict[int, tuple[Answer, ...]] = field(default_factory=dict)  # of a TaskDone not yet handled
    started_s: float = 0.0
    losses: list[LostNode] = field(default_factory=list)
    at_work: set[asyncio.Task[None]] = field(default_factory=set)
    planned_with: set[str] = field(default_factory=set)  # nodes
    surveys: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    alarm: asyncio.TimerHandle | None = None

    async def to_the_end(self, nodes: set[str], first_plan: Plan | None, interrupt: Interrupt) -> Ran:
        stop_watching = self._watch(nodes)
        stop_listening = interrupt.listen(lambda: self.events.put_nowait(Interrupted(now_s=_now_s())))
        try:
            self.started_s = _now_s()
            self._perform(None, self.dispatcher.start(self.started_s, first_plan))
            if self.hooks.on_progress is not None:
                self._spawn(self._report_progress(self.hooks.on_progress))
            tell, period_s = self.events.put_nowait, self.settings.ping_period_s
            self._spawn(ping_for_ever(self.fabric, self._nodes_at_work, tell, period_s))
            while self.dispatcher.finish is None:
                self._step(await self.events.get())
        finally:
            stop_listening()
            stop_watching()
        progress = self.dispatcher.progress(_now_s())
        if self.hooks.on_progress is not None:
            self.hooks.on_progress(progress)
        return Ran(
            finish=self.dispatcher.finish,
            progress=progress,
            elapsed_s=_now_s() - self.started_s,
            lost=tuple(self.losses),
        )

    async def clean_up(self) -> None:
        """Stop what still runs on this side, and have the nodes forget what they have not answered."""
        if self.alarm is not None:
            self.alarm.cancel()
        for work in tuple(self.at_work):
            work.cancel()
        if self.at_work:
            await asyncio.gather(*self.at_work, return_exceptions=True)
        self.exchange.close()
        nodes = self._nodes_at_work()
        if nodes:
            await asyncio.gather(*(self.exchange.abandon(node, None) for node in sorted(nodes)))

    def _nodes_at_work(self) -> set[str]:
        return {command.pid.node for command in self.sent.values()}

    # --- events ----------------------------------------------------------------------------------------------------

    def _step(self, event: Event | BaseException) -> None:
        if isinstance(event, BaseException):
            raise event
        self._perform(event, self.dispatcher.handle(event))
        if isinstance(event, TaskDone):
            del self.answers[event.task]
            del self.sent[event.task]
        elif isinstance(event, TaskFailed):
            del self.sent[event.task]
        elif isinstance(event, NodeLost):
            self._note_loss(event)

    def _note_loss(self, event: NodeLost) -> None:
        after_s = max(0.0, event.now_s - self.started_s)
        self.losses.append(LostNode(node=event.node, reason=event.reason, after_s=after_s))
        if self.hooks.on_lost is not None:
            self.hooks.on_lost(self.losses[-1])

    def _watch(self, nodes: set[str]) -> Callable[[], None]:
        self.planned_with = set(nodes)
        present: set[str] = set()
        stop_watching = self.fabric.watch(lambda node, here: present.add(node) if here else None)
        stop_watching()
        for node in sorted(nodes - present):
            self.events.put_nowait(NodeLost(now_s=_now_s(), node=node, reason="it was not there at the start"))
        known = present & nodes  # `watch` first reports those that are there

        def on_change(node: str, here: bool) -> None:
            if node in known:
                known.remove(node)
            elif here:
                self._on_there(node)
            else:
                self._on_gone(node)

        return self.fabric.watch(on_change)

    def _on_there(self, node: str) -> None:
        """A node has come, come back, or was there already and is not planned with."""
        if node in self.planned_with:
            self.events.put_nowait(NodeReturned(now_s=_now_s(), node=node))
        if self.survey is not None:
            self._stop_surveying(node)
            self.surveys[node] = self._spawn(self._survey(self.survey, node))

    def _on_gone(self, node: str) -> None:
        self._stop_surveying(node)
        if node in self.planned_with:
            self.events.put_nowait(NodeLost(now_s=_now_s(), node=node, reason="it left the network"))

    def _stop_surveying(self, node: str) -> None:
        surveying = self.surveys.pop(node, None)
        if surveying is not None:
            surveying.cancel()

    async def _survey(self, survey: Survey, node: str) -> None:
        found = await survey(node)
        if found is not None:
            self.planned_with.add(node)
            self.events.put_nowait(NodeJoined(now_s=_now_s(), node=found[0], conditions=found[1]))

    async def _report_progress(self, on_progress: OnProgress) -> None:
        while True:
            on_progress(self.dispatcher.progress(_now_s()))
            await asyncio.sleep(self.settings.progress_period_s)

    # --- commands --------------------------------------------------------------------------------------------------

    def _perform(self, event: Event | None, commands: list[Command]) -> None:
        if self.hooks.on_step is not None:
            self.hooks.on_step(event, commands)
        for command in commands:
            match command:
                case SendTask():
                    self.sent[command.task] = command
                    self._spawn(self._send(command))
                case AbandonTask():
                    self._spawn(self.exchange.abandon(command.pid.node, command.task))
                case AcceptAnswers():
                    self._accept(command)
                case AskForPlan():
                    self._spawn(self._plan(command))
                case WakeAt():
                    self._wake_at(command.at_s)
                case Finish():
                    pass  # `dispatcher.finish` says so, too

    def _accept(self, command: AcceptAnswers) -> None:
        task = self.sent[command.task]
        wanted = set(command.items)
        for answer in self.answers[command.task]:
            if answer.item in wanted:
                self.sink.accept(answer, task.pid, task.variant)

    def _wake_at(self, at_s: float) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
        loop = asyncio.get_running_loop()
        self.alarm = loop.call_later(at_s - _now_s(), lambda: self.events.put_nowait(Tick(now_s=_now_s())))

    async def _plan(self, ask: AskForPlan) -> None:
        plan = await asyncio.to_thread(self.planner, ask)
        self.events.put_nowait(PlanReady(now_s=_now_s(), plan=plan))

    async def _send(self, command: SendTask) -> None:
        try:
            reply, travel = await self.exchange.ask(command)
        except NodeError as error:
            self.events.put_nowait(TaskFailed(now_s=_now_s(), task=command.task, reason=str(error)))
            return
        if reply.leaving:
            reason = "it is about to leave the network"
            self.events.put_nowait(NodeLost(now_s=_now_s(), node=command.pid.node, reason=reason))
        if reply.failure is not None:
            self.events.put_nowait(TaskFailed(now_s=_now_s(), task=command.task, reason=reply.failure))
            return
        self.answers[command.task] = reply.answers
        bad_items = tuple(answer.item for answer in reply.answers if answer.error is not None)
        self.events.put_nowait(
            TaskDone(
                now_s=_now_s(),
                task=command.task,
                busy_s=reply.busy_s,
                load_s=reply.load_s,
                others_s=reply.others_s,
                travel=travel,
                bad_items=bad_items,
            )
        )

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.at_work.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self.at_work.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.events.put_nowait(error)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
