"""An adversary in place of a stream's shell: any event at any time, in any order, as often as it likes."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from world import ACCURACIES, cluster_of

from equipoise.core.request import Prefer, WhenLate
from equipoise.core.stream import Route, StreamPlan, StreamRequest
from equipoise.dispatch.commands import AcceptAnswers, SendTask
from equipoise.dispatch.events import Interrupted, NodeLost, NodeReturned, TaskDone, TaskFailed, Tick
from equipoise.dispatch.router import Router
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
from equipoise.dispatch.stream.settings import Replans, StreamSettings
from equipoise.policies.infaas import Infaas
from equipoise.policies.join_shortest_queue import JoinShortestQueue
from equipoise.policies.work_stealing import WorkStealing

BOARDS = cluster_of(fast=0.05, slow=0.1, third=0.07, batch=2)
ROUTED = StreamSettings(replans=Replans.NEVER, diverts=False)
DECIDES = (
    (StreamSettings(), None),
    (StreamSettings(replans=Replans.ON_LOSS, diverts=False), None),
    (ROUTED, JoinShortestQueue("medium")),
    (ROUTED, WorkStealing("small")),
    (ROUTED, Infaas(ACCURACIES, 0.65)),
)
NODES = ("fast", "slow", "third")
FRACTIONS = st.tuples(*[st.floats(0.0, 1.0)] * 3)


def plan_with(fractions: tuple[float, ...]) -> StreamPlan:
    """Routes with these rates, each with another variant."""
    variants = [variant.name for variant in BOARDS.variants]
    routes = tuple(
        Route(
            node=node,
            processor=BOARDS.nodes[place].processors[0].name,
            variant=variants[place % len(variants)],
            fraction=rate,
            rate_per_s=rate,
            utilisation=0.5,
            item_latency_s=0.5,
        )
        for place, (node, rate) in enumerate(zip(NODES, fractions, strict=True))
    )
    return StreamPlan(
        feasible=True,
        prefer=Prefer.ACCURACY,
        rate_per_s=sum(fractions),
        routes=routes,
        accuracy=0.5,
        item_latency_s=0.5,
        utilisation=0.5,
        bound=None,
        gap=None,
        max_rate_per_s=10.0,
        max_rate_bound_per_s=10.0,
        solve_s=0.0,
    )


class Adversary(RuleBasedStateMachine):
    """Keeps its own books of who arrived and what became of them."""

    @initialize(
        late=st.sampled_from(WhenLate),
        planned=st.booleans(),
        fractions=FRACTIONS,
        floor=st.floats(0.0, 1.0),
        decides=st.sampled_from(DECIDES),
    )
    def begin(
        self,
        late: WhenLate,
        planned: bool,
        fractions: tuple[float, ...],
        floor: float,
        decides: tuple[StreamSettings, Router | None],
    ) -> None:
        request = StreamRequest(arrivals_per_s=10.0, item_latency_s=1.0, min_accuracy=floor, when_late=late)
        settings, router = decides
        self.dispatcher = StreamDispatcher(request, BOARDS, settings=settings, router=router)
        self.now_s = 0.0
        self.arrived = 0
        self.tasks: dict[int, SendTask] = {}
        self.lost: set[str] = set()
        self.answered: set[int] = set()
        self.shed: set[int] = set()
        self.end: EndStream | None = None
        self.take_down(self.dispatcher.start(0.0, plan_with(fractions) if planned else None))

    @precondition(lambda self: self.end is None)
    @rule(items=st.integers(1, 8))
    def arrive(self, items: int) -> None:
        for _ in range(items):
            self.arrived += 1
            self.tell(ItemArrived(now_s=self.now_s, item=self.arrived))

    @rule(place=st.integers(0, 30), busy_s=st.floats(0.0, 5.0), bad=st.booleans())
    def answer(self, place: int, busy_s: float, bad: bool) -> None:
        """Of a task of late: in flight, given up, answered already, or never sent."""
        number = len(self.tasks) - place
        task = self.tasks.get(number)
        bad_items = task.items[:1] if bad and task is not None else ()
        self.tell(TaskDone(now_s=self.now_s, task=number, busy_s=busy_s, bad_items=bad_items))

    @rule(place=st.integers(0, 30))
    def fail(self, place: int) -> None:
        self.tell(TaskFailed(now_s=self.now_s, task=len(self.tasks) - place, reason="because"))

    @rule(node=st.sampled_from(NODES))
    def lose(self, node: str) -> None:
        self.lost.add(node)
        self.tell(NodeLost(now_s=self.now_s, node=node, reason="gone"))

    @rule(node=st.sampled_from(NODES))
    def return_(self, node: str) -> None:
        self.lost.discard(node)
        self.tell(NodeReturned(now_s=self.now_s, node=node))

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.tell(Tick(now_s=self.now_s))

    @precondition(lambda self: self.arrived > 20)
    @rule()
    def interrupt(self) -> None:
        self.tell(Interrupted(now_s=self.now_s))

    @precondition(lambda self: self.end is None)
    @rule(fractions=FRACTIONS)
    def plan(self, fractions: tuple[float, ...]) -> None:
        """Any plan, asked for or not."""
        self.tell(StreamPlanReady(now_s=self.now_s, plan=plan_with(fractions)))

    @precondition(lambda self: self.end is None)
    @invariant()
    def books_agree(self) -> None:
        machine = self.dispatcher
        unsettled = set(range(1, self.arrived + 1)) - self.answered - self.shed
        assert set(machine._unsettled.items) == unsettled
        assert (machine.tally.arrived, machine.tally.answered) == (self.arrived, len(self.answered))
        assert sum(machine.tally.shed.values()) == len(self.shed)
        flying = {item.number for _, items in machine._flight.tasks.values() for item in items if item.open}
        waiting = [i.number for queue in machine._queues.values() for i in queue.items if queue._waits(i)]
        homeless = {item.number for _, _, item in machine._unsettled.homeless if item.open}
        held = {item.number for item in machine._unsettled.held if item.open}
        assert len(waiting) == len(set(waiting)) == sum(queue.waiting for queue in machine._queues.values())
        assert not flying & set(waiting)
        assert len(flying) + len(waiting) + len(homeless) + len(held) == len(unsettled), "nobody is in two places"
        assert flying | set(waiting) | homeless | held == unsettled, "nobody is forgotten"

    def teardown(self) -> None:
        """Once time passes and arrivals end, every item is answered or named as shed."""
        self.tell(ArrivalsEnded(now_s=self.now_s))
        for _ in range(60):
            if self.end is None:
                self.now_s += 10.0
                self.tell(Tick(now_s=self.now_s))
        assert self.end is not None
        assert self.answered | self.shed == set(range(1, self.arrived + 1))

    def tell(self, event: StreamEvent) -> None:
        self.take_down(self.dispatcher.handle(event))

    def take_down(self, commands: list[StreamCommand]) -> None:
        assert not (self.end and commands), "nothing may follow EndStream"
        for command in commands:
            assert self.end is None, "EndStream must be the last command"
            match command:
                case SendTask():
                    assert command.task not in self.tasks
                    assert command.pid.node not in self.lost, "nothing is sent to a node that is lost"
                    assert not (self.answered | self.shed) & set(command.items)
                    self.tasks[command.task] = command
                case AcceptAnswers():
                    assert not (self.answered | self.shed) & set(command.items)
                    assert set(command.items) <= set(self.tasks[command.task].items)
                    self.answered.update(command.items)
                case ShedItems():
                    assert command.reason
                    assert not (self.answered | self.shed) & set(command.items)
                    self.shed.update(command.items)
                case AskForStreamPlan():
                    assert command.request.arrivals_per_s >= 10.0
                case EndStream():
                    self.end = command


TestAnyOrder = Adversary.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
