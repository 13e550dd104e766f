"""Upper concave hulls, for all processors at once.

A processor that spends part of its time on each of several variants reaches every convex combination of their
points (items per second, gain per second) and of the origin, which is idling. So what it can do is bounded by the
upper hull of those points, and filling a fleet with work is a merge of hull segments by slope: a multiple-choice
knapsack with divisible items (Sinha & Zoltners, Operations Research 27(3), 1979).

Slopes do not change when a processor slows down as a whole, so the order in which segments are filled depends on the
profiles alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Hulls:
    """Segments of all hulls, steepest first; those of one processor stand in the order of their hull.

    A segment is what its processor gains by moving from one rung of its ladder to a faster one, per second of
    its time. Every array has shape (segments,).
    """

    processor: Ints
    rung: Ints  # of the ladder, at the segment's far end
    rate_per_s: Floats  # items per second more
    gain_per_s: Floats  # gain per second more; may be negative
    slope: Floats  # gain per item


def upper_hulls(item_s: Floats, gain: Floats) -> Hulls:
    """Hulls of the points (1 / item_s, gain / item_s) with the origin, one per row.

    item_s, gain   (P, H); inf in `item_s` marks a missing point

    Gift wrapping, in step for all rows: at most H steps of O(P H).
    """
    with np.errstate(divide="ignore"):
        x = 1.0 / item_s  # a missing point has rate 0 and is never to the right of where its row stands
    y = np.where(x > 0, gain * x, 0.0)
    rows = np.arange(len(item_s))
    at_x, at_y = np.zeros(len(item_s)), np.zeros(len(item_s))
    steps: list[tuple[Ints, Ints, Floats, Floats]] = []
    while len(rows):
        dx, dy = x[rows] - at_x[:, None], y[rows] - at_y[:, None]
        ahead = dx > 0
        slope = np.where(ahead, dy / np.where(ahead, dx, 1.0), -np.inf)
        rung = slope.argmax(axis=1)
        pick = np.arange(len(rows)), rung
        more = ahead[pick]
        rows, rung, dx, dy = rows[more], rung[more], dx[pick][more], dy[pick][more]
        steps.append((rows, rung, dx, dy))
        at_x, at_y = x[rows, rung], y[rows, rung]
    processor, rungs, rate, rise = (np.concatenate(column) for column in zip(*steps, strict=True))
    slope = rise / rate
    order = np.argsort(-slope, kind="stable")
    return Hulls(
        processor=processor[order],
        rung=rungs[order],
        rate_per_s=rate[order],
        gain_per_s=rise[order],
        slope=slope[order],
    )
