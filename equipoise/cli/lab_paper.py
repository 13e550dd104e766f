"""`equipoise lab paper`: the paper's evaluation, and the same on other boards and on random clusters."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from equipoise.cli.console import console_for
from equipoise.cli.lab import lab_app
from equipoise.cli.options import JsonOption
from equipoise.cli.render import percent
from equipoise.errors import UsageError
from equipoise.lab.drift import DECIDERS, RUNS, trials, uncertain_boards
from equipoise.lab.foresight import foreseen
from equipoise.lab.gains import PAPER, Gain
from equipoise.lab.numbers import Numbers
from equipoise.lab.paper import Group, cases, summary
from equipoise.lab.timelines import SHOWN, time_line
from equipoise.lab.words import signed_percent, signed_points
from equipoise.lab.work import answered, tried
from equipoise.planning.strategies import STRATEGIES

_QUICK_RUNS = 4
Done = TypeVar("Done")


@lab_app.command("paper")
def paper(
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write a report there: a page, its figures, its numbers."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without solvers, and with few batch sizes and random clusters.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", help="Processes at once. Default: one per core.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every strategy on published boards, random clusters and under drift. Takes minutes."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs must be at least 1, not {jobs}")
    if out is not None:
        _check_extra()
    numbers = _study(quick=quick, jobs=jobs or os.cpu_count() or 1)
    page = _report(numbers, out) if out is not None else None
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(numbers), indent=1) + b"\n")
        return
    console = console_for()
    for group in numbers.groups.values():
        _show(console, group)
    console.print(
        f"The paper's averages: {signed_percent(PAPER.throughput, 2)}, {signed_points(PAPER.accuracy, 1)} points."
    )
    if page is not None:
        console.print(f"Report in {page}", markup=False)


def _study(*, quick: bool, jobs: int) -> Numbers:
    todo = list(cases(quick=quick))
    strategies = [name for name in DECIDERS if not (quick and name in STRATEGIES and STRATEGIES[name].solver)]
    drifts = list(trials(_QUICK_RUNS if quick else RUNS, strategies))
    results = list(_with_progress("comparing", answered(todo, jobs), len(todo)))
    drift = list(_with_progress("drifting", tried(drifts, jobs), len(drifts)))
    lines = [time_line(uncertain_boards(), name) for name in SHOWN]
    return Numbers(
        quick=quick,
        groups=summary(results),
        results=results,
        drift=drift,
        foreseen=list(foreseen(uncertain_boards(), _QUICK_RUNS if quick else RUNS)),
        time_lines=lines,
    )


def _check_extra() -> None:
    if find_spec("matplotlib") is None:
        raise UsageError("--out needs matplotlib; install it with: pip install 'equipoise[lab]'; --json does without")


def _report(numbers: Numbers, out: Path) -> Path:
    from equipoise.lab.report import write_report  # noqa: PLC0415 - matplotlib is an extra, and slow to import

    return write_report(numbers, out, f"equipoise lab paper{' --quick' if numbers.quick else ''} --out DIR")


def _with_progress(what: str, results: Iterable[Done], total: int) -> Iterator[Done]:
    with _progress(what, total) as bar:
        for result in results:
            bar.advance(bar.task_ids[0])
            yield result


@contextmanager
def _progress(what: str, total: int) -> Iterator[Progress]:
    console = console_for(sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        bar.add_task(what, total=total)
        yield bar


def _show(console: Console, group: Group) -> None:
    clusters = f"{group.clusters} cluster{'' if group.clusters == 1 else 's'}"
    title = f"{group.title}: {clusters}, {' '.join(map(str, group.items))} items\nthroughput in %, accuracy in points"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("gain over", no_wrap=True)
    for what in ("throughput", "accuracy"):
        for heading in (f"{what}\nmean", "\nmedian", "\nworst", "it has\nno plan"):
            table.add_column(heading, justify="right")
    table.add_column("it\nkeeps", justify="right")
    for name, comparison in group.gains.items():
        cells = [*_cells(comparison.throughput), *_cells(comparison.accuracy), percent(comparison.kept)]
        table.add_row(name, *cells)
    console.print(table)
    console.print(
        f"Of {group.requirements} pairs of a rate and a floor, {group.feasible} can be kept by some strategy; "
        f"equipoise keeps {percent(group.kept)} of them. None of its plans is further than {100 * group.gap:.2g} % "
        "from the bound on what is possible.\n"
    )


def _cells(gain: Gain) -> Iterator[str]:
    for value in (gain.mean, gain.median, gain.worst):
        yield signed_points(value)
    yield percent(gain.lacking)
