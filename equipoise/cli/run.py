"""`equipoise run`: inputs in, predictions and a receipt out."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from equipoise.cli.access import Access, boards_of, this_machine
from equipoise.cli.live import LIVE, live_cluster
from equipoise.cli.loop import Loop
from equipoise.cli.network import ClusterNameOption, ConnectOption, InsecureOption, network_of
from equipoise.cli.options import (
    FAMILY_HELP,
    ConfidenceOption,
    DeadlineOption,
    JsonOption,
    MinAccuracyOption,
    PreferOption,
    StrategyOption,
    ThroughputOption,
    WhenLateOption,
    family_folder,
    requirement_of,
)
from equipoise.cli.render import best_accuracy_on, console_for
from equipoise.cli.render_live import LiveView
from equipoise.cli.report import DECLINED, JsonReport, Report, TextReport, exit_code
from equipoise.core.family import Family
from equipoise.core.plan import Plan
from equipoise.core.receipt import Receipt
from equipoise.core.request import Request, WhenLate
from equipoise.errors import InputError, OutputError, UsageError
from equipoise.fabric.config import DEFAULT_CLUSTER
from equipoise.families.labels import load_labels
from equipoise.families.manifest import load_family
from equipoise.planning.strategies import strategy_named
from equipoise.runtime.admission import admit
from equipoise.runtime.coordinator import interrupted_by
from equipoise.runtime.execution import Done, Job, execute, truth_of
from equipoise.runtime.inputs import Items, find_items
from equipoise.runtime.outputs import PredictionFile, check_output, refuse_unknown_ending
from equipoise.runtime.receipt import write_receipt
from equipoise.runtime.request_log import RequestLog


def run(
    inputs: Annotated[list[str], typer.Argument(help="Files, folders, patterns, .npy arrays (rows are items).")],
    *,
    family: Annotated[str, typer.Option(metavar="DIR", help=FAMILY_HELP)],
    deadline_s: DeadlineOption = None,
    throughput_per_s: ThroughputOption = None,
    min_accuracy: MinAccuracyOption = 0.0,
    prefer: PreferOption = None,
    confidence: ConfidenceOption = None,
    when_late: WhenLateOption = WhenLate.KEEP_FLOOR,
    strategy: StrategyOption = "equipoise",
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Right classes (or a folder per class): accuracy is measured.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write predictions here, as .jsonl or .csv, as they come.")
    ] = None,
    receipt: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the receipt here, as JSON.")] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every event here, as JSON lines, as they come.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing output files.")] = False,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="live|FILE", help="'live': the nodes that are there. A description's boards: --emulate."),
    ] = None,
    emulate: Annotated[
        bool, typer.Option("--emulate", help="Play those boards on this machine, at their described speed.")
    ] = False,
    at_least: Annotated[
        int, typer.Option("--nodes", min=1, metavar="N", help="Of a live cluster: wait a while for so many nodes.")
    ] = 1,
    cluster_name: ClusterNameOption = DEFAULT_CLUSTER,
    connect: ConnectOption = None,
    insecure: InsecureOption = False,
    best_effort: Annotated[
        bool, typer.Option("--best-effort", help="If both promises cannot be kept, run the closest plan.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the random order in which items are given out.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Infer every input on unequal processors, within a deadline and above an accuracy floor.

    Without --cluster this machine's own processors do it; with --cluster live the nodes that are on the network, which
    this command then coordinates. Exit codes: 0 promises kept, 2 usage, 3 declined as
    infeasible (nothing was run), 4 a promise was broken, 1 any other error.
    """
    requirement = requirement_of(
        deadline_s=deadline_s,
        throughput_per_s=throughput_per_s,
        min_accuracy=min_accuracy,
        prefer=prefer,
        when_late=when_late,
        confidence=confidence,
    )
    strategy_named(strategy)
    _check_outputs(out, {"--out": out, "--receipt": receipt, "--log": log}, force=force)
    loaded = load_family(family_folder(family))
    items = find_items(inputs)
    truth = _truth(items, labels, loaded)
    request = Request(items=len(items), requirement=requirement)
    report: Report = JsonReport() if as_json else TextReport(console_for())
    with Loop() as loop, ExitStack() as open_until_done:
        if cluster == LIVE:
            network = network_of(cluster=cluster_name, connect=connect or (), insecure=insecure)
            notes = console_for(sys.stderr)
            reaching = live_cluster(loop, network, loaded, items, at_least=at_least, notes=notes, emulate=emulate)
            access = open_until_done.enter_context(reaching)
        else:
            access = _access(Path(cluster) if cluster else None, loaded, items, emulate=emulate)
        plan = _plan_to_follow(request, access, strategy, report, best_effort=best_effort)
        job = Job(
            request=request,
            plan=plan,
            family=loaded,
            cluster=access.cluster,
            items=items,
            truth=truth,
            emulated=access.emulated,
            seed=seed,
            conditions=access.conditions,
        )
        done = loop.run(_run(job, access, out, log))
    try:
        if receipt is not None:
            write_receipt(receipt, done.receipt)  # first, because whoever reads what is printed may have gone
    finally:
        report.receipt(done.receipt)
    if done.error is not None:
        raise done.error
    _refuse_nothing_readable(done.receipt)
    raise typer.Exit(exit_code(done.receipt))


def _check_outputs(out: Path | None, named: Mapping[str, Path | None], *, force: bool) -> None:
    if out is not None:
        refuse_unknown_ending(out)
    taken: dict[Path, str] = {}
    for option, path in named.items():
        if path is None:
            continue
        check_output(path, force=force)
        other = taken.setdefault(path.resolve(), option)
        if other != option:
            raise UsageError(f"{other} and {option} both name {path}; give each a file of its own")


def _truth(items: Items, labels: Path | None, family: Family) -> dict[int, int]:
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


def _access(description: Path | None, family: Family, items: Items, *, emulate: bool) -> Access:
    if description is None and emulate:
        raise UsageError("--emulate needs --cluster FILE.json: the boards to play")
    notes = console_for(sys.stderr)
    if description is None:
        return this_machine(family, items, notes=notes)
    if not emulate:
        raise UsageError(
            f"--cluster {description} describes boards; add --emulate to play them here, or say --cluster {LIVE} for "
            "the nodes that are on the network"
        )
    return boards_of(family, description, notes)


def _plan_to_follow(request: Request, access: Access, strategy: str, report: Report, *, best_effort: bool) -> Plan:
    """The plan, shown; leaves with 3 if there is none and the closest is not wanted either."""
    plan = admit(request, access.cluster, strategy, conditions=access.conditions, clock=time.perf_counter)
    if not plan.feasible:
        closest = plan.to_follow(request.requirement.when_late) if best_effort else None
        report.infeasible(request, plan, best_accuracy=best_accuracy_on(access.cluster), declined=closest is None)
        if closest is None:
            raise typer.Exit(DECLINED)
        plan = closest
    report.plan(request, plan, title=access.title)
    return plan


async def _run(job: Job, access: Access, out: Path | None, log: Path | None) -> Done:
    async with access.open(job.plan, job.items) as reached:
        job = replace(job, cluster=reached.cluster)
        predictions = _predictions(job, out) if out is not None else None  # only now: creating it empties the file
        with (
            RequestLog(log) if log is not None else nullcontext() as noted,
            LiveView(console_for(sys.stderr), job.plan, title=access.title) as view,
            interrupted_by(signal.SIGINT) as interrupt,
        ):
            done = await execute(
                job, reached.fabric, sink=predictions, on_progress=view, on_step=noted, interrupt=interrupt
            )
    if noted is not None and noted.error is not None:
        print(f"equipoise: warning: {noted.error}", file=sys.stderr)
    if predictions is None:
        return done
    try:
        predictions.close()
    except OutputError as error:
        done = replace(done, error=done.error or error)
    return done


def _predictions(job: Job, out: Path) -> PredictionFile:
    return PredictionFile(out, name_of=job.items.name, label_of=job.family.label)
