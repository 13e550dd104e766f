"""One ONNX model becomes a family: the same weights at several input sizes, in float and in int8."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.family import Family, InputSpec
from equipoise.engines.base import Floats
from equipoise.engines.processors import whole_cpu
from equipoise.errors import InputError, ModelError, OutputError, UsageError
from equipoise.families.evaluate import evaluate
from equipoise.families.items import read_item
from equipoise.families.manifest import load_family, record_accuracy
from equipoise.families.preprocess import prepare
from equipoise.families.quantise import quantise, require_onnx
from equipoise.families.source import Source, kind_of, refuse_fixed_sides
from equipoise.families.write import Draft, Header, write_manifest

OnProgress = Callable[[str, int, int], None]  # what is being done, how much of it, of how much

LABELS = "labels.txt"
CALIBRATION_BATCH_ITEMS = 16
MOST_CALIBRATION_ITEMS = 256
FEWEST_HELD_OUT_ITEMS = 300  # with fewer left to measure on, an accuracy says little


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to make of a model: its family's name, the input sizes, whether also in int8, and the seed.

    The seed chooses the labelled items that int8 variants are calibrated on.
    """

    source: Source
    name: str
    sizes_px: tuple[int, ...]
    int8: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The labelled items that int8 activations are scaled with; `held_out` if accuracy is measured without them."""

    items: tuple[str, ...]
    held_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A new family; the sizes that the model fails at, with the reason; and items that no image could be made of."""

    family: Family
    skipped: Mapping[int, str]
    calibration: Calibration | None
    unreadable: Mapping[str, str]


def build_family(
    recipe: Recipe,
    labels: Mapping[str, int],
    out: Path,
    *,
    dataset: str,
    measured_on: str,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Built:
    """Write the family into the new folder `out`, with every variant's accuracy measured on `labels`.

    Raises UsageError if the recipe does not fit the model or `out` is in use, ModelError if no size works or
    quantising fails, OutputError if `out` cannot be written. `out` is there only once everything is done.
    """
    _refuse_second_quantisation(recipe)
    with _new_folder(out) as folder:
        _copy_source(recipe.source, folder)
        working, skipped, kind = _working_sizes(recipe)
        calibration = choose_calibration(list(labels), recipe.seed) if recipe.int8 else None
        drafts = [_draft(recipe.source.path.stem, recipe.source.precision, size_px) for size_px in working]
        if calibration is not None:
            on_progress("quantising", 0, 1)
            int8 = _quantised(recipe.source, folder, working, calibration.items)
            drafts += [_draft(int8.stem, "int8", size_px) for size_px in working]
            on_progress("quantising", 1, 1)
        comment = f"Built from {recipe.source.path.name} by `equipoise family build`"
        write_manifest(folder, _header(recipe, kind), drafts, comment=comment)
        measured_items, dataset = _measured_items(labels, calibration, dataset)
        unreadable = _measure(folder, measured_items, dataset, measured_on, on_progress)
    return Built(family=load_family(out), skipped=skipped, calibration=calibration, unreadable=unreadable)


def choose_calibration(items: Sequence[str], seed: int) -> Calibration:
    """A quarter of the items, at most 256, at random; held out if enough others are left to measure on."""
    count = max(1, min(MOST_CALIBRATION_ITEMS, len(items) // 4))
    chosen = random.Random(seed).sample(sorted(items), count)
    return Calibration(items=tuple(chosen), held_out=len(items) - count >= FEWEST_HELD_OUT_ITEMS)


def _refuse_second_quantisation(recipe: Recipe) -> None:
    if not recipe.int8:
        return
    require_onnx()
    if recipe.source.precision == "int8":
        raise UsageError(f"{recipe.source.path} computes in 8 bits already; leave out --int8, or give its float model")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` if nothing goes wrong, and otherwise disappears."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out} is there already; name a folder that is new or empty")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    except OSError as error:
        raise OutputError(f"cannot be made: {error.strerror}", path=out) from error
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp lets nobody else in
        folder.replace(out)
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", path=out) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_source(source: Source, folder: Path) -> None:
    shutil.copyfile(source.path, folder / source.path.name)
    (folder / LABELS).write_text("".join(f"{label}\n" for label in source.labels), encoding="utf-8")


def _working_sizes(recipe: Recipe) -> tuple[list[int], dict[int, str], str]:
    """The sizes at which the model answers, why it does not at the others, and what its answers are."""
    refuse_fixed_sides(recipe.source, recipe.sizes_px)
    answers: dict[int, Floats] = {}
    skipped: dict[int, str] = {}
    for size_px in recipe.sizes_px:
        try:
            answers[size_px] = recipe.source.answer(size_px)
        except ModelError as error:  # noqa: PERF203 - loading a model costs far more
            skipped[size_px] = str(error)
    if not answers:
        raise ModelError(f"works at none of the sizes; the first: {next(iter(skipped.values()))}")
    return list(answers), skipped, kind_of(list(answers.values()))


def _draft(stem: str, precision: str, size_px: int) -> Draft:
    return Draft(name=f"{stem}-{size_px}", file=f"{stem}.onnx", precision=precision, size_px=size_px)


def _quantised(source: Source, folder: Path, sizes_px: Sequence[int], items: Sequence[str]) -> Path:
    """One int8 file for all sizes: calibrated on some of the items at each of them."""
    target = folder / f"{source.path.stem}-int8.onnx"
    batches = _calibration_batches(source, sizes_px, items)
    quantise(folder / source.path.name, target, source.input["tensor"], batches)
    return target


def _calibration_batches(source: Source, sizes_px: Sequence[int], items: Sequence[str]) -> Iterator[NDArray[Any]]:
    for turn, size_px in enumerate(sizes_px):
        spec = source.spec(size_px)
        tensors = _prepared(items[turn :: len(sizes_px)] or items, spec)
        while batch := list(islice(tensors, CALIBRATION_BATCH_ITEMS)):
            yield np.stack(batch)


def _prepared(items: Iterable[str], spec: InputSpec) -> Iterator[NDArray[Any]]:
    for item in items:
        try:
            yield prepare(read_item(item), spec)
        except InputError:  # noqa: PERF203 - reported when accuracy is measured
            continue


def _header(recipe: Recipe, kind: str) -> Header:
    source = recipe.source
    output = {"kind": kind, **source.output}
    return Header(name=recipe.name, labels=LABELS, first_class=source.first_class, input=source.input, output=output)


def _measured_items(
    labels: Mapping[str, int], calibration: Calibration | None, dataset: str
) -> tuple[Mapping[str, int], str]:
    """The items to measure on, and what to call them; every variant is measured on the same."""
    if calibration is None or not calibration.held_out:
        return labels, dataset
    apart = set(calibration.items)
    rest = {item: class_index for item, class_index in labels.items() if item not in apart}
    return rest, f"{dataset} without {len(apart)} calibration items"


def _measure(
    folder: Path, labels: Mapping[str, int], dataset: str, measured_on: str, on_progress: OnProgress
) -> Mapping[str, str]:
    """Write the accuracy of every variant into the manifest; returns the items that cannot be read."""
    family = load_family(folder)
    total, done = len(labels) * len(family.models), 0

    def advance(items: int) -> None:
        nonlocal done
        done += items
        on_progress("measuring accuracy", done, total)

    found = evaluate(family, labels, whole_cpu(), dataset=dataset, measured_on=measured_on, on_progress=advance)
    record_accuracy(folder, found.accuracy)
    return found.unreadable
