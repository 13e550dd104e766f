"""`equipoise profile`: measure what every variant costs on every processor of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from equipoise.cli.console import console_for
from equipoise.cli.options import FAMILY_HELP, JsonOption, SplitCpuOption, family_folder, parse_split
from equipoise.cli.render import rate, seconds
from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor, processors_named
from equipoise.families.manifest import load_family
from equipoise.profiling.local import LocalProfiles, OnPair, profile_here, steps_of
from equipoise.profiling.measure import Measurement
from equipoise.profiling.store import ProfileStore, default_data_folder


def profile(
    folder: Annotated[str, typer.Argument(metavar="FAMILY", help=FAMILY_HELP)],
    processors: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only these processors, as in `cpu,cuda`. Default: all.")
    ] = None,
    split_cpu: SplitCpuOption = None,
    again: Annotated[bool, typer.Option("--again", help="Measure also what was measured here before.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure time per call, load time and memory of every variant here, and keep the figures for `run`."""
    family = load_family(family_folder(folder))
    chosen = processors_named(processors, parse_split(split_cpu))
    store = ProfileStore(default_data_folder(os.environ))
    with profiling_progress(steps_of(family, chosen)) as on_pair:
        found = profile_here(family, chosen, store, again=again, on_pair=on_pair)
    if as_json:
        print(msgspec.json.encode(_as_json(family, found)).decode())
    else:
        _show(family, chosen, found)
    for (processor, variant), reason in found.failures.items():
        print(f"equipoise: {variant} cannot be run on {processor}: {reason}", file=sys.stderr)


@contextmanager
def profiling_progress(pairs: int) -> Iterator[OnPair]:
    """A progress bar over pairs of processor and variant; on a terminal only."""
    console = console_for(sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("profiling", total=pairs)
        yield lambda processor, variant, _: bar.update(
            task, advance=1, description=escape(f"profiled {variant} on {processor}")
        )


def _as_json(family: Family, found: LocalProfiles) -> object:
    return {
        "family": family.name,
        "profiles": [
            {"processor": processor, "variant": variant, **msgspec.to_builtins(measurement)}
            for (processor, variant), measurement in found.measured.items()
        ],
        "failures": [
            {"processor": processor, "variant": variant, "reason": reason}
            for (processor, variant), reason in found.failures.items()
        ],
    }


def _show(family: Family, processors: Sequence[LocalProcessor], found: LocalProfiles) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("processor", "variant"):
        table.add_column(heading, overflow="fold")
    shared = ("together",) if len(processors) > 1 else ()
    for heading in ("batch", "per call", "99 % within", "items/s", "load", "memory", "prepare", *shared):
        table.add_column(heading, justify="right", overflow="fold")
    for processor in processors:
        for model in family.models:
            measurement = found.measured.get((processor.name, model.name))
            if measurement is not None:
                _add_rows(table, processor.name, model.name, measurement, shared=bool(shared))
    console = console_for()
    console.print(table)
    if any(measurement.looped for measurement in found.measured.values()):
        console.print("loop: the model file takes one batch size only; larger batches are looped over", markup=False)
    if shared:
        console.print("together: per call, times as long while all of these processors are at work", markup=False)
    console.print(
        "per call: median ± standard deviation; *: the most items per second; prepare: one item, on one thread",
        markup=False,
    )


def _add_rows(table: Table, processor: str, variant: str, measurement: Measurement, *, shared: bool) -> None:
    whole: tuple[str, ...] = (
        seconds(measurement.load_s),
        f"{measurement.memory_bytes / 1e6:.0f} MB",
        seconds(measurement.prepare_s),
        *((f"x {measurement.contention:.2f}",) if shared else ()),
    )
    for row, (batch, times) in enumerate(measurement.calls.items()):
        names = ("", "") if row else (escape(processor), escape(variant))
        mark = "loop" if measurement.looped else "*" if batch == measurement.best_batch else " "
        figures = (
            f"{mark} {batch}",
            f"{seconds(times.median_s)} ± {seconds(times.stddev_s)}",
            seconds(times.p99_s),
            rate(batch / times.median_s),
        )
        table.add_row(*names, *figures, *(("" for _ in whole) if row else whole))
