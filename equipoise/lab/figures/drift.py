"""Which part of the promises each strategy keeps, under each drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from equipoise.lab.drift import Drifted
from equipoise.lab.figures.style import BLUE, INK, LINE, MUTED, new_figure
from equipoise.lab.foresight import Foreseen
from equipoise.lab.grid import OURS
from equipoise.planning.strategies import CLAIRVOYANT


def drift_figure(found: Sequence[Drifted], limits: Sequence[Foreseen], titles: Mapping[str, str]) -> Figure:
    """A panel per drift with a bar per strategy, of what it kept of what it admitted; best on top, above it the limit.

    The thin line is the 95 % Wilson interval. `titles` has the drifts in the order of their panels.
    """
    cells = {(one.drift, one.strategy): one for one in found}
    known = {limit.drift: limit for limit in limits}
    names = sorted({one.strategy for one in found}, key=lambda name: (_mean(found, name), name == OURS))
    rows = [*(f"{name}  {_admitted(found, name)}" for name in names), _limit_row(limits[0])]
    figure = new_figure(11.4, 0.9 + 0.32 * len(rows))
    for axes, (kind, title) in zip(figure.subplots(1, len(titles), sharey=True), titles.items(), strict=True):
        for row, name in enumerate(names):
            _bar(axes, row, cells[kind, name], BLUE if name == OURS else "#9fb3c2")
        _limit_bar(axes, len(names), known[kind])
        axes.grid(visible=False)
        axes.set_title(title, fontsize=9)
        axes.set_xlim(0, 1.42)
        axes.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_bounds(0, 1)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(-0.6, len(rows) - 0.4)
    figure.supxlabel("promises kept, of those admitted", fontsize=9, color=MUTED)
    return figure


def _mean(found: Sequence[Drifted], name: str) -> float:
    """What it kept of the requests it admitted under all drifts; below 0 if it admitted none."""
    mine = [one.attainment for one in found if one.strategy == name]
    admitted = sum(one.admitted for one in mine)
    return sum(one.kept for one in mine) / admitted if admitted else -1.0


def _admitted(found: Sequence[Drifted], name: str) -> str:
    """How many it admitted under the first drift, which is none, and its median accuracy there."""
    one = next(one.attainment for one in found if one.strategy == name)
    told = f"{one.admitted}/{one.requests}"
    return told if one.accuracy is None else f"{told}  {100 * one.accuracy:.1f} %"


def _limit_row(calm: Foreseen) -> str:
    return f"{CLAIRVOYANT} (limit)" + ("" if calm.accuracy is None else f"  {100 * calm.accuracy:.1f} %")


def _limit_bar(axes: Axes, row: int, limit: Foreseen) -> None:
    axes.barh(row, limit.value, 0.62, facecolor="none", edgecolor=INK, linewidth=0.9, hatch="////", zorder=2)
    axes.text(1.04, row, f"{100 * limit.value:.0f} %", va="center", fontsize=8)


def _bar(axes: Axes, row: int, one: Drifted, bar_colour: str) -> None:
    found = one.attainment
    words: dict[str, Any] = {"va": "center", "fontsize": 8}
    axes.barh(row, 1, 0.62, color=LINE, alpha=0.45, zorder=1)
    if found.value is None or found.low is None or found.high is None:
        axes.text(0.5, row, "admits none", ha="center", color=MUTED, **words)
        return
    axes.barh(row, found.value, 0.62, color=bar_colour, zorder=2)
    for colour, width in (("white", 3.2), (INK, 1.2)):  # so that it shows on any bar
        axes.plot([found.low, found.high], [row, row], color=colour, linewidth=width, zorder=3, solid_capstyle="butt")
    bold = "bold" if one.strategy == OURS else "normal"
    axes.text(1.04, row, f"{100 * found.value:.0f} %", fontweight=bold, **words)
