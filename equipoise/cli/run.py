"""`equipoise run`: inputs in, predictions and a receipt out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from equipoise.cli.conduct import Errand, conduct, truth_in
from equipoise.cli.console import console_for
from equipoise.cli.network import ClusterNameOption, ConnectOption, InsecureOption
from equipoise.cli.options import (
    FAMILY_HELP,
    ConfidenceOption,
    DeadlineOption,
    JsonOption,
    MaxEnergyOption,
    MaxPowerOption,
    MinAccuracyOption,
    PreferOption,
    SplitCpuOption,
    StrategyOption,
    ThroughputOption,
    WhenLateOption,
    family_folder,
    parse_split,
    requirement_of,
)
from equipoise.cli.report import JsonReport, Report, TextReport
from equipoise.cli.resume import resume as go_on_with
from equipoise.core.receipt import Origin
from equipoise.core.request import Request, WhenLate
from equipoise.errors import UsageError
from equipoise.fabric.config import DEFAULT_CLUSTER
from equipoise.families.identity import identity_of
from equipoise.families.manifest import load_family
from equipoise.planning.strategies import strategy_named
from equipoise.runtime.inputs import find_items
from equipoise.runtime.outputs import check_output, refuse_unknown_ending

_WITH_RESUME = {"resume", "deadline_s", "log", "force", "as_json"}


def run(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Files, folders, patterns, .npy arrays (rows are items).")
    ] = None,
    *,
    family: Annotated[str | None, typer.Option(metavar="DIR", help=FAMILY_HELP)] = None,
    deadline_s: DeadlineOption = None,
    throughput_per_s: ThroughputOption = None,
    min_accuracy: MinAccuracyOption = 0.0,
    prefer: PreferOption = None,
    confidence: ConfidenceOption = None,
    max_energy_j: MaxEnergyOption = None,
    max_power_w: MaxPowerOption = None,
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
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RECEIPT", help="Go on with a run that was cut short; --deadline-s is for the rest."),
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
    split_cpu: SplitCpuOption = None,
    best_effort: Annotated[
        bool, typer.Option("--best-effort", help="If both promises cannot be kept, run the closest plan.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the random order in which items are given out.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Infer every input on unequal processors, within a deadline and above an accuracy floor.

    Without --cluster this machine's own processors do it; with --cluster live the nodes that are on the network, which
    this command then coordinates. With --out and --receipt a run that was cut short can be gone on with: --resume.

    Exit codes: 0 promises kept, 2 usage, 3 declined as infeasible (nothing was run), 4 a promise was broken, 1 any
    other error.
    """
    report: Report = JsonReport() if as_json else TextReport(console_for())
    if resume is not None:
        _refuse_what_the_receipt_says(context)
        _check_outputs(None, {"--log": log}, force=force)
        if deadline_s is not None:  # refused if it makes no sense, as everywhere
            requirement_of(deadline_s=deadline_s, throughput_per_s=None, min_accuracy=0.0, prefer=None)
        go_on_with(resume, report, more_s=deadline_s, log=log)
    if not inputs or family is None:
        missing = "inputs (files, folders, patterns or .npy arrays)" if not inputs else "--family DIR"
        raise UsageError(f"{missing} must be given, unless --resume RECEIPT says what to go on with")
    requirement = requirement_of(
        deadline_s=deadline_s,
        throughput_per_s=throughput_per_s,
        min_accuracy=min_accuracy,
        prefer=prefer,
        when_late=when_late,
        confidence=confidence,
        max_energy_j=max_energy_j,
        max_power_w=max_power_w,
    )
    strategy_named(strategy)
    parse_split(split_cpu)
    _check_outputs(out, {"--out": out, "--receipt": receipt, "--log": log}, force=force)
    loaded = load_family(family_folder(family))
    items = find_items(inputs)
    truth = truth_in(items, labels, loaded)
    request = Request(items=len(items), requirement=requirement)
    origin = Origin(
        folder=str(Path.cwd()),
        inputs=tuple(inputs),
        inputs_sha256=items.fingerprint(),
        family=family,
        family_sha256=identity_of(loaded),
        labels=str(labels) if labels is not None else None,
        out=str(out) if out is not None else None,
        cluster=cluster,
        emulate=emulate,
        nodes=at_least,
        cluster_name=cluster_name,
        connect=tuple(connect or ()),
        insecure=insecure,
        split_cpu=split_cpu,
    )
    errand = Errand(
        request=request, family=loaded, items=items, truth=truth, strategy=strategy, seed=seed, origin=origin
    )
    conduct(errand, report, receipt=receipt, log=log, best_effort=best_effort)


def _refuse_what_the_receipt_says(context: typer.Context) -> None:
    given = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in _WITH_RESUME and source is not None and source.name == "COMMANDLINE":
            given.append(parameter.opts[0] if parameter.opts[0].startswith("-") else "inputs")
    if given:
        raise UsageError(f"--resume takes {', '.join(given)} from the receipt; leave it out, or run the request anew")


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
