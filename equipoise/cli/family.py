"""`equipoise family`: look at a family's variants."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from equipoise.cli.console import console_for
from equipoise.cli.options import FAMILY_HELP, JsonOption, family_folder
from equipoise.cli.render import percent, seconds
from equipoise.core.family import Accuracy, Family, InputSpec
from equipoise.engines.processors import local_processors
from equipoise.families.ladder import dominators
from equipoise.families.manifest import load_family
from equipoise.profiling.local import known_here
from equipoise.profiling.store import ProfileStore, default_data_folder

family_app = typer.Typer()


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One variant as `show` prints it.

    `item_s` has the seconds per item on each processor that was profiled here; `beaten_by` names, per processor,
    a variant that is at least as accurate and as fast there.
    """

    variant: str
    file: str
    precision: str
    input: str
    size_bytes: int
    accuracy: Accuracy | None
    item_s: dict[str, float]
    beaten_by: dict[str, str]

    @property
    def is_off_the_front(self) -> bool:
        """True if no processor would ever do better with this variant."""
        return bool(self.item_s) and self.beaten_by.keys() == self.item_s.keys()


@family_app.callback()
def _family() -> None:
    """Families of models: look at one, or build one from a single model."""


@family_app.command()
def show(
    folder: Annotated[str, typer.Argument(metavar="DIR", help=FAMILY_HELP)],
    as_json: JsonOption = False,
) -> None:
    """Print the ladder of variants: what goes in, how accurate each is and how fast on this machine."""
    family = load_family(family_folder(folder))
    rungs = ladder(family, measured_here(family, default_data_folder(os.environ)))
    if as_json:
        print(msgspec.json.encode({"family": family.name, "task": family.task, "variants": rungs}).decode())
    else:
        _print_ladder(family, rungs)


def measured_here(family: Family, data_folder: Path) -> dict[str, dict[str, float]]:
    """Seconds per item, by processor of this machine and variant, of what `equipoise profile` measured."""
    found: dict[str, dict[str, float]] = {}
    measurements = known_here(family, local_processors(), ProfileStore(data_folder))
    for (processor, variant), measurement in measurements.items():
        batch = measurement.best_batch
        found.setdefault(processor, {})[variant] = measurement.calls[batch].median_s / batch
    return found


def ladder(family: Family, item_s: dict[str, dict[str, float]]) -> list[Rung]:
    """The family's variants, least accurate first and those never evaluated last; `item_s` is by processor."""
    accuracy = {model.name: model.accuracy.value for model in family.models if model.accuracy is not None}
    beaten = {processor: dominators(accuracy, costs) for processor, costs in item_s.items()}
    ordered = sorted(family.models, key=lambda model: accuracy.get(model.name, 2.0))
    return [
        Rung(
            variant=model.name,
            file=model.file,
            precision=model.precision,
            input=input_text(model.input),
            size_bytes=family.path_of(model).stat().st_size,
            accuracy=model.accuracy,
            item_s={processor: costs[model.name] for processor, costs in item_s.items() if model.name in costs},
            beaten_by={processor: by[model.name] for processor, by in beaten.items() if model.name in by},
        )
        for model in ordered
    ]


def input_text(spec: InputSpec) -> str:
    """What goes in, in a few words: `224 px RGB`, or the shape of a tensor."""
    if spec.size_px is not None:
        return f"{spec.size_px} px {spec.color}"
    return f"{' x '.join(map(str, spec.item_shape))} {spec.dtype}"


def measured_accuracy(accuracy: Accuracy) -> str:
    """An accuracy with its 95 % interval: `77.2 % (74.1-80.1)`."""
    low, high = accuracy.bounds
    return f"{percent(accuracy.value)} ({100 * low:.1f}-{100 * high:.1f})"


def _print_ladder(family: Family, rungs: list[Rung]) -> None:
    processors = sorted({processor for rung in rungs for processor in rung.item_s})
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("variant", "input", "precision"):
        table.add_column(heading, overflow="fold")
    for heading in ("size", "accuracy (95 %)", *(f"{name}, per item" for name in processors or ["here"])):
        table.add_column(escape(heading), justify="right", overflow="fold")
    for rung in rungs:
        accuracy = "-" if rung.accuracy is None else measured_accuracy(rung.accuracy)
        latencies = [_latency(rung, processor) for processor in processors] or ["-"]
        cells = (rung.input, rung.precision, f"{rung.size_bytes / 1e6:.2f} MB", accuracy, *latencies)
        table.add_row(escape(rung.variant), *cells, style="dim" if rung.is_off_the_front else None)
    console = console_for()
    console.print(f"{family.name}: {family.task} with {len(family.labels)} labels", markup=False)
    console.print(table)
    for hint in _hints(family, rungs):
        console.print(hint, markup=False)


def _latency(rung: Rung, processor: str) -> str:
    if processor not in rung.item_s:
        return "-"
    return f"{seconds(rung.item_s[processor])}{' *' if processor in rung.beaten_by else '  '}"


def _hints(family: Family, rungs: list[Rung]) -> Iterator[str]:
    if any(rung.beaten_by for rung in rungs):
        yield "* off the front: another variant is at least as accurate and as fast there"
    if not all(rung.item_s for rung in rungs):
        yield f"- in a time column: not measured on this machine; run `equipoise profile {family.folder}`"
    unknown = [rung.variant for rung in rungs if rung.accuracy is None]
    if unknown:
        yield f"never evaluated: {', '.join(unknown)}; run `equipoise evaluate {family.folder} --labelled DATA`"
