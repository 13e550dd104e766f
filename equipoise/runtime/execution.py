"""One request from plan to receipt, on a cluster that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.family import Family
from equipoise.core.plan import Conditions, Plan
from equipoise.core.receipt import Acknowledged, LostNode, Origin, Receipt
from equipoise.core.request import Request
from equipoise.dispatch.commands import Finish, Outcome
from equipoise.dispatch.coordination import CachingPlanner, dispatcher_for
from equipoise.dispatch.progress import Progress
from equipoise.errors import OutputError
from equipoise.fabric.base import Fabric
from equipoise.fabric.messages import Answer
from equipoise.families.identity import identity_of
from equipoise.families.items import item_key
from equipoise.runtime.coordinator import Hooks, OnProgress, OnStep, Ran, Survey, run_request
from equipoise.runtime.earlier import Earlier, RestItems, RestSink
from equipoise.runtime.fitting import Fitting
from equipoise.runtime.inputs import Items
from equipoise.runtime.interrupt import Interrupt
from equipoise.runtime.journal import Journal
from equipoise.runtime.outputs import Scorecard, Sink, Sinks
from equipoise.runtime.receipt import make_receipt


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request, the plan to follow, and what it is about.

    `truth` has the right class by item index, for items with a label. `seed` is that of the random order in which
    items are given out. `conditions` are those of the processors at the start. `origin` is for the receipt.
    With `earlier` a run that was cut short is gone on with: then `request` and `plan` are those of what it left, and
    `items`, `truth` and the receipt are of the whole.
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
    origin: Origin | None = None
    earlier: Earlier | None = None


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
    interrupt: Interrupt | None = None,
    journal: Journal | None = None,
    survey: Survey | None = None,
    fitting: Fitting | None = None,
) -> Done:
    """Run the job to its end, be it early, and say how it went; answers go to `sink` as they come, and to `journal`.

    Nodes that come meanwhile are used if `survey` can tell what they are. Without `fitting` items travel as they are.
    The journal is closed afterwards.
    Raises OutputError if it cannot be begun.
    """
    journal = journal or Journal()
    run = _Execution(job, [keeper for keeper in (journal.sink, sink) if keeper], interrupt or Interrupt())
    kept = job.earlier.kept if job.earlier is not None else None
    async with journal.kept(run.receipt_so_far, run.guard.give_up, earlier=kept):
        ran = await run.to_the_end(fabric, on_progress, on_step, survey, fitting)
    return run.done(ran, journal)


class _Execution:
    """A job under way, and what its receipt would say by now."""

    def __init__(self, job: Job, sinks: Sequence[Sink], interrupt: Interrupt) -> None:
        self.job = job
        self.scorecard = _scored(job.truth, job.earlier)
        keepers = Sinks(*sinks, self.scorecard)
        self.guard = _Guard(keepers if job.earlier is None else RestSink(keepers, job.earlier.left), interrupt)
        self._interrupt = interrupt
        self._lost: list[LostNode] = []
        self._dispatcher = dispatcher_for(
            job.request, job.cluster, job.plan.strategy, seed=job.seed, conditions=job.conditions
        )
        self._started_s: float | None = None

    async def to_the_end(
        self,
        fabric: Fabric,
        on_progress: OnProgress | None,
        on_step: OnStep | None,
        survey: Survey | None,
        fitting: Fitting | None,
    ) -> Ran:
        job = self.job
        self._started_s = asyncio.get_running_loop().time()
        return await run_request(
            self._dispatcher,
            cluster=job.cluster,
            family=identity_of(job.family),
            fabric=fabric,
            items=job.items if job.earlier is None else RestItems(job.items, job.earlier.left),
            sink=self.guard,
            planner=CachingPlanner(job.plan.strategy),
            classes=job.family.classes,
            survey=survey,
            fitting=fitting,
            first_plan=job.plan,
            interrupt=self._interrupt,
            hooks=Hooks(on_progress=on_progress, on_step=on_step, on_lost=self._lost.append),
        )

    def receipt_so_far(self, written: Acknowledged | None) -> Receipt:
        """What the receipt says while the request runs, or before it does, once so much is written."""
        now_s = 0.0 if self._started_s is None else asyncio.get_running_loop().time()
        return self._receipt(self._dispatcher.progress(now_s), None, tuple(self._lost), written)

    def done(self, ran: Ran, journal: Journal) -> Done:
        """How it went, with what the journal holds in the end."""
        ran = self.guard.correct(ran)
        written = None
        try:
            written = journal.close()
        except OutputError as error:
            self.guard.give_up(error)
        return Done(receipt=self._receipt(ran.progress, ran.finish, ran.lost, written), error=self.guard.error)

    def _receipt(
        self, progress: Progress, finish: Finish | None, lost: tuple[LostNode, ...], written: Acknowledged | None
    ) -> Receipt:
        job = self.job
        origin = job.origin and msgspec.structs.replace(job.origin, predictions=written)
        if job.earlier is not None:
            return job.earlier.receipt_of(
                progress=progress,
                finish=finish,
                lost=lost,
                scorecard=self.scorecard,
                items=job.items,
                origin=origin,
            )
        return make_receipt(
            request=job.request,
            family=job.family.name,
            plan=job.plan,
            progress=progress,
            finish=finish,
            lost=lost,
            scorecard=self.scorecard,
            name_of=job.items.name,
            emulated=job.emulated,
            seed=job.seed,
            origin=origin,
        )


def conclude(earlier: Earlier, items: Items, truth: Mapping[int, int], written: Acknowledged) -> Receipt:
    """The receipt of a run that was cut short, if nothing more is done for it: nothing is left, or it was given up."""
    finish = Finish(outcome=Outcome.ANSWERED, unanswered=())
    if earlier.left:
        unanswered = tuple(range(len(earlier.left)))
        finish = Finish(outcome=Outcome.STOPPED, unanswered=unanswered, reason="the deadline has passed")
    return earlier.receipt_of(
        progress=None,
        finish=finish,
        lost=(),
        scorecard=_scored(truth, earlier),
        items=items,
        origin=msgspec.structs.replace(earlier.origin, predictions=written),
    )


def _scored(truth: Mapping[int, int], earlier: Earlier | None) -> Scorecard:
    scorecard = Scorecard(truth)
    for answer, pid, variant in earlier.answers() if earlier is not None else ():
        scorecard.accept(answer, pid, variant)
    return scorecard


def truth_of(items: Items, labels: Mapping[str, int]) -> dict[int, int]:
    """The right class by item index, out of labels by item name."""
    keys = ((index, item_key(items.name(index))) for index in range(len(items)))
    return {index: labels[key] for index, key in keys if key in labels}


class _Guard:
    """Ends the request early when answers can no longer be kept, and remembers which were not."""

    def __init__(self, sink: Sink, interrupt: Interrupt) -> None:
        self._sink = sink
        self._interrupt = interrupt
        self._lost: list[int] = []
        self.error: OutputError | None = None

    def accept(self, answer: Answer, pid: ProcessorId, variant: str) -> None:
        if self.error is None:
            try:
                self._sink.accept(answer, pid, variant)
            except OutputError as e:
                self.give_up(e)
        if self.error is not None:
            self._lost.append(answer.item)

    def give_up(self, error: OutputError) -> None:
        """Answers can no longer be kept: end the request."""
        if self.error is None:
            self.error = error
            self._interrupt.set()

    def correct(self, ran: Ran) -> Ran:
        """The same end, with the items whose answers were lost among the unanswered."""
        if self.error is None:
            return ran
        unanswered = (*ran.finish.unanswered, *self._lost)
        return replace(ran, finish=replace(ran.finish, unanswered=unanswered, reason=str(self.error)))
