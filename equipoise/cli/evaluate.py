"""`equipoise evaluate`: measure the accuracy of variants and write it into the manifest."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from equipoise.cli.console import console_for
from equipoise.cli.family import measured_accuracy
from equipoise.cli.options import JsonOption
from equipoise.cli.render import percent
from equipoise.core.family import Family
from equipoise.engines.processors import whole_cpu
from equipoise.errors import UsageError
from equipoise.families.evaluate import Evaluation
from equipoise.families.evaluate import evaluate as measure
from equipoise.families.labels import dataset_name, load_labels
from equipoise.families.manifest import load_family, record_accuracy

_NAMED_ITEMS = 10  # more unreadable items than these are counted; --json names all of them


def evaluate(
    family_folder: Annotated[Path, typer.Argument(metavar="FAMILY", help="Folder with a family.toml.")],
    labelled: Annotated[
        Path,
        typer.Option(
            metavar="DIR_OR_CSV", help="A folder of images per class, or a CSV with the columns file and class."
        ),
    ],
    variant: Annotated[list[str] | None, typer.Option(help="Only this variant; may be repeated.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure top-1 and top-5 of every variant on labelled data and write them into the manifest."""
    family = load_family(family_folder)
    variants = _chosen(variant, family)
    labels = load_labels(labelled, family)
    with _progress(len(labels) * len(variants)) as on_progress:
        evaluation = measure(
            family,
            labels,
            whole_cpu(),
            dataset=dataset_name(labelled),
            measured_on=datetime.date.today().isoformat(),
            variants=variants,
            on_progress=on_progress,
        )
    if as_json:
        print(msgspec.json.encode(evaluation).decode())
    else:
        _show(evaluation, family)
    _tell_unreadable(evaluation.unreadable)
    record_accuracy(family_folder, evaluation.accuracy)


def _chosen(wanted: list[str] | None, family: Family) -> list[str]:
    known = [model.name for model in family.models]
    for name in wanted or []:
        if name not in known:
            raise UsageError(f"family {family.name!r} has no variant {name!r}; it has: {', '.join(known)}")
    return list(dict.fromkeys(wanted or known))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    console = console_for(sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("evaluating", total=total)
        yield lambda items: bar.advance(task, items)


def _show(evaluation: Evaluation, family: Family) -> None:
    dataset = next(iter(evaluation.accuracy.values())).dataset
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("variant", overflow="fold")
    for heading in ("top-1", "top-5", "items"):
        table.add_column(heading, justify="right")
    for name, accuracy in evaluation.accuracy.items():
        top5 = "-" if accuracy.top5 is None else percent(accuracy.top5)
        table.add_row(escape(name), measured_accuracy(accuracy), top5, str(accuracy.items))
    console = console_for()
    console.print(f"Accuracy of {family.name} on {dataset}, with 95 % intervals", markup=False)
    console.print(table)


def _tell_unreadable(unreadable: dict[str, str]) -> None:
    if not unreadable:
        return
    print(f"{len(unreadable)} items cannot be read and are left out:", file=sys.stderr)
    for name, reason in list(unreadable.items())[:_NAMED_ITEMS]:
        print(f"  {name}: {reason}", file=sys.stderr)
    if len(unreadable) > _NAMED_ITEMS:
        print(f"  ... and {len(unreadable) - _NAMED_ITEMS} more; --json names all of them", file=sys.stderr)
