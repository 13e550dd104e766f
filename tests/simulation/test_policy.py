"""A policy of one's own, through the seam."""

from __future__ import annotations

from boards import THREE, scenario

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.plan import Conditions, Plan
from equipoise.core.request import Prefer, Request
from equipoise.dispatch.commands import AcceptAnswers, AskForPlan, Command, Finish, Outcome, SendTask
from equipoise.dispatch.events import Event, TaskDone
from equipoise.dispatch.progress import Progress, ShareDone
from equipoise.errors import PlanningError
from equipoise.simulation import Follower, Scenario, simulate


class Turns:
    """Sends items out one by one, to each processor in turn; knows nothing of plans or losses."""

    def __init__(self, request: Request, cluster: Cluster) -> None:
        self._request, self._pids = request, [pid for pid, _ in cluster.processors()]
        self._answers: dict[ProcessorId, int] = dict.fromkeys(self._pids, 0)
        self._started_s = self._last_s = 0.0
        self.finish: Finish | None = None

    def start(self, now_s: float, plan: Plan | None = None) -> list[Command]:
        self._started_s = now_s
        return [self._send(item) for item in range(self._request.items)]

    def handle(self, event: Event) -> list[Command]:
        if not isinstance(event, TaskDone):
            return []
        self._last_s = event.now_s
        self._answers[self._pid(event.task)] += 1
        accept: list[Command] = [AcceptAnswers(task=event.task, items=(event.task,))]
        if sum(self._answers.values()) == self._request.items:
            self.finish = Finish(outcome=Outcome.ANSWERED, unanswered=())
            return [*accept, self.finish]
        return accept

    def progress(self, now_s: float) -> Progress:
        answered = sum(self._answers.values())
        return Progress(
            items=self._request.items, answered=answered, bad=0, in_flight=self._request.items - answered,
            elapsed_s=now_s - self._started_s, deadline_s=None, accuracy=0.6, replanned=0, resent=0, duplicated=0,
            dropped=0, first_sent_s=0.0, last_answer_s=self._last_s - self._started_s, processors=(),
            shares=tuple(
                ShareDone(pid=pid, variant="small", items=items, busy_s=0.0, load_s=0.0, first_sent_s=0.0,
                          last_answer_s=self._last_s)
                for pid, items in self._answers.items()
            ),
        )  # fmt: skip

    def _pid(self, item: int) -> ProcessorId:
        return self._pids[item % len(self._pids)]

    def _send(self, item: int) -> SendTask:
        return SendTask(
            task=item, pid=self._pid(item), variant="small", batch=1, items=(item,), expire_in_s=None
        )  # fmt: skip


class InTurn:
    name = "in-turn"

    def __init__(self, cluster: Cluster, _scenario: Scenario, _seed: int) -> None:
        self._cluster = cluster

    def admit(self, request: Request, conditions: Conditions) -> Plan:
        return Plan(
            feasible=True, strategy=self.name, prefer=Prefer.LATENCY, items=request.items, latency_s=1.0, accuracy=0.6,
            energy_j=None, bound=None, gap=None, solve_s=0.0, shares=(),
        )  # fmt: skip

    def follow(self, request: Request, plan: Plan, conditions: Conditions, *, seed: int) -> Follower:
        return Turns(request, self._cluster)

    def plan(self, ask: AskForPlan) -> Plan:
        raise PlanningError("it does not plan")


def test_a_policy_of_ones_own_decides_where_items_go():
    outcome = simulate(THREE, scenario(), InTurn)

    receipt = outcome.requests[0].receipt
    assert outcome.strategy == "in-turn"
    assert receipt is not None
    assert [share.items for share in receipt.shares] == [334, 333, 333]
    assert receipt.latency_s is not None
    assert abs(receipt.latency_s - 333 * 0.008) < 1e-6  # the slowest board holds up everybody
