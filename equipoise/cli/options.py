"""Options that several commands share, and the requirement that they add up to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from equipoise.core.ranges import ITEMS, refuse_outside
from equipoise.core.request import Prefer, Request, Requirement, WhenLate
from equipoise.engines.processors import core_kinds
from equipoise.errors import UsageError
from equipoise.families.demo import demo_folder

ClusterArgument = Annotated[
    Path, typer.Argument(metavar="CLUSTER.json", help="Cluster description, or `live` for the cluster there is.")
]
ItemsOption = Annotated[int, typer.Option("--items", metavar="N", help="How many items the request has.")]
DeadlineOption = Annotated[
    float | None, typer.Option("--deadline-s", metavar="SECONDS", help="All answers within this many seconds.")
]
ThroughputOption = Annotated[
    float | None, typer.Option("--throughput-per-s", metavar="RATE", help="At least this many items per second.")
]
MinAccuracyOption = Annotated[
    float, typer.Option("--min-accuracy", metavar="FRACTION", help="Accuracy floor, from 0 to 1.")
]
PreferOption = Annotated[
    Prefer | None,
    typer.Option(help="What to make of slack. Default: accuracy; latency if no time is asked for."),
]
ConfidenceOption = Annotated[
    float | None,
    typer.Option(
        "--confidence",
        metavar="FRACTION",
        help="Plan time at this quantile and accuracies at the low end of their intervals. Default: at expectation.",
    ),
]
MaxEnergyOption = Annotated[
    float | None, typer.Option("--max-energy-j", metavar="JOULES", help="What the request may add to idling.")
]
MaxPowerOption = Annotated[
    float | None, typer.Option("--max-power-w", metavar="WATTS", help="What the cluster may draw, idling included.")
]
WhenLateOption = Annotated[WhenLate, typer.Option(help="What to give up when both promises can no longer be kept.")]
StrategyOption = Annotated[str, typer.Option(help="How to plan: ours or one of the literature's, by name.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

SplitCpuOption = Annotated[
    str | None,
    typer.Option(
        "--split-cpu",
        metavar="CPUS",
        help="Take the CPU as several processors, pinned: `0-1,2-3`, `0,1-3/5`, or `auto` for one per kind of core.",
    ),
]

_BUILT_IN_FAMILY = "demo"
_BY_KIND = "auto"
FAMILY_HELP = f"Folder with family.toml, or '{_BUILT_IN_FAMILY}' for the built-in one."

_OPTION_OF_FIELD = {
    "deadline_s": "--deadline-s",
    "throughput_per_s": "--throughput-per-s",
    "min_accuracy": "--min-accuracy",
    "max_energy_j": "--max-energy-j",
    "max_power_w": "--max-power-w",
    "confidence": "--confidence",
}


def request_of(
    items: int,
    *,
    deadline_s: float | None,
    throughput_per_s: float | None,
    min_accuracy: float,
    prefer: Prefer | None,
    confidence: float | None = None,
    max_energy_j: float | None = None,
    max_power_w: float | None = None,
) -> Request:
    """The request that the options ask for. Raises UsageError, which names the option and its value."""
    requirement = requirement_of(
        deadline_s=deadline_s,
        throughput_per_s=throughput_per_s,
        min_accuracy=min_accuracy,
        prefer=prefer,
        confidence=confidence,
        max_energy_j=max_energy_j,
        max_power_w=max_power_w,
    )
    check_items(items)
    return Request(items=items, requirement=requirement)


def check_items(items: int) -> None:
    """Raise UsageError unless there is at least one item, and not more than can be planned for."""
    try:
        refuse_outside("--items", items, ITEMS)
    except ValueError as e:
        raise UsageError(str(e)) from e


def requirement_of(
    *,
    deadline_s: float | None,
    throughput_per_s: float | None,
    min_accuracy: float,
    prefer: Prefer | None,
    when_late: WhenLate = WhenLate.KEEP_FLOOR,
    confidence: float | None = None,
    max_energy_j: float | None = None,
    max_power_w: float | None = None,
) -> Requirement:
    """The requirement that the options ask for. Raises UsageError, which names the option and its value."""
    time_unbounded = deadline_s is None and throughput_per_s is None
    if prefer is None:
        prefer = Prefer.LATENCY if time_unbounded else Prefer.ACCURACY
    elif prefer is Prefer.ACCURACY and time_unbounded:
        raise UsageError("--prefer accuracy needs --deadline-s or --throughput-per-s: without them there is no slack")
    try:
        return Requirement(
            deadline_s=deadline_s,
            throughput_per_s=throughput_per_s,
            min_accuracy=min_accuracy,
            prefer=prefer,
            when_late=when_late,
            confidence=confidence,
            max_energy_j=max_energy_j,
            max_power_w=max_power_w,
        )
    except ValueError as e:
        field, _, problem = str(e).partition(" ")
        raise UsageError(f"{_OPTION_OF_FIELD.get(field, field)} {problem}") from e


def parse_split(text: str | None) -> tuple[tuple[int, ...], ...] | None:
    """The groups of CPUs in `0-1,2-3`; `/` joins several ranges into one group. None for the CPU as a whole.

    `auto` is a group per kind of core, and the CPU as a whole where they are all alike. Raises UsageError.
    """
    if text is None:
        return None
    if text == _BY_KIND:
        kinds = core_kinds()
        return kinds if len(kinds) > 1 else None
    return tuple(_parse_group(group, text) for group in text.split(","))


def _parse_group(group: str, text: str) -> tuple[int, ...]:
    cpus: list[int] = []
    for part in group.split("/"):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise UsageError(
                f"--split-cpu {text!r}: {part!r} is no CPU number and no range; write it as in 0-1,2-3, or {_BY_KIND}"
            )
        cpus += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(cpus)


def family_folder(name: str) -> Path:
    """The folder that a family is named by on the command line; `./demo` is a folder called demo."""
    return demo_folder() if name == _BUILT_IN_FAMILY else Path(name)
