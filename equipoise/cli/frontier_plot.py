"""Frontiers as a picture: latency against accuracy, ours beside every other strategy."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Plan
from equipoise.errors import OutputError, UsageError

_ENDINGS = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, told apart by the colour-blind; markers tell the lines apart without any colour.
_COLORS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#999999")
_MARKERS = ("", "o", "s", "^", "v", "D", "P", "X")


def check_plot(path: Path) -> None:
    """Raise UsageError if no plot can be made as `path` asks, before any work is done."""
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(f"--plot {path}: the file must end in one of {', '.join(_ENDINGS)}")
    if find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib; install it with: pip install 'equipoise[plot]'")


def plot(frontiers: dict[str, list[Plan]], cluster: Cluster, items: int, path: Path) -> None:
    """Draw the frontiers to `path`. Raises OutputError."""
    import matplotlib  # noqa: PLC0415 - an extra, and slow to import

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for k, (name, plans) in enumerate(frontiers.items()):
        is_ours = k == 0
        axes.plot(
            [plan.latency_s for plan in plans],
            [100 * plan.accuracy for plan in plans],
            label=name,
            color=_COLORS[k % len(_COLORS)],
            marker=_MARKERS[k % len(_MARKERS)],
            markersize=5,
            linewidth=2.5 if is_ours else 1,
            linestyle="-" if is_ours else "--",
            drawstyle="default" if is_ours else "steps-post",  # theirs has nothing between two candidates
            zorder=3 if is_ours else 2,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel(f"seconds for {items} items (log scale)")
    axes.set_ylabel("expected accuracy, %")
    axes.set_title(f"What {', '.join(node.name for node in cluster.nodes)} can promise", fontsize=11)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(loc="lower right", fontsize=9)
    try:
        figure.savefig(path, dpi=150)
    except OSError as e:
        raise OutputError(f"cannot be written: {e.strerror}", path=path) from e
    finally:
        pyplot.close(figure)
