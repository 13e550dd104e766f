"""Who ran what when, with re-plans and losses: a panel per strategy.

Variants differ in colour and in hatching, so that they can be told apart without colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from equipoise.lab.figures.style import BLUE, GREEN, INK, LINE, ORANGE, PURPLE, SKY, VERMILION, new_figure, quiet
from equipoise.lab.timelines import TimeLine
from equipoise.simulation.records import PlanRecord, TaskRecord

_LOOKS = ((BLUE, ""), (SKY, "///"), (ORANGE, "..."), (GREEN, "\\\\\\"), (PURPLE, "xxx"), (LINE, "---"))
_LOST: dict[str, Any] = {"facecolor": "white", "edgecolor": VERMILION, "hatch": "xxxx", "linewidth": 1.2}
_HALF = 0.36  # of a bar's height
_AT_ONCE_S = 1e-6


def gantt_figure(lines: Sequence[TimeLine]) -> Figure:
    """A panel per time line, one under the other on the same clock; the boards in the cluster's order."""
    variants = dict.fromkeys(task.variant for line in lines for task in _tasks(line))
    looks = {name: _LOOKS[k % len(_LOOKS)] for k, name in enumerate(variants)}
    figure = new_figure(9.6, 0.9 + 1.75 * len(lines))
    for axes, line in zip(figure.subplots(len(lines), 1, sharex=True, squeeze=False).flat, lines, strict=True):
        _panel(axes, line, looks)
    axes.set_xlabel("seconds from the start of the request")
    axes.set_xlim(0, 1.03 * max([line.deadline_s for line in lines] + [line.latency_s or 0.0 for line in lines]))
    figure.legend(handles=_legend(looks), loc="outside lower center", ncols=3, fontsize=8.5)
    return figure


def _tasks(line: TimeLine) -> list[TaskRecord]:
    """Those that were begun."""
    return [record for record in line.records if isinstance(record, TaskRecord) and record.began_s is not None]


def _panel(axes: Axes, line: TimeLine, looks: dict[str, tuple[str, str]]) -> None:
    rows = {who: len(line.processors) - 1 - k for k, who in enumerate(line.processors)}
    quiet(axes, grid="x")
    for who, row in rows.items():
        for spell in _spells([task for task in _tasks(line) if (task.node, task.processor) == who]):
            _spell(axes, row, spell, looks, line.deadline_s / 150)
    _events(axes, line, rows)
    plans = [r.at_s for r in line.records if isinstance(r, PlanRecord) and not r.first]
    top = len(rows) - 0.18
    axes.plot(plans, [top] * len(plans), "v", color=INK, markersize=5, clip_on=False, zorder=5)
    axes.axvline(line.deadline_s, color=INK, linestyle=(0, (4, 2)), linewidth=1.3, zorder=4)
    axes.set_yticks(list(rows.values()), [f"{node} {processor}" for node, processor in rows])
    axes.set_ylim(-0.55, top + 0.05)
    axes.set_title(f"{line.strategy}: {_result(line)}", fontsize=9.5)


def _spells(tasks: list[TaskRecord]) -> Iterator[list[TaskRecord]]:
    """The tasks in their order, those of one variant that end alike and follow each other at once taken together."""
    spell: list[TaskRecord] = []
    for task in sorted(tasks, key=_began_s):
        if spell and not (_alike(spell[-1], task) and _began_s(task) - spell[-1].ended_s < _AT_ONCE_S):
            yield spell
            spell = []
        spell.append(task)
    if spell:
        yield spell


def _alike(one: TaskRecord, other: TaskRecord) -> bool:
    return (one.variant, one.ending) == (other.variant, other.ending)


def _began_s(task: TaskRecord) -> float:
    assert task.began_s is not None
    return task.began_s


def _spell(axes: Axes, row: int, spell: list[TaskRecord], looks: dict[str, tuple[str, str]], shortest_s: float) -> None:
    """A bar, with a fine line where a task begins that is not so short that lines would fill the bar."""
    colour, hatch = looks[spell[0].variant]
    answered: dict[str, Any] = {"facecolor": colour, "edgecolor": "white", "hatch": hatch, "linewidth": 0.5}
    look = answered if spell[0].ending == "answered" else _LOST
    start_s = _began_s(spell[0])
    axes.barh(row, spell[-1].ended_s - start_s, 2 * _HALF, start_s, zorder=3, **look)
    borders_s = [_began_s(task) for task in spell[1:] if task.ended_s - _began_s(task) > shortest_s]
    axes.vlines(borders_s, row - _HALF, row + _HALF, color="white", linewidth=0.5,
                zorder=3.5)  # fmt: skip


def _events(axes: Axes, line: TimeLine, rows: dict[tuple[str, str], int]) -> None:
    """The board that is slowed is underlined from then on; the one that is unplugged is crossed out."""
    end_s = max(line.deadline_s, line.latency_s or 0.0)
    words: dict[str, Any] = {"fontsize": 8, "va": "center", "zorder": 6, "color": VERMILION, "fontweight": "bold"}
    for (node, _), row in rows.items():
        if node == line.slowed:
            axes.plot([line.slowed_s, end_s], [row - 0.44] * 2, color=VERMILION, linewidth=2.2, zorder=6)
            axes.text(line.slowed_s, row + 0.48, f"from here at {100 * line.speed:.0f} % of its speed", **words)
        if node == line.unplugged:
            axes.plot([line.unplugged_s] * 2, [row - 0.45, row + 0.45], color=VERMILION, linewidth=2.2, zorder=6)
            axes.text(line.unplugged_s + 0.012 * end_s, row, "unplugged", **words)


def _result(line: TimeLine) -> str:
    if not line.admitted or line.latency_s is None or line.accuracy is None:
        return "declined" if not line.admitted else "not every item was answered"
    end = f"{line.latency_s:.2f} s of {line.deadline_s:.2f} s, accuracy {100 * line.accuracy:.1f} %"
    return f"{end}: {'both promises kept' if line.kept else 'NOT kept'}"


def _legend(looks: dict[str, tuple[str, str]]) -> list[Artist]:
    boxes: list[Artist] = [
        Patch(facecolor=colour, edgecolor="white", hatch=hatch, label=name) for name, (colour, hatch) in looks.items()
    ]
    return [
        *boxes,
        Patch(**_LOST, label="lost with its board"),
        Line2D([], [], color=INK, marker="v", linestyle="none", label="planned again"),
        Line2D([], [], color=INK, linestyle=(0, (4, 2)), label="deadline"),
    ]
