"""Whole items: how many each processor gets, of the best mixes of variants that fit into its time.

f(n), the most gain from exactly n whole items on a processor (`mixes.py`), is tabulated for a few n around the fluid
optimum, and the counts are chosen by max-plus convolution: exact over that window, and nearly concave outside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from equipoise.planning.fluid import Inlet
from equipoise.planning.ladders import NEVER_S, Ladder
from equipoise.planning.mixes import FIT, Terms, best_mixes, counts_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LEAST_WINDOW, _MOST_WINDOW = 3, 10  # items more or fewer than the fluid optimum that are looked at on a processor
_LARGEST_TABLE = 200_000  # cells; the window is as wide as this allows
_REACH = 24  # items that groups of processors may exchange with one another
_MANY, _NEAR = 64, 4  # of more groups than this, only so many: what is left over finds a place nearby
_COUNTABLE = 2.0**62  # items that an integer can count; more would be wrong, not many


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Counts (P, H) of items per rung of each processor's ladder, and their total gain."""

    counts: Ints
    gain: float


class _Rooms(NamedTuple):
    """How many more items than at shift 0 the processors of each node may take together."""

    node: Ints  # (P,)
    items: Ints  # (N,)


def best_mix(ladder: Ladder, terms: Terms, fluid_items: Floats, items: int) -> Mix | None:
    """The most gain from `items` whole items, near the fluid optimum (P,); None if they do not fit there."""
    most = _most_items(ladder, terms)
    base = _round(fluid_items, most, items)
    if base is None:
        return None
    reach = _window_reach(ladder)
    window = base[:, None] + np.arange(-reach, reach + 1)
    mixes, rooms = best_mixes(ladder, terms, window), None if terms.inlet is None else _rooms(terms.inlet, base)
    shifts, gain = _choose(mixes.gain, rooms)
    if gain == -np.inf and not terms.is_linear:
        mixes = best_mixes(ladder, terms, window, all_pairs=True)
        shifts, gain = _choose(mixes.gain, rooms)
    if gain == -np.inf:
        return None
    return Mix(counts=counts_of(ladder.pairs, mixes, shifts + reach), gain=gain)


def _rooms(inlet: Inlet, base: Ints) -> _Rooms:
    """How many more items than `base` (P,) each node's inlet lets in."""
    taken = np.bincount(inlet.node, base, minlength=len(inlet.most_items))
    room = np.floor(inlet.most_items * (1 + FIT)) - taken
    return _Rooms(inlet.node, np.clip(room, -_REACH, _REACH).astype(np.int64))


def _window_reach(ladder: Ladder) -> int:
    """How far from the fluid optimum to look: one processor may have to take what rounding cost all the others."""
    rows, cells = len(ladder.item_s), ladder.pairs.figures.size // 4 + ladder.pairs.lifts.size // 2
    return max(_LEAST_WINDOW, min(2 * rows, _MOST_WINDOW, _LARGEST_TABLE // (2 * cells)))


def _most_items(ladder: Ladder, terms: Terms) -> Ints:
    """(P,) items that fit if each processor runs a single variant."""
    room_s = terms.time_s[:, None] * (1 + FIT)
    if terms.load_s is not None:
        room_s = np.maximum(room_s - terms.load_s, 0.0)
    most: Floats = (np.minimum(room_s, NEVER_S) / ladder.item_s).max(axis=1)
    if terms.rung_bytes is not None and terms.most_bytes is not None:
        most = np.minimum(most, terms.most_bytes / np.maximum(terms.rung_bytes.min(axis=1), 1.0))
    if terms.inlet is not None:
        most = np.minimum(most, terms.inlet.most_items[terms.inlet.node] * (1 + FIT))
    return np.minimum(most, _COUNTABLE).astype(np.int64)


def _round(fluid_items: Floats, most: Ints, items: int) -> Ints | None:
    """Whole counts next to the fluid ones that add up to `items`, none above `most`."""
    counts = np.minimum((fluid_items * (1 + FIT)).astype(np.int64), most)
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
        each = max(1, min(-missing // len(givers), int(counts[givers].min())))
        counts[givers] -= each
        missing += each * len(givers)
    return counts


def _choose(gain: Floats, rooms: _Rooms | None = None) -> tuple[Ints, float]:
    """Shifts (P,) that add up to 0 with the largest total of `gain` (P, W), whose middle column is shift 0.

    Max-plus convolution up a binary tree of processors, each sum cut to +-_REACH on the way. Where nodes have only so
    much room, their processors are put together first, and their sums are cut off there.
    """
    if rooms is None:
        return _merge(gain)
    width = 1 << int(np.bincount(rooms.node).max() - 1).bit_length()
    seat = rooms.node * width + _rank_in_group(rooms.node)
    seats = np.full((len(rooms.items) * width, gain.shape[1]), -np.inf)
    seats[:, gain.shape[1] // 2] = 0.0  # nobody sits there
    seats[seat] = gain
    shifts, total = _merge(seats, rooms)
    return shifts[seat], total


def _rank_in_group(group: Ints) -> Ints:
    """Position of each element among those of its (ascending) group."""
    return np.arange(len(group)) - np.searchsorted(group, group)


def _merge(gain: Floats, rooms: _Rooms | None = None) -> tuple[Ints, float]:
    merges: list[tuple[Ints, int, int]] = []
    level = gain
    while True:
        if rooms is not None and len(level) == len(rooms.items):
            shift = np.arange(level.shape[1]) - level.shape[1] // 2
            level = np.where(shift <= rooms.items[:, None], level, -np.inf)
        if len(level) <= 2:
            break
        paired, reach = len(level) // 2 * 2, level.shape[1] // 2
        furthest = _REACH if len(level) <= _MANY else _NEAR
        merged, left = _convolve(level[0:paired:2], level[1:paired:2], furthest)
        merges.append((left, reach, len(level) - paired))
        if len(level) > paired:
            merged = np.concatenate([merged, _widened(level[paired:], merged.shape[1])])
        level = merged
    shifts, total = _balance(level)
    if total == -np.inf:
        return np.zeros(len(gain), np.int64), total
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


def _convolve(a: Floats, b: Floats, furthest: int) -> tuple[Floats, Ints]:
    """Max-plus convolution of rows, and for each sum the column of `a` that reaches it."""
    columns = _columns(a.shape[1] // 2, furthest)
    padded = np.full((len(b), b.shape[1] + 1), -np.inf)
    padded[:, :-1] = b
    sums = padded.take(columns, axis=1)
    sums += a[:, None, :]
    first = sums.argmax(axis=2)
    cells = np.arange(first.size).reshape(first.shape) * a.shape[1]
    return sums.take(cells + first), first


@lru_cache(maxsize=64)
def _columns(reach: int, furthest: int) -> Ints:
    """(sums, columns of a) the column of `b` that completes each sum; one past its end where there is none."""
    furthest = min(2 * reach, max(furthest, reach))
    shift = np.arange(-furthest, furthest + 1)[:, None] - np.arange(-reach, reach + 1)
    return np.where(abs(shift) <= reach, shift + reach, 2 * reach + 1)
