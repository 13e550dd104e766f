"""How the figures look: colours that the colour-blind can tell apart, markers and dashes for those without colour.

Colours are those of Okabe and Ito, "Color Universal Design", 2008. Ours is always the thick blue line; the exact
solver, which nobody can beat, is black.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from equipoise.lab.grid import EXACT, OURS

BLUE, ORANGE, SKY, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7"
INK, MUTED, LINE, PAPER_WHITE = "#1b1f24", "#6a737d", "#d8dee4", "#ffffff"

_FONT = "DejaVu Sans"  # comes with matplotlib, so that text has the same width everywhere
_SETTINGS: dict[Any, Any] = {
    "font.family": _FONT,
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be searched, selected and read aloud
    "svg.hashsalt": "equipoise",  # the same figure is the same file
}
_DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)))
_MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "p", "h", "*")
_COLOURS = (ORANGE, GREEN, PURPLE, VERMILION, SKY, "#8c6d31", "#7a7a7a")


@dataclass(frozen=True)
class Look:
    """How one strategy is drawn in every figure."""

    colour: str
    marker: str
    dashes: str | tuple[float, tuple[float, ...]]
    width: float
    order: int


def looks(strategies: list[str]) -> dict[str, Look]:
    """A look for each strategy, by its place among the others."""
    found = {}
    others = [name for name in strategies if name not in (OURS, EXACT)]
    for k, name in enumerate(others):
        dashes = _DASHES[(1 + k // len(_COLOURS) + k) % len(_DASHES)]
        found[name] = Look(_COLOURS[k % len(_COLOURS)], _MARKERS[k % len(_MARKERS)], dashes, 1.3, 2)
    found[OURS] = Look(BLUE, "o", "-", 2.8, 4)
    found[EXACT] = Look(INK, "x", (0, (1, 2)), 1.2, 5)
    return found


def new_figure(width: float, height: float) -> Figure:
    """A figure of that many inches, to be drawn on and then passed to `svg` or `save`."""
    mpl.rcParams.update(_SETTINGS)
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER_WHITE)
    FigureCanvasAgg(figure)
    return figure


def quiet(axes: Axes, *, grid: Literal["both", "x", "y"] = "both") -> None:
    """Grid lines along `grid` only, and no tick marks."""
    axes.grid(visible=False)
    axes.grid(visible=True, axis=grid)
    axes.tick_params(length=0)


def svg(figure: Figure, *, prefix: str = "", label: str = "") -> str:
    """The figure as an <svg> element to stand in a page; `prefix` keeps its ids apart from other figures'."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", text)
    text = text.replace(f"'{_FONT}'", f"'{_FONT}', Verdana, sans-serif")
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text)
    if size is not None:  # so wide at most, and as wide as there is room for
        text = text.replace(size.group(0), f'role="img" aria-label="{label}" style="max-width:{size.group(1)}pt"', 1)
    return text


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write NAME.svg and NAME.png."""
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.png", dpi=160)
