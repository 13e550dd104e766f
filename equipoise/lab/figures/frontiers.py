"""What each strategy can promise on a cluster: items per second against accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from equipoise.lab.figures.style import looks, new_figure, quiet
from equipoise.lab.grid import EXACT, OURS, Point


def frontiers_figure(frontiers: Mapping[str, Sequence[Point]], items: int) -> Figure:
    """Up and to the right is better. A strategy can keep every promise below and to the left of its line."""
    figure = new_figure(9.6, 5.2)
    axes = figure.subplots()
    names = sorted((name for name in frontiers if frontiers[name]), key=lambda name: name not in (OURS, EXACT))
    found = looks(names)
    for name in names:
        look = found[name]
        points = sorted(frontiers[name], key=lambda point: point.throughput_per_s)
        mixes = name in (OURS, EXACT)
        axes.plot(
            [point.throughput_per_s for point in points],
            [100 * point.accuracy for point in points],
            label=name,
            color=look.colour,
            marker=look.marker,
            markersize=3.5 if mixes else 5,
            linestyle="none" if name == EXACT else look.dashes,
            linewidth=look.width,
            drawstyle="default" if mixes else "steps-pre",  # theirs has nothing between two of its plans
            zorder=look.order,
        )
    quiet(axes)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel(f"items per second (log scale), {items} items at once")
    axes.set_ylabel("expected accuracy, %")
    figure.legend(loc="outside right upper", handlelength=3.2, labelspacing=0.7)
    return figure
