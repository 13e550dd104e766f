"""What `run` does once it is clear what is asked: reach the cluster, plan, carry out, report."""

from __future__ import annotations

import datetime as dt
import signal
import sys
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec
import typer

from equipoise.cli.access import Access, boards_of, this_machine
from equipoise.cli.console import console_for
from equipoise.cli.live import LIVE, live_cluster
from equipoise.cli.loop import Loop
from equipoise.cli.network import network_of
from equipoise.cli.options import parse_split
from equipoise.cli.render import best_accuracy_on
from equipoise.cli.render_live import LiveView
from equipoise.cli.report import DECLINED, Report, exit_code
from equipoise.core.cluster import Cluster
from equipoise.core.family import Family
from equipoise.core.plan import Plan
from equipoise.core.receipt import Origin, Receipt
from equipoise.core.request import Request, WhenLate
from equipoise.errors import InputError, UsageError
from equipoise.families.labels import load_labels
from equipoise.runtime.admission import admit
from equipoise.runtime.earlier import Earlier, RestItems
from equipoise.runtime.execution import Done, Job, execute, truth_of
from equipoise.runtime.inputs import Items
from equipoise.runtime.interrupt import interrupted_by
from equipoise.runtime.journal import Journal
from equipoise.runtime.predictions import PredictionFile
from equipoise.runtime.receipt import write_receipt
from equipoise.runtime.request_log import RequestLog


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A request with everything that it is about, before it is known who can do it.

    With `earlier` it is what that run has left of it, and `predictions` is its file, open already.
    """

    request: Request
    family: Family
    items: Items
    truth: dict[int, int]
    strategy: str
    seed: int
    origin: Origin  # as far as it is known before work begins
    earlier: Earlier | None = None
    predictions: PredictionFile | None = None

    @property
    def asked(self) -> Request:
        """What is to be done now."""
        return self.request if self.earlier is None else self.earlier.rest()

    @property
    def seen(self) -> Items:
        """The items that are to be sent now."""
        return self.items if self.earlier is None else RestItems(self.items, self.earlier.left)


def conduct(errand: Errand, report: Report, *, receipt: Path | None, log: Path | None, best_effort: bool) -> NoReturn:
    """Plan the request, carry it out and report; leaves with the exit code that `run` promises.

    Raises what reaching a cluster raises, and OutputError if answers or the receipt could not be kept.
    """
    with Loop() as loop, ExitStack() as open_until_done:
        access = _access(errand, loop, open_until_done)
        plan = _plan_to_follow(errand, access, report, best_effort=best_effort)
        done = loop.run(_carry_out(errand, plan, access, receipt=receipt, log=log))
    hand_in(done, report, receipt)


def hand_in(done: Done, report: Report, receipt: Path | None) -> NoReturn:
    """Write the receipt and report it; leaves with the exit code that `run` promises."""
    try:
        if receipt is not None:
            write_receipt(receipt, done.receipt)  # first, because whoever reads what is printed may have gone
    finally:
        report.receipt(done.receipt)
        if done.receipt.unanswered:
            report.cut_short(str(receipt) if receipt is not None and _keeps_answers(done.receipt) else None)
    if done.error is not None:
        raise done.error
    _refuse_nothing_readable(done.receipt)
    raise typer.Exit(exit_code(done.receipt))


def _keeps_answers(receipt: Receipt) -> bool:
    return receipt.origin is not None and receipt.origin.out is not None


def _access(errand: Errand, loop: Loop, open_until_done: ExitStack) -> Access:
    asked, notes = errand.origin, console_for(sys.stderr)
    if asked.cluster is not None and asked.split_cpu is not None:
        raise UsageError("--split-cpu is for this machine's own CPU; nodes split theirs: `equipoise node --split-cpu`")
    if asked.cluster == LIVE:
        network = network_of(cluster=asked.cluster_name, connect=asked.connect, insecure=asked.insecure)
        reaching = live_cluster(
            loop, network, errand.family, errand.seen, at_least=asked.nodes, notes=notes, emulate=asked.emulate
        )
        return open_until_done.enter_context(reaching)
    if asked.cluster is None and asked.emulate:
        raise UsageError("--emulate needs --cluster FILE.json: the boards to play")
    if asked.cluster is None:
        split = parse_split(asked.split_cpu)
        return this_machine(errand.family, errand.seen, notes=notes, split_cpu=split)
    if not asked.emulate:
        raise UsageError(
            f"--cluster {asked.cluster} describes boards; add --emulate to play them here, or say --cluster {LIVE} for "
            "the nodes that are on the network"
        )
    return boards_of(errand.family, Path(asked.cluster), notes)


def _plan_to_follow(errand: Errand, access: Access, report: Report, *, best_effort: bool) -> Plan:
    """The plan, shown; leaves with 3 if there is none and the closest is not wanted either."""
    request = errand.asked
    plan = admit(request, access.cluster, errand.strategy, conditions=access.conditions, clock=time.perf_counter)
    if not plan.feasible and errand.earlier is not None:
        plan = _closest(plan, request)
    elif not plan.feasible:
        closest = plan.to_follow(request.requirement.when_late) if best_effort else None
        report.infeasible(request, plan, best_accuracy=best_accuracy_on(access.cluster), declined=closest is None)
        if closest is None:
            raise typer.Exit(DECLINED)
        plan = closest
    report.plan(request, plan, title=access.title)
    return plan


def _closest(plan: Plan, request: Request) -> Plan:
    """What is best done about a request that was admitted once, and can no longer be kept."""
    when_late = request.requirement.when_late
    return plan.to_follow(WhenLate.KEEP_FLOOR if when_late is WhenLate.STOP else when_late) or plan


async def _carry_out(errand: Errand, plan: Plan, access: Access, *, receipt: Path | None, log: Path | None) -> Done:
    async with access.open(plan, errand.seen) as reached:
        with (
            _log(errand, log) if log is not None else nullcontext() as noted,
            _predictions(errand) as predictions,
            LiveView(console_for(sys.stderr), plan, title=access.title) as view,
            interrupted_by(signal.SIGINT) as interrupt,
        ):
            job = _job(errand, plan, access, reached.cluster)
            journal = Journal(receipt, predictions)
            done = await execute(
                job,
                reached.fabric,
                on_progress=view,
                on_step=noted,
                interrupt=interrupt,
                journal=journal,
                survey=access.survey,
                fitting=access.fitting,
            )
    if noted is not None and noted.error is not None:
        print(f"equipoise: warning: {noted.error}", file=sys.stderr)
    return done


def _job(errand: Errand, plan: Plan, access: Access, cluster: Cluster) -> Job:
    now, request, earlier = dt.datetime.now(dt.timezone.utc), errand.request, errand.earlier
    accuracies = {variant.name: variant.accuracy for variant in cluster.variants} | errand.origin.accuracies
    if earlier is not None:
        earlier = earlier.at(now)
        request = earlier.rest()
        plan = admit(request, cluster, errand.strategy, conditions=access.conditions)  # in the time left by now
        plan = plan if plan.feasible else _closest(plan, request)
    return Job(
        request=request,
        plan=plan,
        family=errand.family,
        cluster=cluster,
        items=errand.items,
        truth=errand.truth,
        emulated=access.emulated,
        seed=errand.seed,
        conditions=access.conditions,
        origin=msgspec.structs.replace(
            errand.origin, started_at=errand.origin.started_at or now.isoformat(), accuracies=accuracies
        ),
        earlier=earlier,
    )


def _log(errand: Errand, path: Path) -> RequestLog:
    return RequestLog(path, errand.earlier.left if errand.earlier is not None else None)


def _predictions(errand: Errand) -> AbstractContextManager[PredictionFile | None]:
    out = errand.origin.out
    if errand.predictions is not None or out is None:
        return nullcontext(errand.predictions)
    return PredictionFile(Path(out), name_of=errand.items.name, label_of=errand.family.label)


def truth_in(items: Items, labels: Path | None, family: Family) -> dict[int, int]:
    """The right class by item index; that no item has one is told."""
    if labels is None:
        return {}
    found = load_labels(labels, family)
    truth = truth_of(items, found)
    if not truth:
        print(
            f"equipoise: warning: {labels} labels none of the items, so accuracy is not measured; "
            f"it labels {next(iter(found), 'nothing')}, the first item is {items.name(0)}",
            file=sys.stderr,
        )
    return truth


def _refuse_nothing_readable(receipt: Receipt) -> None:
    if len(receipt.bad) == receipt.items:
        first = receipt.bad[0]
        raise InputError(f"none of the {receipt.items} items could be read; the first: {first.item}: {first.reason}")
