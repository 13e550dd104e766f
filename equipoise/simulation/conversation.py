"""The simulated coordinator of one request; its pendant in production is `runtime/coordinator.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from equipoise.core.plan import Plan
from equipoise.core.receipt import LostNode, Receipt
from equipoise.dispatch.commands import AbandonTask, AcceptAnswers, AskForPlan, Command, Finish, SendTask, WakeAt
from equipoise.dispatch.events import Event, Interrupted, NodeLost, PlanReady
from equipoise.errors import PlanningError
from equipoise.runtime.outputs import Scorecard
from equipoise.runtime.receipt import make_receipt
from equipoise.simulation.coordinator import Coordinator, Setting
from equipoise.simulation.policy import Follower, Policy
from equipoise.simulation.records import PlanRecord
from equipoise.simulation.scenario import BatchRequest


class Conversation(Coordinator):
    """One request from admission to its end."""

    def __init__(
        self,
        asked: BatchRequest,
        policy: Policy,
        setting: Setting,
        *,
        family: str,
        on_end: Callable[[Coordinator], None],
    ) -> None:
        super().__init__(asked.name, setting, on_end)
        self.asked = asked
        self.plan: Plan | None = None  # what it was admitted or declined with; None if nothing could be planned
        self.receipt: Receipt | None = None  # once it has ended; None if it was declined
        self._policy, self._family = policy, family
        self._follower: Follower | None = None
        self._losses: list[LostNode] = []
        self._failure = ""

    def begin(self, _: object) -> None:
        """Admit the request or decline it."""
        request, conditions = self.asked.request, self._world.conditions()
        try:
            self.plan = self._policy.admit(request, conditions)
        except PlanningError as error:
            self._decline(str(error))
            return
        follow: Plan | None = self.plan
        if not self.plan.feasible:
            follow = self.plan.to_follow(request.requirement.when_late) if self.asked.best_effort else None
        if follow is None:
            self._decline("")
            return
        self.plan = follow
        self._tell("began")
        self._tell_plan(follow, first=True)
        self._follower = self._policy.follow(request, follow, conditions, seed=self._seed)
        self._world.join(self)
        self._perform(self._follower.start(self._agenda.now_s, follow))

    def hear(self, event: Event) -> None:
        """The world, the planner or the clock has something to say."""
        if isinstance(event, NodeLost):
            after_s = self._agenda.now_s - self.asked.at_s
            self._losses.append(LostNode(node=event.node, reason=event.reason, after_s=after_s))
        if self._follower is not None:
            self._perform(self._follower.handle(event))

    def _written(self, follower: Follower, finish: Finish) -> Receipt:
        assert self.plan is not None
        progress = follower.progress(self._agenda.now_s)
        return make_receipt(
            request=self.asked.request,
            family=self._family,
            plan=self.plan,
            progress=progress,
            finish=finish,
            lost=tuple(self._losses),
            scorecard=Scorecard.of_counts(answered=progress.answered - progress.bad),
            name_of=str,
            emulated=False,
            simulated=True,
            seed=self._seed,
        )

    def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case SendTask() | AbandonTask() | WakeAt():
                    self._pass_on(command)
                case AskForPlan():
                    self._ask(command)
                case AcceptAnswers():
                    pass  # there are none to keep
                case Finish():
                    self._end(command)

    def _ask(self, ask: AskForPlan) -> None:
        now_s = self._agenda.now_s
        try:
            plan = self._policy.plan(ask)
        except PlanningError as error:
            self._failure = str(error)
            self._agenda.at(now_s, self.hear, Interrupted(now_s=now_s))
            return
        self._tell_plan(plan, first=False)
        ready_s = now_s + self._planning_s
        self._agenda.at(ready_s, self.hear, PlanReady(now_s=ready_s, plan=plan))

    def _end(self, finish: Finish) -> None:
        assert self._follower is not None
        if self._failure:
            finish = replace(finish, reason=self._failure)
        self.receipt = self._written(self._follower, finish)
        self._follower = None  # with all that it knows
        self._world.leave(self)
        self._tell(finish.outcome.value, finish.reason)
        self._on_end(self)

    def _tell_plan(self, plan: Plan, *, first: bool) -> None:
        self._record(
            PlanRecord(
                request=self.name,
                at_s=self._agenda.now_s,
                first=first,
                feasible=plan.feasible,
                items=plan.items,
                latency_s=plan.latency_s,
                accuracy=plan.accuracy,
                shares=tuple((share.node, share.processor, share.variant, share.items) for share in plan.shares),
            )
        )
