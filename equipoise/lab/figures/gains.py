"""How the gains over each strategy are distributed, with the paper's averages beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from equipoise.lab.figures.style import BLUE, INK, MUTED, VERMILION, new_figure, quiet
from equipoise.lab.gains import PAPER, Floats
from equipoise.lab.words import signed_points

_TICKS = (0, 10, 25, 50, 100, 200, 400, 900, 1900, 4900, 9900, 49900)  # percent


@dataclass(frozen=True)
class _Kind:
    """One of the two gains: where on the axis a gain lies, and how it is written."""

    what: str
    place: Callable[[Floats], Floats]
    tell: Callable[[float], str]
    paper: float


_THROUGHPUT = _Kind(
    "more items per second at equal accuracy, %",
    lambda gain: np.log10(1 + gain),
    lambda gain: f"{100 * gain:+.1f} %" if gain < 9.995 else f"{100 * gain:+,.0f} %",
    PAPER.throughput,
)
_ACCURACY = _Kind(
    "more accuracy at equal throughput, points",
    lambda gain: 100 * gain,
    signed_points,
    PAPER.accuracy,
)


def gains_figure(throughput: dict[str, Floats], accuracy: dict[str, Floats], lacking: dict[str, float]) -> Figure:
    """Gains over each strategy at every level at which it has a plan; fractions, and differences of accuracy.

    `lacking` is the part of the rates at which it has none. Strategies stand in the order of their mean throughput
    gain, the strongest on top.
    """
    names = sorted(throughput, key=lambda name: -float(throughput[name].mean()))
    figure = new_figure(9.6, 1.3 + 0.44 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, kind, gains in ((left, _THROUGHPUT, throughput), (right, _ACCURACY, accuracy)):
        quiet(axes, grid="x")
        for row, name in enumerate(names):
            _strip(axes, row, kind, gains[name])
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_ylim(-0.6, len(names) + 0.15)
        axes.set_xlabel(kind.what)
        _paper(axes, kind)
    ticks = list(_ticks(max(float(gains.max()) for gains in throughput.values())))
    left.set_xticks([np.log10(1 + tick / 100) for tick in ticks], [f"+{tick}" if tick else "0" for tick in ticks])
    left.set_yticks(range(len(names)), names)
    right.secondary_yaxis("right").set(
        yticks=range(len(names)), yticklabels=[f"{100 * lacking[name]:.0f} %" for name in names],
        ylabel="rates at which it has no plan",
    )  # fmt: skip
    for axis in right.child_axes:
        axis.tick_params(length=0)
        axis.spines["right"].set_visible(False)
    right.margins(x=0.12)
    return figure


def _ticks(most: float) -> Iterator[int]:
    """Percents up to the largest gain, none so near to the one before that their texts would touch."""
    span, before = np.log10(1 + most), -np.inf
    for tick in _TICKS:
        at = np.log10(1 + tick / 100)
        if at <= span * 1.02 and at - before >= 0.11 * span:
            before = at
            yield tick


def _strip(axes: Axes, row: int, kind: _Kind, gains: Floats) -> None:
    """Every level as a dot, the middle half of them as a bar, their mean as a diamond and a number."""
    if not len(gains):
        axes.text(0.5, row, "no plan at any level", transform=axes.get_yaxis_transform(), ha="center", va="center",
                  color=MUTED, fontsize=8)  # fmt: skip
        return
    found, mean = kind.place(gains), float(gains.mean())
    scatter = np.random.default_rng(row).uniform(-0.16, 0.16, len(found))
    axes.plot(found, row + scatter, ".", color=BLUE, markersize=4.5, alpha=0.3, markeredgewidth=0, zorder=2)
    axes.plot(np.quantile(found, [0.25, 0.75]), [row, row], color=BLUE, linewidth=6, alpha=0.75, zorder=3,
              solid_capstyle="butt")  # fmt: skip
    at = float(kind.place(np.array([mean]))[0])
    axes.plot(at, row, "D", color=INK, markersize=6, markeredgecolor="white", zorder=5)
    axes.annotate(kind.tell(mean), (at, row), (0, 7), textcoords="offset points", ha="center", fontsize=8,
                  fontweight="bold", zorder=6)  # fmt: skip


def _paper(axes: Axes, kind: _Kind) -> None:
    at = float(kind.place(np.array([kind.paper]))[0])
    axes.axvline(at, color=VERMILION, linewidth=1.3, linestyle=(0, (4, 2)), zorder=1)
    axes.annotate(f"paper's average {kind.tell(kind.paper)}", (at, 1), (4, 2), xycoords=("data", "axes fraction"),
                  textcoords="offset points", va="top", color=VERMILION, fontsize=8)  # fmt: skip
