"""An adversary in place of the shell: any event at any time, in any order, as often as it likes."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from invariants import check_invariants
from test_dispatcher import plan_of
from world import cluster_of, request_of

from equipoise.core.cluster import Link
from equipoise.core.plan import Plan
from equipoise.core.request import WhenLate
from equipoise.dispatch.commands import AcceptAnswers, AskForPlan, Command, Finish, Outcome, SendTask
from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.dispatch.events import (
    Event,
    NodeJoined,
    NodeLost,
    NodeReturned,
    PlanReady,
    RoundTrip,
    TaskDone,
    TaskFailed,
    Tick,
)
from equipoise.dispatch.settings import Settings

WAY = Link(latency_s=0.01, bandwidth_bytes_per_s=1e6)
BOARDS = cluster_of(fast=0.05, slow=0.1, third=0.07, batch=2, link=WAY)
NODES = st.sampled_from(["fast", "slow", "third"])
ITEMS = 40


class Adversary(RuleBasedStateMachine):
    """Keeps its own books of what was accepted; the dispatcher's are checked after every step."""

    @initialize(late=st.sampled_from(WhenLate), pooled=st.booleans(), shares=st.tuples(*[st.integers(0, 40)] * 3))
    def begin(self, late: WhenLate, pooled: bool, shares: tuple[int, int, int]) -> None:
        request = request_of(ITEMS, deadline_s=1000.0, when_late=late)
        self.dispatcher = Dispatcher(request, BOARDS, range(ITEMS), settings=Settings(pooled=pooled, patience_s=500.0))
        self.now_s = 0.0
        self.tasks: dict[int, SendTask] = {}
        self.answered: set[int] = set()
        self.finish: Finish | None = None
        self.take_down(self.dispatcher.start(0.0, plan_with(shares)))

    @rule(number=st.integers(0, 30), busy_s=st.floats(0.0, 5.0), bad=st.booleans())
    def answer(self, number: int, busy_s: float, bad: bool) -> None:
        """Of a task in flight, given up, already answered, or never sent."""
        task = self.tasks.get(number)
        bad_items = task.items[:1] if bad and task is not None else ()
        self.tell(TaskDone(now_s=self.now_s, task=number, busy_s=busy_s, bad_items=bad_items))

    @rule(number=st.integers(0, 30))
    def fail(self, number: int) -> None:
        self.tell(TaskFailed(now_s=self.now_s, task=number, reason="because"))

    @rule(node=NODES)
    def lose(self, node: str) -> None:
        self.tell(NodeLost(now_s=self.now_s, node=node, reason="gone"))

    @rule(node=NODES)
    def return_(self, node: str) -> None:
        self.tell(NodeReturned(now_s=self.now_s, node=node))

    @rule(node=st.sampled_from(["fast", "slow", "fourth"]), item_s=st.sampled_from([0.02, 0.3]), renamed=st.booleans())
    def join(self, node: str, item_s: float, renamed: bool) -> None:
        """A new node, or a known one with another speed, or with another processor."""
        described = cluster_of(**{node: item_s}, batch=2).nodes[0]
        if renamed:
            processor = msgspec.structs.replace(described.processors[0], name="gpu")
            described = msgspec.structs.replace(described, processors=(processor,))
        self.tell(NodeJoined(now_s=self.now_s, node=described, conditions={}))

    @rule(node=st.sampled_from(["fast", "slow", "fourth"]), took_s=st.sampled_from([0.0, 0.001, 0.5, 60.0]))
    def ping(self, node: str, took_s: float) -> None:
        self.tell(RoundTrip(now_s=self.now_s, node=node, sent_s=self.now_s - took_s))

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.tell(Tick(now_s=self.now_s))

    @rule(shares=st.tuples(*[st.integers(0, 40)] * 3))
    def plan(self, shares: tuple[int, int, int]) -> None:
        """Any plan, of any number of items, asked for or not."""
        self.tell(PlanReady(now_s=self.now_s, plan=plan_with(shares)))

    @precondition(lambda self: self.finish is None)
    @invariant()
    def books_agree(self) -> None:
        check_invariants(self.dispatcher)
        assert self.dispatcher.progress(self.now_s).answered == len(self.answered)

    def teardown(self) -> None:
        """Once everybody behaves, the request ends with every item answered or reported."""
        for _ in range(60):
            for node in ("fast", "slow", "third"):
                self.tell(NodeReturned(now_s=self.now_s, node=node))
            self.tell(PlanReady(now_s=self.now_s, plan=plan_with((10, 10, 10))))
            for number in list(self.tasks):
                self.tell(TaskDone(now_s=self.now_s, task=number, busy_s=0.1))
            self.now_s += 1.0
        assert self.finish is not None
        assert self.answered.isdisjoint(self.finish.unanswered)
        assert len(self.answered) + len(self.finish.unanswered) == ITEMS
        assert (self.finish.outcome is Outcome.ANSWERED) == (not self.finish.unanswered)

    def tell(self, event: Event) -> None:
        self.take_down(self.dispatcher.handle(event))

    def take_down(self, commands: list[Command]) -> None:
        assert not (self.finish and commands), "nothing may follow Finish"
        for command in commands:
            assert self.finish is None, "Finish must be the last command"
            match command:
                case SendTask():
                    assert command.task not in self.tasks
                    self.tasks[command.task] = command
                case AcceptAnswers():
                    assert self.answered.isdisjoint(command.items)
                    assert set(command.items) <= set(self.tasks[command.task].items)
                    self.answered.update(command.items)
                case AskForPlan():
                    assert command.request.items >= 1
                case Finish():
                    self.finish = command


def plan_with(shares: tuple[int, int, int]) -> Plan:
    return plan_of(fast=shares[0], slow=shares[1], third=shares[2])


TestAnyOrder = Adversary.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
