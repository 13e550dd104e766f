"""`equipoise family build`: one ONNX model becomes a ladder of variants with measured accuracy."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from equipoise.cli.console import console_for
from equipoise.cli.family import family_app, measured_accuracy
from equipoise.cli.options import JsonOption
from equipoise.core.family import Family
from equipoise.errors import UsageError, reason_of
from equipoise.families.build import Built, OnProgress, Recipe, build_family
from equipoise.families.labels import dataset_name, load_labels
from equipoise.families.manifest import MANIFEST, load_family
from equipoise.families.source import Source, open_source

_NUMBER_LISTS = ("mean", "std")


@family_app.command("build")
def build(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The model to make variants of.")],
    *,
    sizes: Annotated[str, typer.Option(metavar="PIXELS", help="Input sizes, as in `96,128,160`.")],
    labelled: Annotated[Path, typer.Option(metavar="DIR_OR_CSV", help="Labelled images that accuracy is measured on.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The family's folder; it must be new or empty.")],
    int8: Annotated[bool, typer.Option("--int8", help="Also every size in int8; needs the extra `build`.")] = False,
    like: Annotated[
        Path | None,
        typer.Option(metavar="FAMILY", help="Take labels, input and output as this family's manifest says."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One label per line, in the order of the model's columns.")
    ] = None,
    first_class: Annotated[
        int | None, typer.Option(metavar="N", help="Class index of the first column; -1 if it is a background.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The family's name. Default: that of the model file.")] = None,
    layout: Annotated[str | None, typer.Option(metavar="NHWC|NCHW", help="Default: as the model says.")] = None,
    color: Annotated[str | None, typer.Option(metavar="RGB|BGR|L", help="Order of the channels.")] = None,
    resize: Annotated[
        str | None, typer.Option(metavar="stretch|shorter-side|letterbox", help="How an image gets its size.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Factor of a pixel (0 to 255) before mean and std.")] = None,
    mean: Annotated[str | None, typer.Option(metavar="M[,M,M]", help="Taken from a scaled pixel.")] = None,
    std: Annotated[str | None, typer.Option(metavar="S[,S,S]", help="What it is then divided by.")] = None,
    output: Annotated[
        str | None, typer.Option(metavar="probabilities|logits", help="What comes out. Default: tried out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses the images that int8 is calibrated on.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make a family out of one ONNX model: several input sizes, int8 on request, each with measured accuracy."""
    given = {"layout": layout, "color": color, "resize": resize, "scale": scale, "mean": mean, "std": std}
    sizes_px = _sizes(sizes)
    source = _source(
        model,
        like=like,
        labels=labels,
        first_class=first_class,
        settings=_settings(given),
        output={"kind": output} if output else {},
    )
    source.spec(sizes_px[0])  # settings that make no sense are refused before any work
    family_labels = load_labels(labelled, _labels_only(source))
    recipe = Recipe(source=source, name=name or model.stem, sizes_px=sizes_px, int8=int8, seed=seed)
    with _progress() as on_progress:
        built = build_family(
            recipe,
            family_labels,
            out,
            dataset=dataset_name(labelled),
            measured_on=datetime.date.today().isoformat(),
            on_progress=on_progress,
        )
    if as_json:
        print(msgspec.json.encode(_as_json(built)).decode())
    else:
        _show(built)
    _tell(built)


def _source(
    model: Path,
    *,
    like: Path | None,
    labels: Path | None,
    first_class: int | None,
    settings: dict[str, Any],
    output: dict[str, Any],
) -> Source:
    family = None if like is None else load_family(like.parent if like.name == MANIFEST else like)
    if family is not None:
        settings = {**_input_of(family), **settings}
        output = {**msgspec.to_builtins(family.models[0].output), **output}
    if labels is not None:
        texts = _read_labels(labels)
    elif family is not None:
        texts = family.labels
    else:
        raise UsageError("the labels are missing: give --labels FILE, or --like FAMILY to take them from a family")
    if first_class is None:
        first_class = family.first_class if family is not None else 0
    return open_source(model, texts, first_class=first_class, input_settings=settings, output_settings=output)


def _input_of(family: Family) -> dict[str, Any]:
    """The [input] of a family's first variant, without what a model file tells better and what has its default."""
    spec = family.models[0].input
    if spec.kind != "image":
        raise UsageError(f"family {family.name!r} takes tensors, but sizes are for images; name another with --like")
    settings = msgspec.to_builtins(spec)
    defaults = {"mean": 0.0, "std": 1.0, "scale": 1.0}
    return {
        key: value
        for key, value in settings.items()
        if key not in ("dtype", "size_px", "shape") and defaults.get(key) != value
    }


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels {path} cannot be read: {reason_of(error)}") from None


def _labels_only(source: Source) -> Family:
    """Enough of a family to read labelled data with."""
    return Family(
        name=source.path.stem,
        task="classification",
        labels=source.labels,
        first_class=source.first_class,
        models=(),
        folder=source.path.parent,
    )


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"--sizes {text!r} must be whole numbers of pixels, as in 96,128,160") from None
    for size_px in sizes:
        if not 1 <= size_px <= 8192:
            raise UsageError(f"--sizes has {size_px}; an input size is 1 to 8192 pixels")
    return sizes


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as the keys of a manifest's [input]."""
    settings = {key: value for key, value in given.items() if value is not None}
    for key in _NUMBER_LISTS:
        if key in settings:
            settings[key] = _numbers(key, settings[key])
    return settings


def _numbers(option: str, text: str) -> float | list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--{option} {text!r} must be one number, or one per channel as in 0.5,0.4,0.4") from None
    return numbers if len(numbers) > 1 else numbers[0]


@contextmanager
def _progress() -> Iterator[OnProgress]:
    console = console_for(sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("trying sizes", total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total)


def _as_json(built: Built) -> object:
    return {
        "family": built.family.name,
        "folder": str(built.family.folder),
        "variants": [
            {"name": model.name, "file": model.file, "precision": model.precision, "accuracy": model.accuracy}
            for model in built.family.models
        ],
        "skipped": {str(size_px): reason for size_px, reason in built.skipped.items()},
        "calibration_items": 0 if built.calibration is None else len(built.calibration.items),
        "calibration_held_out": built.calibration is not None and built.calibration.held_out,
        "unreadable": built.unreadable,
    }


def _show(built: Built) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("variant", "precision"):
        table.add_column(heading, overflow="fold")
    table.add_column("accuracy (95 %)", justify="right")
    for model in built.family.models:
        accuracy = "-" if model.accuracy is None else measured_accuracy(model.accuracy)
        table.add_row(escape(model.name), model.precision, accuracy)
    console = console_for()
    console.print(table)
    console.print(f"written to {built.family.folder}; `equipoise profile` measures how fast it is", markup=False)


def _tell(built: Built) -> None:
    for size_px, reason in built.skipped.items():
        print(f"equipoise: {size_px} px left out: {reason}", file=sys.stderr)
    if built.calibration is not None:
        print(f"equipoise: {_calibration(built)}", file=sys.stderr)
    if built.unreadable:
        item, reason = next(iter(built.unreadable.items()))
        print(f"equipoise: {len(built.unreadable)} items left out; {item} {reason}", file=sys.stderr)


def _calibration(built: Built) -> str:
    assert built.calibration is not None
    items = len(built.calibration.items)
    if built.calibration.held_out:
        return f"int8 was calibrated on {items} labelled items; accuracy is measured on the others"
    return (
        f"int8 was calibrated on {items} of the labelled items that accuracy is measured on, which favours it "
        "slightly; with more labelled items they would be kept apart"
    )
