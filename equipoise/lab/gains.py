"""What a gain is, and its statistics.

    throughput gain at equal accuracy   rate(ours) / rate(theirs) - 1, both as fast as they can at the same floor
    accuracy gain at equal throughput   accuracy(ours) - accuracy(theirs), both as accurate as they can at the same rate

A gain is counted where both have a plan. Where only ours has one there is nothing to divide by: the part of such levels
stands beside the gains and is no part of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BEST_OTHER = "best other"
_DIGITS = 9  # equal plans add up their items in different orders


class Published(NamedTuple):
    """The averages of arXiv 2310.10157 over the strategies that it compares with, on requirements of its own."""

    throughput: float = 0.4152
    accuracy: float = 0.052


PAPER = Published()


class Gain(msgspec.Struct, frozen=True, kw_only=True):
    """Of ours over another strategy: a fraction of its throughput, or a difference of accuracies.

    `levels` counts those at which both have a plan; None stands where there is no such level. `lacking` is the part of
    ours at which the other has none.
    """

    levels: int
    mean: float | None
    median: float | None
    worst: float | None
    best: float | None
    lacking: float


def throughput_gain(ours: Floats, theirs: Floats) -> Floats:
    """Of rates of one shape; nan where either has no plan."""
    return ours / theirs - 1.0


def accuracy_gain(ours: Floats, theirs: Floats) -> Floats:
    """Of accuracies of one shape; nan where either has no plan."""
    return ours - theirs


def best_of(others: Mapping[str, Floats]) -> Floats:
    """The best of other strategies at each level, chosen in hindsight."""
    best: Floats = np.fmax.reduce(list(others.values()))
    return best


def statistics(ours: Floats, theirs: Floats, gain: Floats) -> Gain:
    """Of gains at all levels, of any shape."""
    able = np.isfinite(ours)
    both = np.round(gain[np.isfinite(gain)], _DIGITS) + 0.0
    lacking = float((able & np.isnan(theirs)).sum() / able.sum()) if able.any() else 0.0
    if not len(both):
        return Gain(levels=0, mean=None, median=None, worst=None, best=None, lacking=lacking)
    return Gain(
        levels=len(both),
        mean=float(both.mean()),
        median=float(np.median(both)),
        worst=float(both.min()),
        best=float(both.max()),
        lacking=lacking,
    )
