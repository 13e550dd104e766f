"""The numbers of a study as files: all of them as JSON, the gains and the levels as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from equipoise.errors import OutputError, reason_of
from equipoise.lab.gains import PAPER, Gain
from equipoise.lab.paper import Group, Result

Row = Iterable[object]

_GAIN_FIELDS = ("levels", "mean", "median", "worst", "best", "lacking")


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """A whole study: what came out of each group, and of each case."""

    paper: dict[str, float] = msgspec.field(default_factory=PAPER._asdict)
    quick: bool
    groups: dict[str, Group]
    results: list[Result]


def write_numbers(numbers: Numbers, folder: Path) -> None:
    """Write numbers.json, gains.csv and levels.csv. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "numbers.json").write_bytes(msgspec.json.format(msgspec.json.encode(numbers), indent=1))
        _write_csv(folder / "gains.csv", ("group", "strategy", "gain", *_GAIN_FIELDS, "kept"), _gains(numbers))
        heading = ("group", "cluster", "items", "strategy", "floor", "rate_per_s", "accuracy")
        _write_csv(folder / "levels.csv", heading, _levels(numbers))
    except OSError as e:
        raise OutputError(f"cannot be written: {reason_of(e)}", path=folder) from e


def _write_csv(path: Path, heading: Row, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(rows)


def _gains(numbers: Numbers) -> Iterator[Row]:
    for group, figures in numbers.groups.items():
        for strategy, comparison in figures.gains.items():
            for name, gain in (("throughput", comparison.throughput), ("accuracy", comparison.accuracy)):
                yield (group, strategy, name, *_fields(gain), comparison.kept)


def _fields(gain: Gain) -> Iterator[object]:
    return (getattr(gain, field) for field in _GAIN_FIELDS)


def _levels(numbers: Numbers) -> Iterator[Row]:
    """A row per level: the floor or the rate that was asked for is empty where the other one was."""
    for result in numbers.results:
        for strategy, answers in result.strategies.items():
            where = (result.group, result.name, result.items, strategy)
            for floor, rate in zip(result.floors, answers.rates_per_s, strict=True):
                yield (*where, floor, rate, "")
            for rate, accuracy in zip(result.rates_per_s, answers.accuracies, strict=True):
                yield (*where, "", rate, accuracy)
