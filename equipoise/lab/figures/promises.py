"""Which pairs of a rate and a floor each strategy keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from equipoise.lab.figures.style import BLUE, LINE, MUTED, PAPER_WHITE, new_figure
from equipoise.lab.gains import Floats

_COLUMNS = 5
_KEPT = LinearSegmentedColormap.from_list("kept", [(0.0, "#f2a46f"), (0.01, "#cfe4f2"), (1.0, BLUE)])


def promises_figure(
    kept: Mapping[str, Floats], shares: Mapping[str, float], floors: Sequence[float], rates_per_s: Sequence[float]
) -> Figure:
    """One map per strategy, (rates, floors); nan where nobody can keep the pair.

    kept      part of the batch sizes at which it keeps the pair
    shares    of all pairs that can be kept, the part that it keeps
    """
    names = sorted(kept, key=lambda name: -shares[name])
    rows = math.ceil(len(names) / _COLUMNS)
    figure = new_figure(9.6, 0.7 + 2.2 * rows)
    grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for k, axes in enumerate(grid.flat):
        axes.set_visible(k < len(names))
        if k >= len(names):
            continue
        name = names[k]
        axes.set_facecolor(PAPER_WHITE)  # light, middling and dark: told apart without colours, too
        axes.grid(visible=False)
        axes.pcolormesh(np.ma.masked_invalid(kept[name]), cmap=_KEPT, vmin=0, vmax=1, edgecolors="white",
                        linewidth=0.4)  # fmt: skip
        axes.set_title(f"{name}  {100 * shares[name]:.0f} %", fontsize=8)
        ends = np.array([0.5, -0.5])
        axes.set_xticks(ends % kept[name].shape[1], [f"{100 * floors[end]:.1f} %" for end in (0, -1)])
        # the texts of two maps must not touch; a map above another has none
        for text, side in zip(axes.get_xticklabels(), ("left", "right"), strict=False):
            text.set_horizontalalignment(side)
        axes.set_yticks(ends % kept[name].shape[0], [_rate(rates_per_s[end]) for end in (0, -1)])
        axes.tick_params(length=0, labelsize=8)
        for spine in axes.spines.values():
            spine.set(visible=True, color=LINE, linewidth=0.8)
    figure.supxlabel("accuracy floor", fontsize=9, color=MUTED)
    figure.supylabel("items per second that are asked for", fontsize=9, color=MUTED)
    return figure


def _rate(rate_per_s: float) -> str:
    return f"{rate_per_s:,.0f}/s" if rate_per_s >= 100 else f"{rate_per_s:.3g}/s"
