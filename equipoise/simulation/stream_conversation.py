"""The simulated coordinator of one stream, to which items come as `arrivals.py` has it."""

from __future__ import annotations

from collections.abc import Callable

from equipoise.core.stream import StreamPlan
from equipoise.dispatch.commands import AbandonTask, AcceptAnswers, SendTask, WakeAt
from equipoise.dispatch.events import Event, Interrupted, NodeJoined, PlanReady, RoundTrip
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
from equipoise.simulation.coordinator import Coordinator, Setting
from equipoise.simulation.outcome import StreamOutcome
from equipoise.simulation.records import StreamPlanRecord
from equipoise.simulation.scenario import Stream
from equipoise.simulation.stream_policy import StreamPolicy


class StreamConversation(Coordinator):
    """One stream from admission to its end."""

    def __init__(
        self, asked: Stream, policy: StreamPolicy, setting: Setting, on_end: Callable[[Coordinator], None]
    ) -> None:
        super().__init__(asked.name, setting, on_end)
        self.asked = asked
        self.outcome: StreamOutcome | None = None  # once it is over
        self._policy = policy
        self._arrivals = asked.arrivals_s(setting.seed)
        self._arrived = 0
        self._plan: StreamPlan | None = None
        self._dispatcher: StreamDispatcher | None = None

    def begin(self, _: object) -> None:
        """Admit the stream or decline it."""
        conditions = self._world.conditions()
        try:
            self._plan = self._policy.admit(self.asked.request, conditions)
        except PlanningError as error:
            self._decline(str(error))
            return
        if not self._plan.feasible and not self.asked.best_effort:
            self._decline("")
            return
        self._tell("began")
        self._tell_plan(self._plan, first=True)
        self._dispatcher = self._policy.follow(self.asked.request, conditions, seed=self._seed)
        self._world.join(self)
        self._perform(self._dispatcher.start(self._agenda.now_s, self._plan))
        self._await_arrival()

    def hear(self, event: Event) -> None:
        """The world or the clock has something to say."""
        assert not isinstance(event, (PlanReady, NodeJoined, RoundTrip)), "the world makes no plans, and is known"
        self._take(event)

    def _take(self, event: StreamEvent) -> None:
        if self._dispatcher is not None:
            self._perform(self._dispatcher.handle(event))

    # --- arrivals --------------------------------------------------------------------------------------------------

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
                case SendTask() | AbandonTask() | WakeAt():
                    self._pass_on(command)
                case AskForStreamPlan():
                    self._ask(command)
                case AcceptAnswers() | ShedItems():
                    pass  # nobody waits for them; the tally counts them
                case EndStream():
                    self._end()

    def _ask(self, ask: AskForStreamPlan) -> None:
        now_s = self._agenda.now_s
        try:
            plan = self._policy.plan(ask)
        except PlanningError:
            self._agenda.at(now_s, self._take, Interrupted(now_s=now_s))
            return
        self._tell_plan(plan, first=False)
        ready_s = now_s + self._planning_s
        self._agenda.at(ready_s, self._take, StreamPlanReady(now_s=ready_s, plan=plan))

    # --- its end ---------------------------------------------------------------------------------------------------

    def _decline(self, reason: str) -> None:
        self.outcome = StreamOutcome(name=self.name, at_s=self.asked.at_s, plan=self._plan)
        super()._decline(reason)

    def _end(self) -> None:
        assert self._dispatcher is not None
        self.outcome = StreamOutcome.of(self.asked, self._plan, self._dispatcher.tally)
        self._dispatcher = None
        self._world.leave(self)
        self._tell("answered" if not self.outcome.shed else "shed some", "; ".join(self.outcome.shed))
        self._on_end(self)

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
