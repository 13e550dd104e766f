"""The simulated coordinator of one stream, to which items come as `arrivals.py` has it.

Like that of a batch (`conversation.py`) it decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from equipoise.core.cluster import Cluster
from equipoise.core.stream import StreamPlan
from equipoise.dispatch.commands import AbandonTask, AcceptAnswers, SendTask, WakeAt
from equipoise.dispatch.events import Event, Interrupted, PlanReady, Tick
from equipoise.dispatch.stream.dispatcher import StreamDispatcher
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
from equipoise.errors import PlanningError
from equipoise.planning.streams import plan_stream
from equipoise.simulation.agenda import Agenda
from equipoise.simulation.outcome import StreamOutcome
from equipoise.simulation.records import Recorder, RequestRecord, StreamPlanRecord
from equipoise.simulation.scenario import Stream
from equipoise.simulation.world import World


class StreamConversation:
    """One stream from admission to its end."""

    def __init__(
        self,
        asked: Stream,
        cluster: Cluster,
        world: World,
        agenda: Agenda,
        *,
        seed: int,
        planning_s: float,
        record: Recorder,
        on_end: Callable[[StreamConversation], None],
    ) -> None:
        self.name = asked.name
        self.asked = asked
        self.outcome: StreamOutcome | None = None  # once it is over
        self._cluster, self._world, self._agenda, self._record = cluster, world, agenda, record
        self._planning_s, self._on_end = planning_s, on_end
        self._arrivals = self._arrivals_s(Random(f"{seed}/streams/{asked.name}"))
        self._arrived = 0
        self._plan: StreamPlan | None = None
        self._dispatcher: StreamDispatcher | None = None
        self._wake = 0  # only the last wake-up asked for counts

    def begin(self, _: object) -> None:
        """Admit the stream or decline it."""
        conditions = self._world.conditions()
        try:
            self._plan = plan_stream(self.asked.request, self._cluster, conditions)
        except PlanningError as error:
            self._decline(str(error))
            return
        if not self._plan.feasible and not self.asked.best_effort:
            self._decline("")
            return
        self._tell("began")
        self._tell_plan(self._plan, first=True)
        self._dispatcher = StreamDispatcher(self.asked.request, self._cluster, conditions=conditions)
        self._world.join(self)
        self._perform(self._dispatcher.start(self._agenda.now_s, self._plan))
        self._await_arrival()

    def hear(self, event: Event) -> None:
        """The world or the clock has something to say."""
        assert not isinstance(event, PlanReady), "the world makes no plans"
        self._take(event)

    def _take(self, event: StreamEvent) -> None:
        if self._dispatcher is not None:
            self._perform(self._dispatcher.handle(event))

    # --- arrivals --------------------------------------------------------------------------------------------------

    def _arrivals_s(self, chance: Random) -> Iterator[float]:
        """Absolute, as long as the stream lasts."""
        for after_s in self.asked.arrivals.times_s(self.asked.arrivals_per_s, chance):
            if after_s >= self.asked.for_s:
                return
            yield self.asked.at_s + after_s

    def _await_arrival(self) -> None:
        at_s = next(self._arrivals, None)
        if at_s is None:
            self._agenda.at(self.asked.at_s + self.asked.for_s, self._end_arrivals)
        else:
            self._agenda.at(at_s, self._arrive)

    def _arrive(self, _: object) -> None:
        if self._dispatcher is None:
            return  # nobody can plan it any more
        number, self._arrived = self._arrived, self._arrived + 1
        self._await_arrival()
        self._take(ItemArrived(now_s=self._agenda.now_s, item=number))

    def _end_arrivals(self, _: object) -> None:
        self._take(ArrivalsEnded(now_s=self._agenda.now_s))

    # --- commands --------------------------------------------------------------------------------------------------

    def _perform(self, commands: list[StreamCommand]) -> None:
        for command in commands:
            match command:
                case SendTask():
                    self._world.send(command, self)
                case AbandonTask():
                    self._world.abandon(command, self)
                case AskForStreamPlan():
                    self._ask(command)
                case WakeAt(at_s=at_s):
                    self._wake += 1
                    self._agenda.at(at_s, self._tick, self._wake)
                case AcceptAnswers() | ShedItems():
                    pass  # nobody waits for them; the tally counts them
                case EndStream():
                    self._end()

    def _ask(self, ask: AskForStreamPlan) -> None:
        now_s = self._agenda.now_s
        try:
            plan = plan_stream(ask.request, ask.cluster, ask.conditions)
        except PlanningError:
            self._agenda.at(now_s, self._take, Interrupted(now_s=now_s))
            return
        self._tell_plan(plan, first=False)
        ready_s = now_s + self._planning_s
        self._agenda.at(ready_s, self._take, StreamPlanReady(now_s=ready_s, plan=plan))

    def _tick(self, wake: int) -> None:
        if wake == self._wake:
            self._take(Tick(now_s=self._agenda.now_s))

    # --- its end ---------------------------------------------------------------------------------------------------

    def _decline(self, reason: str) -> None:
        self.outcome = StreamOutcome(name=self.name, at_s=self.asked.at_s, plan=self._plan)
        self._tell("declined", reason)
        self._on_end(self)

    def _end(self) -> None:
        assert self._dispatcher is not None
        self.outcome = StreamOutcome.of(self.asked, self._plan, self._dispatcher.tally)
        self._dispatcher = None
        self._world.leave(self)
        self._tell("answered" if not self.outcome.shed else "shed some", "; ".join(self.outcome.shed))
        self._on_end(self)

    def _tell(self, change: str, reason: str = "") -> None:
        self._record(RequestRecord(request=self.name, at_s=self._agenda.now_s, change=change, reason=reason))

    def _tell_plan(self, plan: StreamPlan, *, first: bool) -> None:
        self._record(
            StreamPlanRecord(
                request=self.name,
                at_s=self._agenda.now_s,
                first=first,
                feasible=plan.feasible,
                rate_per_s=plan.rate_per_s,
                item_latency_s=plan.item_latency_s,
                accuracy=plan.accuracy,
                routes=tuple((r.node, r.processor, r.variant, r.fraction) for r in plan.routes),
            )
        )
