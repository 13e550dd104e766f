"""The numbers of a study as files: all of them as JSON, the gains and the levels as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from equipoise.errors import OutputError, reason_of
from equipoise.lab.drift import Drifted
from equipoise.lab.foresight import Foreseen
from equipoise.lab.gains import PAPER, Gain
from equipoise.lab.paper import Group, Result
from equipoise.lab.timelines import TimeLine
from equipoise.planning.strategies import CLAIRVOYANT
from equipoise.simulation.records import (
    NodeRecord,
    PlanRecord,
    Record,
    RequestRecord,
    SpeedRecord,
    StreamPlanRecord,
    TaskRecord,
)

Row = Iterable[object]

_GAIN_FIELDS = ("levels", "mean", "median", "worst", "best", "lacking")
_LEVEL_FIELDS = ("group", "cluster", "items", "strategy", "floor", "rate_per_s", "accuracy")
_DRIFT_FIELDS = ("drift", "strategy", "requests", "admitted", "kept", "value", "low", "high")
_TIME_LINE_FIELDS = ("strategy", "what", "node", "processor", "variant", "items", "from_s", "to_s", "how")


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """A whole study: what came out of each group, of each case, under each drift, and on three time lines.

    `foreseen` is what nobody could beat under each drift.
    """

    paper: dict[str, float] = msgspec.field(default_factory=PAPER._asdict)
    quick: bool
    groups: dict[str, Group]
    results: list[Result]
    drift: list[Drifted]
    foreseen: list[Foreseen]
    time_lines: list[TimeLine]


def write_numbers(numbers: Numbers, folder: Path) -> None:
    """Write numbers.json, gains.csv, levels.csv, drift.csv and timelines.csv. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "numbers.json").write_bytes(msgspec.json.format(msgspec.json.encode(numbers), indent=1))
        _write_csv(folder / "gains.csv", ("group", "strategy", "gain", *_GAIN_FIELDS, "kept"), _gains(numbers))
        _write_csv(folder / "levels.csv", _LEVEL_FIELDS, _levels(numbers))
        _write_csv(folder / "drift.csv", _DRIFT_FIELDS, _drift(numbers))
        _write_csv(folder / "timelines.csv", _TIME_LINE_FIELDS, _time_lines(numbers))
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


def _drift(numbers: Numbers) -> Iterator[Row]:
    for one in numbers.drift:
        found = one.attainment
        yield (one.drift, one.strategy, found.requests, found.admitted, found.kept, found.value, found.low, found.high)
    for limit in numbers.foreseen:
        yield (limit.drift, CLAIRVOYANT, limit.requests, "", limit.keepable, limit.value, "", "")


def _time_lines(numbers: Numbers) -> Iterator[Row]:
    for line in numbers.time_lines:
        yield from ((line.strategy, *_happened(record)) for record in line.records)


def _happened(record: Record) -> Row:
    """What, node, processor, variant, items, from when, to when (empty where it takes no time), and how."""
    match record:
        case TaskRecord():
            began_s = "" if record.began_s is None else record.began_s
            who = (record.node, record.processor, record.variant)
            return ("task", *who, record.items, began_s, record.ended_s, record.ending)
        case StreamPlanRecord():
            return ("plan", "", "", "", "", record.at_s, "", "first" if record.first else "re-plan")
        case PlanRecord():
            return ("plan", "", "", "", record.items, record.at_s, "", "first" if record.first else "re-plan")
        case NodeRecord():
            return ("node", record.node, "", "", "", record.at_s, "", record.change)
        case SpeedRecord():
            return ("speed", record.node, record.processor, "", "", record.at_s, "", record.speed)
        case RequestRecord():
            return ("request", "", "", "", "", record.at_s, "", record.change)
