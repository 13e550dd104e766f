"""One request from plan to receipt, on a cluster that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.family import Family
from equipoise.core.plan import Conditions, Plan
from equipoise.core.receipt import Receipt
from equipoise.core.request import Request
from equipoise.dispatch.coordination import CachingPlanner, dispatcher_for
from equipoise.errors import OutputError
from equipoise.fabric.base import Fabric
from equipoise.fabric.messages import Answer
from equipoise.families.identity import identity_of
from equipoise.families.items import item_key
from equipoise.runtime.coordinator import Hooks, OnProgress, OnStep, Ran, run_request
from equipoise.runtime.inputs import Items
from equipoise.runtime.outputs import Scorecard, Sink, Sinks
from equipoise.runtime.receipt import make_receipt


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request, the plan to follow, and what it is about.

    `truth` has the right class by item index, for items with a label. `seed` is that of the random order in which
    items are given out. `conditions` are those of the processors at the start.
    """

    request: Request
    plan: Plan
    family: Family
    cluster: Cluster
    items: Items
    truth: Mapping[int, int] = field(default_factory=dict)
    emulated: bool = False
    seed: int = 0
    conditions: Conditions = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a job; `error` says why answers could not be kept, which ended it early."""

    receipt: Receipt
    error: OutputError | None = None


async def execute(
    job: Job,
    fabric: Fabric,
    *,
    sink: Sink | None = None,
    on_progress: OnProgress | None = None,
    on_step: OnStep | None = None,
    interrupt: asyncio.Event | None = None,
) -> Done:
    """Run the job to its end, be it early, and say how it went; answers go to `sink` as they come."""
    interrupt = interrupt or asyncio.Event()
    scorecard = Scorecard(job.truth)
    guard = _Guard(Sinks(*([sink] if sink else []), scorecard), interrupt)
    strategy = job.plan.strategy
    dispatcher = dispatcher_for(job.request, job.cluster, strategy, seed=job.seed, conditions=job.conditions)
    ran = await run_request(
        dispatcher,
        cluster=job.cluster,
        family=identity_of(job.family),
        fabric=fabric,
        items=job.items,
        sink=guard,
        planner=CachingPlanner(strategy),
        first_plan=job.plan,
        interrupt=interrupt,
        hooks=Hooks(on_progress=on_progress, on_step=on_step),
    )
    return Done(receipt=_receipt(job, guard.correct(ran), scorecard), error=guard.error)


def truth_of(items: Items, labels: Mapping[str, int]) -> dict[int, int]:
    """The right class by item index, out of labels by item name."""
    keys = ((index, item_key(items.name(index))) for index in range(len(items)))
    return {index: labels[key] for index, key in keys if key in labels}


class _Guard:
    """Ends the request early when answers can no longer be kept, and remembers which were not."""

    def __init__(self, sink: Sink, interrupt: asyncio.Event) -> None:
        self._sink = sink
        self._interrupt = interrupt
        self._lost: list[int] = []
        self.error: OutputError | None = None

    def accept(self, answer: Answer, pid: ProcessorId, variant: str) -> None:
        if self.error is None:
            try:
                self._sink.accept(answer, pid, variant)
            except OutputError as e:
                self.error = e
                self._interrupt.set()
        if self.error is not None:
            self._lost.append(answer.item)

    def correct(self, ran: Ran) -> Ran:
        """The same end, with the items whose answers were lost among the unanswered."""
        if self.error is None:
            return ran
        unanswered = (*ran.finish.unanswered, *self._lost)
        return replace(ran, finish=replace(ran.finish, unanswered=unanswered, reason=str(self.error)))


def _receipt(job: Job, ran: Ran, scorecard: Scorecard) -> Receipt:
    return make_receipt(
        request=job.request,
        family=job.family.name,
        plan=job.plan,
        progress=ran.progress,
        finish=ran.finish,
        lost=ran.lost,
        scorecard=scorecard,
        name_of=job.items.name,
        emulated=job.emulated,
        seed=job.seed,
    )
