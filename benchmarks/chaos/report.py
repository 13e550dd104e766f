"""What a campaign found, as tables in Markdown and as a plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from benchmarks.chaos.attempt import BROKEN, KEPT
from benchmarks.chaos.campaign import Campaign
from benchmarks.chaos.harm import SPARED
from benchmarks.chaos.memory import FLAT_BYTES, Memory, quarters
from benchmarks.chaos.recovery import Recovery

_LEASE_S = 2.0


class Measure(NamedTuple):
    """A recovery time: what it is called, its goal, and which recoveries have it."""

    name: str
    goal: float
    values: Callable[[Recovery], float | None]


def _noticed(*kinds: str) -> Callable[[Recovery], float | None]:
    return lambda one: one.noticed_s if one.kind.startswith(kinds) else None


def _back(*kinds: str) -> Callable[[Recovery], float | None]:
    return lambda one: one.back_s if one.kind.startswith(kinds) else None


def _noticed_after_its_end(one: Recovery) -> float | None:
    """A process that is killed is gone before its parent hears of it: there may be nothing left to wait for."""
    if one.noticed_s is None or one.ending_s is None:
        return None
    return max(0.0, one.noticed_s - one.ending_s)


MEASURES = (
    Measure("a killed node is noticed, s", 0.1, _noticed("killed")),
    Measure("the same, from when its process was gone, s", 0.1, _noticed_after_its_end),
    Measure("a silently cut link is noticed, s", 2.5, _noticed("cut")),
    Measure("a frozen node is noticed, s", 2.5, _noticed("frozen")),
    Measure(
        "from noticing to the first task of a new plan at another board, s", math.inf, lambda one: one.taken_over_s
    ),
    Measure("tasks that this board answered in between", 1, lambda one: one.tasks_between),
    Measure("a mended link is back in use, s", 8.0, _back("cut")),
    Measure("a thawed node is back in use, s", 8.0, _back("frozen")),
    Measure("a node that was started again is back in use, s (starting included)", math.inf, _back("killed")),
)


def times(campaign: Campaign, measure: Measure) -> list[float]:
    """All that were measured, in rising order. Times back in use are those of long requests: others end too early."""
    source = campaign.mended if "back in use" in measure.name else campaign.attempts
    found = (measure.values(recovery) for one in source for recovery in one.recoveries)
    return sorted(value for value in found if value is not None)


def report(campaign: Campaign) -> str:
    """Everything, in Markdown."""
    parts = (
        f"Campaign of seed {campaign.seed}, family {campaign.family}; on {campaign.cpus} cores, for which "
        f"{median(campaign.load):.1f} processes competed at the median, those of others included.",
        _requests_table(campaign),
        _recovery_table(campaign),
        _memory_sentence(campaign.memory),
        "\n".join([f"Wrong: {len(campaign.wrong)}.", *(f"- {sentence}" for sentence in campaign.wrong[:20])]),
    )
    return "\n\n".join(parts) + "\n"


def _requests_table(campaign: Campaign) -> str:
    heads = (
        *("requests", "", "both promises kept", "late or below the floor"),
        "gone on with after the coordinator's death",
        *("items answered", "named as unanswered", "sent again"),
    )
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, attempts in (("faultless", campaign.faultless), ("under faults", campaign.faulty)):
        counts = [sum(one.code == code for one in attempts) for code in (KEPT, BROKEN)]
        totals = (
            sum(getattr(one, what) for one in attempts) for what in ("resumed", "answered", "unanswered", "resent")
        )
        figures = (len(attempts), *counts, *totals)
        rows.append(f"| {name} | " + " | ".join(map(str, figures)) + " |")
    return "\n".join(rows)


def _recovery_table(campaign: Campaign) -> str:
    rows = ["| | goal | measured | median | 90 % within | largest | within the goal |", "|---|---|---|---|---|---|---|"]
    for measure in MEASURES:
        found = times(campaign, measure)
        goal = "" if math.isinf(measure.goal) else f"<= {measure.goal:g}"
        figures = (
            [f"{value:.3g}" for value in (median(found), float(np.quantile(found, 0.9)), found[-1])]
            if found
            else ["-"] * 3
        )
        within = f"{sum(value <= measure.goal for value in found)}" if goal else ""
        rows.append(f"| {measure.name} | {goal} | {len(found)} | " + " | ".join(figures) + f" | {within} |")
    return "\n".join(rows)


def _memory_sentence(memory: Iterable[Memory]) -> str:
    found = quarters(memory)
    if found is None:
        return "Too few requests to say whether memory grows."
    requests, second, last = found
    return (
        f"Resident memory of node {SPARED}, which is never killed, over {requests} requests: "
        f"{second.memory_bytes / 1e6:.1f} MB in the second quarter, {last.memory_bytes / 1e6:.1f} MB in the last one "
        f"(medians); at most {FLAT_BYTES / 1e6:.0f} MB more count as flat. "
        f"Threads: {second.threads} and {last.threads}; open files: {second.files} and {last.files}."
    )


def draw_recoveries(campaign: Campaign, path: Path) -> None:
    """How the recovery times are distributed: for each measure in seconds, which part is within a time."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - the short campaign among the tests draws nothing

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for measure in MEASURES:
        found = times(campaign, measure)
        if not found or not measure.name.partition("(")[0].strip().endswith(", s"):
            continue
        seconds = np.maximum(found, 1e-3)
        axes.step(
            seconds, np.arange(1, len(found) + 1) / len(found), where="post", label=measure.name.replace(", s", "")
        )
    axes.set_xscale("log")
    axes.set_xlabel("seconds (those below 1 ms are drawn at 1 ms)")
    axes.set_ylabel("part of the cases within")
    axes.axvline(_LEASE_S, color="0.8", linewidth=1)
    axes.annotate("lease", (_LEASE_S, 0.02), color="0.5")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left")
    figure.savefig(path)
