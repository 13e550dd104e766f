"""How long planning takes, by strategy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from equipoise.lab.figures.style import BLUE, INK, MUTED, new_figure, quiet
from equipoise.lab.gains import Floats
from equipoise.lab.grid import OURS


def times_figure(planning_s: Mapping[str, Floats]) -> Figure:
    """Median seconds per plan in each case, as dots, and their median as a line and a number; quickest on top."""
    names = sorted(planning_s, key=lambda name: -float(np.median(planning_s[name])))
    figure = new_figure(9.6, 0.9 + 0.36 * len(names))
    axes = figure.subplots()
    for row, name in enumerate(names):
        milliseconds = 1000 * planning_s[name]
        colour = BLUE if name == OURS else MUTED
        scatter = np.random.default_rng(row).uniform(-0.14, 0.14, len(milliseconds))
        axes.plot(milliseconds, row + scatter, ".", color=colour, alpha=0.45, markersize=5, markeredgewidth=0)
        middle = float(np.median(milliseconds))
        axes.plot([middle, middle], [row - 0.28, row + 0.28], color=INK, linewidth=2.2)
        label = axes.annotate(f"{middle:.3g} ms", (middle, row), (6, 0), textcoords="offset points", va="center")
        label.set(fontsize=8, fontweight="bold")
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8})
    quiet(axes, grid="x")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("milliseconds per plan (log scale)")
    return figure
