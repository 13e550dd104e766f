"""A tiny world in virtual time: simulated boards and the real planner around a real dispatcher.

Deterministic: a heap of (time, number, action), and a seeded generator for noise. After every event the
dispatcher's invariants are checked, and so is what any shell relies on.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from invariants import check_invariants

from equipoise.core.cluster import Cluster, Link, Node, Processor, ProcessorId, Profile, Variant
from equipoise.core.plan import Plan
from equipoise.core.request import Prefer, Request, Requirement, WhenLate
from equipoise.dispatch.commands import AbandonTask, AcceptAnswers, AskForPlan, Command, Finish, SendTask, WakeAt
from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.dispatch.events import Event, NodeLost, NodeReturned, PlanReady, TaskDone, TaskFailed, Tick
from equipoise.dispatch.online import OnlineDispatcher
from equipoise.dispatch.router import Router
from equipoise.dispatch.settings import Settings
from equipoise.planning.planner import plan as plan_request

ACCURACIES = {"small": 0.6, "medium": 0.7, "large": 0.8}
COSTS = {"small": 1.0, "medium": 3.0, "large": 6.0}  # relative to "small"


def pid(node: str) -> ProcessorId:
    return ProcessorId(node, "cpu")


def cluster_of(*, batch: int = 4, load_s: float = 0.0, link: Link | None = None, **small_item_s: float) -> Cluster:
    """One node per keyword with one processor, which needs so many seconds per item with the small variant."""

    def profile(variant: str, item_s: float) -> Profile:
        per_item_s = item_s * COSTS[variant]
        return Profile(variant=variant, latency_s={1: per_item_s * 1.5, batch: per_item_s * batch}, load_s=load_s)

    return Cluster(
        family="test",
        variants=tuple(Variant(name=name, accuracy=accuracy) for name, accuracy in ACCURACIES.items()),
        nodes=tuple(
            Node(
                name=name,
                link=link or Link(),
                processors=(Processor(name="cpu", profiles=tuple(profile(v, item_s) for v in ACCURACIES)),),
            )
            for name, item_s in small_item_s.items()
        ),
    )


def request_of(items: int, **requirement: object) -> Request:
    defaults = {"min_accuracy": 0.65, "prefer": Prefer.LATENCY, "when_late": WhenLate.KEEP_FLOOR}
    return Request(items=items, requirement=Requirement(**(defaults | requirement)))


@dataclass(slots=True)
class Board:
    """A processor as it really is: first come, first served, at a speed that changes at given times; 0 is frozen."""

    speeds: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 1.0)])
    noise: float = 0.0
    fails: Callable[[SendTask], str | None] = lambda task: None
    queue: deque[SendTask] = field(default_factory=deque)
    running: SendTask | None = None
    life: int = 0  # what was begun in an earlier life is never answered
    alive: bool = True
    loads: int = 0
    loaded: set[str] = field(default_factory=set)

    def finish_s(self, start_s: float, work_s: float) -> float:
        """When `work_s` seconds of work at full speed are done."""
        at_s = start_s
        for index, (from_s, speed) in enumerate(self.speeds):
            until_s = self.speeds[index + 1][0] if index + 1 < len(self.speeds) else math.inf
            begin_s = max(at_s, from_s)
            if until_s <= begin_s:
                continue
            if speed > 0 and begin_s + work_s / speed <= until_s:
                return begin_s + work_s / speed
            work_s -= (until_s - begin_s) * speed
            at_s = until_s
        return math.inf


class World:
    """Drives one dispatcher until it finishes; everything that happened can be asked afterwards."""

    def __init__(
        self,
        cluster: Cluster,
        request: Request,
        *,
        settings: Settings | None = None,
        strategy: str = "equipoise",
        seed: int = 0,
        plan_delay_s: Callable[[], float] = lambda: 0.0,
        bad_items: frozenset[int] = frozenset(),
        checked: bool = True,
        router: Router | None = None,
    ) -> None:
        self.cluster, self.request, self.strategy = cluster, request, strategy
        self.random = random.Random(seed)
        order = list(range(request.items))
        self.random.shuffle(order)
        self.dispatcher = (
            Dispatcher(request, cluster, order, settings=settings)
            if router is None
            else OnlineDispatcher(request, cluster, order, router=router)
        )
        self.boards = {processor: Board() for processor, _ in cluster.processors()}
        self.bad_items, self.plan_delay_s, self.checked = bad_items, plan_delay_s, checked
        self.now_s = 0.0
        self.answered: dict[int, tuple[ProcessorId, str]] = {}
        self.sent: dict[int, SendTask] = {}
        self.plans: list[Plan] = []
        self.finishes: list[Finish] = []
        self.events = 0
        self.repeat_answers = False
        self.asks_fail_when_dead = False
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._wake = 0
        self._link_free_s: defaultdict[str, float] = defaultdict(float)

    def at(self, at_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (at_s, next(self._numbers), action))

    def run(self, plan: Plan | None = None, *, until_s: float = 1e6) -> Finish:
        self._perform(self.dispatcher.start(self.now_s, plan))
        while self._heap and self._heap[0][0] <= until_s and not self.finishes:
            self.now_s, _, action = heapq.heappop(self._heap)
            action()
            assert self.events < 50 * self.request.items + 1000, "it goes round in circles"
        assert self.finishes, "nothing is left to happen, but the request is not over"
        self._check_the_end()
        return self.finishes[0]

    def tell(self, event: Event) -> None:
        self.events += 1
        self._perform(self.dispatcher.handle(event))

    # --- faults ----------------------------------------------------------------------------------------------------

    def slow_down(self, node: str, at_s: float, speed: float) -> None:
        self.boards[pid(node)].speeds.append((at_s, speed))

    def freeze(self, node: str, at_s: float, for_s: float) -> None:
        self.boards[pid(node)].speeds += [(at_s, 0.0), (at_s + for_s, 1.0)]

    def kill(self, node: str, at_s: float, *, noticed_after_s: float = 0.0) -> None:
        self.at(at_s, lambda: self._die(node))
        self.at(
            at_s + noticed_after_s,
            lambda: self.tell(NodeLost(now_s=self.now_s, node=node, reason="killed by the test")),
        )

    def revive(self, node: str, at_s: float) -> None:
        self.at(at_s, lambda: self._revive(node))

    def _die(self, node: str) -> None:
        board = self.boards[pid(node)]
        unanswered = [*([board.running] if board.running else []), *board.queue]
        board.life += 1
        board.alive, board.running = False, None
        board.queue.clear()
        board.loaded.clear()
        for task in unanswered if self.asks_fail_when_dead else ():
            self._fail(task, "unreachable")

    def _revive(self, node: str) -> None:
        self._die(node)
        self.boards[pid(node)].alive = True
        self.tell(NodeReturned(now_s=self.now_s, node=node))

    # --- the shell -------------------------------------------------------------------------------------------------

    def _perform(self, commands: list[Command]) -> None:
        assert not (self.finishes and commands), "a finished request must not command anything"
        if self.checked:
            check_invariants(self.dispatcher)
        for command in commands:
            assert not self.finishes, "Finish must be the last command"
            self._do(command)

    def _do(self, command: Command) -> None:
        match command:
            case SendTask():
                self._send(command)
            case AbandonTask(task=number, pid=processor):
                board = self.boards[processor]
                board.queue = deque(task for task in board.queue if task.task != number)
            case AcceptAnswers(task=number, items=items):
                task = self.sent[number]
                for item in items:
                    assert item in task.items
                    assert item not in self.answered, f"item {item} was answered twice"
                    self.answered[item] = (task.pid, task.variant)
            case AskForPlan():
                plan = plan_request(command.request, command.cluster, command.conditions, self.strategy)
                self.plans.append(plan)
                delay_s = self.plan_delay_s()
                if not math.isinf(delay_s):
                    self.at(self.now_s + delay_s, lambda: self.tell(PlanReady(now_s=self.now_s, plan=plan)))
            case WakeAt(at_s=at_s):
                assert at_s > self.now_s
                self._wake += 1
                self.at(at_s, lambda wake=self._wake: self._tick(wake))
            case Finish():
                self.finishes.append(command)

    def _tick(self, wake: int) -> None:
        if wake == self._wake:
            self.tell(Tick(now_s=self.now_s))

    def _send(self, task: SendTask) -> None:
        assert task.items, "a task without items"
        assert task.task not in self.sent
        self.sent[task.task] = task
        board = self.boards[task.pid]
        life = board.life
        self.at(self._arrives_s(task), lambda: self._arrive(board, task, life))

    def _arrives_s(self, task: SendTask) -> float:
        """Inputs for the processors of a node follow each other on its link; latency delays without occupying."""
        link = self.cluster.node(task.pid.node).link
        needs_s = len(task.items) * self.cluster.variant(task.variant).input_bytes / link.bandwidth_bytes_per_s
        self._link_free_s[task.pid.node] = max(self._link_free_s[task.pid.node], self.now_s) + needs_s
        return self._link_free_s[task.pid.node] + link.latency_s

    def _arrive(self, board: Board, task: SendTask, life: int) -> None:
        if board.alive and board.life == life:
            board.queue.append(task)
            self._begin(board)
        elif self.asks_fail_when_dead:
            self._fail(task, "unreachable")

    def _fail(self, task: SendTask, reason: str) -> None:
        self.at(self.now_s, lambda: self.tell(TaskFailed(now_s=self.now_s, task=task.task, reason=reason)))

    def _begin(self, board: Board) -> None:
        if board.running is not None or not board.queue:
            return
        task = board.running = board.queue.popleft()
        profile = self.cluster.profile(task.pid, task.variant)
        work_s = profile.run_s(len(task.items), task.batch) * math.exp(self.random.gauss(0.0, board.noise))
        load_s = 0.0 if task.variant in board.loaded else profile.load_s
        board.loads += task.variant not in board.loaded
        board.loaded.add(task.variant)
        started_s, life = self.now_s, board.life
        finish_s = board.finish_s(started_s, work_s + load_s)
        if not math.isinf(finish_s):
            self.at(finish_s, lambda: self._end(board, task, life, started_s, load_s))

    def _end(self, board: Board, task: SendTask, life: int, started_s: float, load_s: float) -> None:
        if board.life != life:
            return
        board.running = None
        self._begin(board)
        reason = board.fails(task)
        if reason is not None:
            self.tell(TaskFailed(now_s=self.now_s, task=task.task, reason=reason))
            return
        bad = tuple(item for item in task.items if item in self.bad_items)
        done = TaskDone(now_s=self.now_s, task=task.task, busy_s=self.now_s - started_s, load_s=load_s, bad_items=bad)
        self.tell(done)
        if self.repeat_answers:
            self.tell(done)

    # --- afterwards ------------------------------------------------------------------------------------------------

    def _check_the_end(self) -> None:
        finish = self.finishes[0]
        assert self.dispatcher.finish is finish
        assert set(finish.unanswered).isdisjoint(self.answered)
        assert len(finish.unanswered) + len(self.answered) == self.request.items
        assert self.dispatcher.handle(Tick(now_s=self.now_s + 1)) == []
        progress = self.dispatcher.progress(self.now_s)
        assert progress.answered == len(self.answered)
        assert sum(share.items for share in progress.shares) == len(self.answered)

    @property
    def accuracy(self) -> float:
        """Expected accuracy of what was answered."""
        good = [variant for item, (_, variant) in self.answered.items() if item not in self.bad_items]
        return sum(ACCURACIES[variant] for variant in good) / len(good)

    @property
    def items_by_node(self) -> Counter[str]:
        return Counter(processor.node for processor, _ in self.answered.values())
