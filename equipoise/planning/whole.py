"""Whole items: the best mixes of variants that fit into each processor's time, and how many items each one gets.

For each processor, f(n) is the most gain from exactly n whole items in its time. The best mix of n items uses two rungs
of its ladder almost always (a linear program with two constraints has two basic variables); what rounding leaves over
may pay for lifting one or two items to a third. f is tabulated for a few n around the fluid optimum, and the counts
are chosen by max-plus convolution: exact over that window, and nearly concave outside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from equipoise.planning.fleet import Ladder

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_LEAST_WINDOW, _MOST_WINDOW = 3, 16  # items more or fewer than the fluid optimum that are looked at on a processor
_LARGEST_TABLE = 200_000  # cells; the window is as wide as this allows
_REACH = 24  # items that groups of processors may exchange with one another
_FIT = 1e-9  # relative: how much a sum of latencies may exceed the time by floating-point error alone


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Counts (P, H) of items per rung of each processor's ladder, and their total gain."""

    counts: Ints
    gain: float


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a mix has to respect on each processor."""

    time_s: Floats  # (P,) seconds at profile speed
    charge_s: Floats | None  # (P, H) fixed cost of using a rung at all; None if there is none
    together: Bools | None  # (P, H, H) rungs whose memory fits together; None if all do


class _Table(NamedTuple):
    """The best gain of n items by pair and by triple of rungs, for every count n of a window."""

    window: Ints  # (P, W)
    pair_gain: Floats  # (P, W, N); -inf where n items do not fit
    slow_items: Floats  # (P, W, N)
    triple_gain: Floats | None  # (P, W, T)
    lifted_items: Floats | None  # (P, W, T)


def best_mix(ladder: Ladder, terms: Terms, fluid_items: Floats, items: int) -> Mix | None:
    """The most gain from `items` whole items, near the fluid optimum (P,); None if they do not fit there."""
    base = _round(fluid_items, _most_items(ladder, terms), items)
    if base is None:
        return None
    reach = _window_reach(ladder)
    table = _tabulate(ladder, terms, base[:, None] + np.arange(-reach, reach + 1))
    shifts, gain = _choose(_best_gain(table))
    if gain == -np.inf:
        return None
    return Mix(counts=_counts(ladder, table, shifts + reach), gain=gain)


def _window_reach(ladder: Ladder) -> int:
    """How far from the fluid optimum to look: one processor may have to take what rounding cost all the others."""
    rows, cells = len(ladder.item_s), ladder.pairs.fast_s.size + ladder.pairs.lift_s.size
    return max(_LEAST_WINDOW, min(2 * rows, _MOST_WINDOW, _LARGEST_TABLE // (2 * cells)))


def _most_items(ladder: Ladder, terms: Terms) -> Ints:
    """(P,) items that fit if each processor runs a single variant."""
    room_s = terms.time_s[:, None] * (1 + _FIT)
    if terms.charge_s is not None:
        room_s = np.maximum(room_s - terms.charge_s, 0.0)
    most: Floats = (room_s / ladder.item_s).max(axis=1)
    return most.astype(np.int64)


def _round(fluid_items: Floats, most: Ints, items: int) -> Ints | None:
    """Whole counts next to the fluid ones that add up to `items`, none above `most`."""
    counts = np.minimum((fluid_items * (1 + _FIT)).astype(np.int64), most)
    missing = items - int(counts.sum())
    if missing == 0:
        return counts
    owed_most = np.argsort(counts - fluid_items, kind="stable")
    while missing > 0:
        takers = owed_most[counts[owed_most] < most[owed_most]][:missing]
        if not len(takers):
            return None
        each = max(1, min(missing // len(takers), int((most - counts)[takers].min())))
        counts[takers] += each
        missing -= each * len(takers)
    while missing < 0:
        givers = owed_most[::-1][counts[owed_most[::-1]] > 0][:-missing]
        counts[givers] -= 1
        missing += len(givers)
    return counts


def _tabulate(ladder: Ladder, terms: Terms, window: Ints) -> _Table:
    """f(n) by pair of rungs: as many items on the slow one as there is time for, what is left over spent on lifts."""
    pairs = ladder.pairs
    n = np.maximum(window, 0)[:, :, None]
    spare_s = _room_s(ladder, terms)[:, None, :] - n * pairs.fast_s
    unfit = spare_s < 0
    if terms.together is not None:
        unfit |= ~terms.together[:, None, pairs.slow, pairs.fast]
    x = np.floor(np.minimum(spare_s / pairs.step_s, n))
    gain = n * pairs.fast_gain + x * pairs.step_gain
    gain[unfit] = -np.inf
    if terms.charge_s is not None:
        gain[window == 0] = 0.0  # nothing to do costs nothing
    if terms.together is not None or not len(pairs.of):  # three variants at once are for a planner that weighs memory
        return _Table(window, gain, x, None, None)
    spare_s -= x * pairs.step_s
    lift_room_s = spare_s.take(pairs.of, axis=2)
    if terms.charge_s is not None:
        lift_room_s -= terms.charge_s[:, None, pairs.middle]
    lifted = np.floor(np.minimum(lift_room_s / pairs.lift_s, (n - x).take(pairs.of, axis=2)))
    if terms.charge_s is not None:
        np.maximum(lifted, 0.0, out=lifted)
    return _Table(window, gain, x, gain.take(pairs.of, axis=2) + lifted * pairs.lift_gain, lifted)


def _room_s(ladder: Ladder, terms: Terms) -> Floats:
    """(P, N) or (P, 1) seconds for items, once the rungs of each pair are there."""
    room_s = terms.time_s[:, None] * (1 + _FIT)
    if terms.charge_s is None:
        return room_s
    pairs = ladder.pairs
    slow_charge_s = np.where(pairs.slow == pairs.fast, 0.0, terms.charge_s[:, pairs.slow])
    return room_s - terms.charge_s[:, pairs.fast] - slow_charge_s


def _best_gain(table: _Table) -> Floats:
    """f(n), (P, W); -inf where n items do not fit, or n is negative."""
    gain: Floats = table.pair_gain.max(axis=2)
    if table.triple_gain is not None:
        gain = np.maximum(gain, table.triple_gain.max(axis=2))
    if table.window[:, 0].min() < 0:
        gain[table.window < 0] = -np.inf
    return gain


def _choose(gain: Floats) -> tuple[Ints, float]:
    """Shifts (P,) that add up to 0 with the largest total of `gain` (P, W), whose middle column is shift 0.

    Max-plus convolution up a binary tree of processors, each sum cut to +-_REACH on the way.
    """
    merges: list[tuple[Ints, int, int]] = []
    level = gain
    while len(level) > 2:
        paired, reach = len(level) // 2 * 2, level.shape[1] // 2
        merged, left = _convolve(level[0:paired:2], level[1:paired:2])
        merges.append((left, reach, len(level) - paired))
        if len(level) > paired:
            merged = np.concatenate([merged, _widened(level[paired:], merged.shape[1])])
        level = merged
    shifts, total = _balance(level)
    for left, reach, odd_rows in reversed(merges):
        pairs = len(left)
        first = left[np.arange(pairs), shifts[:pairs] + left.shape[1] // 2] - reach
        split = np.empty(2 * pairs + odd_rows, np.int64)
        split[0 : 2 * pairs : 2], split[1 : 2 * pairs : 2] = first, shifts[:pairs] - first
        split[2 * pairs :] = shifts[pairs:]
        shifts = split
    return shifts, total


def _balance(level: Floats) -> tuple[Ints, float]:
    """Shifts of the one or two groups that are left, which have to cancel out."""
    middle = level.shape[1] // 2
    if len(level) == 1:
        return np.zeros(1, np.int64), float(level[0, middle])
    totals = level[0] + level[1, ::-1]
    best = int(totals.argmax())
    return np.array([best - middle, middle - best]), float(totals[best])


def _widened(rows: Floats, width: int) -> Floats:
    wide = np.full((len(rows), width), -np.inf)
    margin = (width - rows.shape[1]) // 2
    wide[:, margin : width - margin] = rows
    return wide


def _convolve(a: Floats, b: Floats) -> tuple[Floats, Ints]:
    """Max-plus convolution of rows, and for each sum the column of `a` that reaches it."""
    columns = _columns(a.shape[1] // 2)
    padded = np.full((len(b), b.shape[1] + 1), -np.inf)
    padded[:, :-1] = b
    sums = a[:, None, :] + padded.take(columns, axis=1)
    return sums.max(axis=2), sums.argmax(axis=2)


@lru_cache(maxsize=64)
def _columns(reach: int) -> Ints:
    """(sums, columns of a) the column of `b` that completes each sum; one past its end where there is none."""
    furthest = min(2 * reach, max(_REACH, reach))
    shift = np.arange(-furthest, furthest + 1)[:, None] - np.arange(-reach, reach + 1)
    return np.where(abs(shift) <= reach, shift + reach, 2 * reach + 1)


def _counts(ladder: Ladder, table: _Table, chosen: Ints) -> Ints:
    """Items per rung (P, H) for the chosen column of each processor's window."""
    pairs, rows = ladder.pairs, np.arange(len(chosen))
    counts = np.zeros(ladder.item_s.shape, np.int64)
    items = table.window[rows, chosen]
    pair_gain = table.pair_gain[rows, chosen]
    pair = pair_gain.argmax(axis=1)
    if table.triple_gain is not None and table.lifted_items is not None:
        triple_gain = table.triple_gain[rows, chosen]
        triple = triple_gain.argmax(axis=1)
        lifts = np.flatnonzero((triple_gain.max(axis=1) > pair_gain.max(axis=1)) & (items > 0))
        triple = triple[lifts]
        pair[lifts] = pairs.of[triple]
        lifted_items = table.lifted_items[lifts, chosen[lifts], triple].astype(np.int64)
        counts[lifts, pairs.middle[triple]] = lifted_items
        items[lifts] -= lifted_items
    slow_items = np.where(items > 0, table.slow_items[rows, chosen, pair], 0.0).astype(np.int64)
    counts[rows, pairs.slow[pair]] += slow_items
    counts[rows, pairs.fast[pair]] += items - slow_items
    return counts
