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

from equipoise.planning.fleet import NEVER_S, Ladder, Pairs
from equipoise.planning.fluid import Inlet

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_LEAST_WINDOW, _MOST_WINDOW = 3, 16  # items more or fewer than the fluid optimum that are looked at on a processor
_LARGEST_TABLE = 200_000  # cells; the window is as wide as this allows
_REACH = 24  # items that groups of processors may exchange with one another
_MANY, _NEAR = 64, 4  # of more groups than this, only so many: what is left over finds a place nearby
_FIT = 1e-9  # relative: how much a sum of latencies may exceed the time by floating-point error alone
_KEPT_ROWS = 64  # of more processors it takes longer to see what has changed than to work all out again
_COUNTABLE = 2.0**62  # items that an integer can count; more would be wrong, not many


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Counts (P, H) of items per rung of each processor's ladder, and their total gain."""

    counts: Ints
    gain: float


@dataclass(frozen=True, kw_only=True)
class Calls:
    """How items make calls, by rung (P, H): see Fleet.run_s."""

    batch: Ints
    call_s: Floats
    rest_at: Ints
    rest_s: Floats  # flat

    def only(self, rungs: Ints) -> Calls:
        """Those of some rungs (P, K) of each processor."""
        return Calls(
            batch=np.take_along_axis(self.batch, rungs, 1),
            call_s=np.take_along_axis(self.call_s, rungs, 1),
            rest_at=np.take_along_axis(self.rest_at, rungs, 1),
            rest_s=self.rest_s,
        )

    def run_s(self, rungs: Ints, items: Floats) -> Floats:
        """Seconds for `items` (P, W, N) of `rungs` (N,)."""
        calls, rest = np.divmod(items.astype(np.int64), self.batch[:, None, rungs])
        seconds: Floats = calls * self.call_s[:, None, rungs] + self.rest_s[self.rest_at[:, None, rungs] + rest]
        return seconds


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a mix has to respect on each processor."""

    time_s: Floats  # (P,) seconds at profile speed
    inlet: Inlet | None = None  # what can come in; None if everything can
    load_s: Floats | None = None  # (P, H) of using a rung at all; None if there is none
    calls: Calls | None = None  # None if every rung runs best one item at a time
    together: Bools | None = None  # (P, H, H) rungs whose memory fits together; None if all do

    @property
    def is_linear(self) -> bool:
        """True if n items of a rung cost n times what one costs."""
        return self.load_s is None and self.calls is None


class _Table(NamedTuple):
    """The best gain of n items by pair and by triple of rungs, for every count n of a window."""

    window: Ints  # (P, W)
    pair_gain: Floats  # (P, W, N); -inf where n items do not fit
    slow_items: Floats  # (P, W, N)
    triple_gain: Floats | None  # (P, W, T)
    lifted_items: Floats | None  # (P, W, T)


class _Mixes(NamedTuple):
    """The best mix of n items on each processor, for every n of its window."""

    window: Ints  # (P, W)
    figures: Floats  # (5, P, W) as below

    @property
    def gain(self) -> Floats:
        """(P, W); -inf where n items do not fit, or n is negative."""
        gain: Floats = self.figures[_GAIN]
        return gain


# Figures of a mix: slow items run on the slow rung of the pair, lifted items on the middle one, others on the fast one.
_GAIN, _PAIR, _SLOW_ITEMS, _MIDDLE, _LIFTED_ITEMS = range(5)


class _Kept(NamedTuple):
    """Mixes, and the seconds (P,) that they were drawn up for."""

    time_s: Floats
    mixes: _Mixes


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
    if terms.is_linear and terms.together is None and len(base) <= _KEPT_ROWS:
        mixes = _mixes_again(ladder, terms.time_s, window)
    elif terms.is_linear:
        mixes = _mixes(ladder.pairs, _tabulate(ladder.pairs, terms, window))
    else:
        mixes = _mixes(ladder.pairs, _tabulate_calls(ladder, terms, window))
    shifts, gain = _choose(mixes.gain, None if terms.inlet is None else _rooms(terms.inlet, base))
    if gain == -np.inf:
        return None
    return Mix(counts=_counts(ladder.pairs, mixes, shifts + reach), gain=gain)


def _mixes_again(ladder: Ladder, time_s: Floats, window: Ints) -> _Mixes:
    """The best mixes, drawn up for those processors only whose time or window is another than it was last.

    Where one processor slows down, the others mostly keep theirs.
    """
    known, mixes = ladder.kept.answer, None
    if isinstance(known, _Kept) and known.mixes.window.shape == window.shape:
        changed = (known.time_s != time_s) | (known.mixes.window[:, 0] != window[:, 0])
        mixes = _with_changed(known.mixes, ladder, time_s, window, changed.nonzero()[0].tolist())
    if mixes is None:
        mixes = _mixes(ladder.pairs, _tabulate(ladder.pairs, Terms(time_s=time_s), window))
    ladder.kept.answer = _Kept(time_s, mixes)
    return mixes


def _with_changed(known: _Mixes, ladder: Ladder, time_s: Floats, window: Ints, rows: list[int]) -> _Mixes | None:
    """The mixes with some rows drawn up again; None where that is no less work than all of them."""
    if not rows:
        return known
    if 2 * len(rows) > len(time_s):
        return None
    pairs, figures = ladder.pairs.of_rows(rows), known.figures.copy()
    figures[:, rows] = _mixes(pairs, _tabulate(pairs, Terms(time_s=time_s[rows]), window[rows])).figures
    return _Mixes(window, figures)


def _mixes(pairs: Pairs, table: _Table) -> _Mixes:
    """The best of each count's pairs and triples."""
    window, cells = table.window, np.arange(table.window.size).reshape(table.window.shape)
    figures = np.zeros((5, *window.shape))
    pair = table.pair_gain.argmax(axis=2)
    gain = table.pair_gain.take(cells * table.pair_gain.shape[2] + pair)
    if table.triple_gain is not None and table.lifted_items is not None:
        triple = table.triple_gain.argmax(axis=2)
        at = cells * table.triple_gain.shape[2] + triple
        with_lifts = table.triple_gain.take(at)
        lifts = with_lifts > gain
        gain = np.maximum(gain, with_lifts)
        pair = np.where(lifts, pairs.of.take(triple), pair)
        figures[_MIDDLE] = lifts * pairs.middle.take(triple)
        figures[_LIFTED_ITEMS] = lifts * table.lifted_items.take(at)
    gain[window < 0] = -np.inf
    figures[_GAIN], figures[_PAIR] = gain, pair
    figures[_SLOW_ITEMS] = table.slow_items.take(cells * table.slow_items.shape[2] + pair)
    return _Mixes(window, figures)


def _rooms(inlet: Inlet, base: Ints) -> _Rooms:
    """How many more items than `base` (P,) each node's inlet lets in."""
    taken = np.bincount(inlet.node, base, minlength=len(inlet.most_items))
    room = np.floor(inlet.most_items * (1 + _FIT)) - taken
    return _Rooms(inlet.node, np.clip(room, -_REACH, _REACH).astype(np.int64))


def _window_reach(ladder: Ladder) -> int:
    """How far from the fluid optimum to look: one processor may have to take what rounding cost all the others."""
    rows, cells = len(ladder.item_s), ladder.pairs.figures.size // 4 + ladder.pairs.lifts.size // 2
    return max(_LEAST_WINDOW, min(2 * rows, _MOST_WINDOW, _LARGEST_TABLE // (2 * cells)))


def _most_items(ladder: Ladder, terms: Terms) -> Ints:
    """(P,) items that fit if each processor runs a single variant."""
    room_s = terms.time_s[:, None] * (1 + _FIT)
    if terms.load_s is not None:
        room_s = np.maximum(room_s - terms.load_s, 0.0)
    most: Floats = (np.minimum(room_s, NEVER_S) / ladder.item_s).max(axis=1)
    if terms.inlet is not None:
        most = np.minimum(most, terms.inlet.most_items[terms.inlet.node] * (1 + _FIT))
    return np.minimum(most, _COUNTABLE).astype(np.int64)


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


def _tabulate(pairs: Pairs, terms: Terms, window: Ints) -> _Table:
    """f(n) by pair of rungs: as many items on the slow one as there is time for, what is left over spent on lifts."""
    fast_s, step_s, fast_gain, step_gain = pairs.figures
    n = np.maximum(window, 0)[:, :, None]
    spare_s = (terms.time_s * (1 + _FIT))[:, None, None] - n * fast_s
    unfit = spare_s < 0
    if terms.together is not None:
        unfit |= ~terms.together[:, None, pairs.slow, pairs.fast]
    x = np.floor(np.minimum(spare_s / step_s, n))
    gain = n * fast_gain + x * step_gain
    gain[unfit] = -np.inf
    if terms.together is not None:
        gain[window == 0] = 0.0  # nothing to do needs no memory
    if terms.together is not None or not len(pairs.of):  # three variants at once are for a planner that weighs memory
        return _Table(window, gain, x, None, None)
    lift_s, lift_gain = pairs.lifts
    spare_s -= x * step_s
    lifted = np.floor(np.minimum(spare_s.take(pairs.of, axis=2) / lift_s, (n - x).take(pairs.of, axis=2)))
    return _Table(window, gain, x, gain.take(pairs.of, axis=2) + lifted * lift_gain, lifted)


def _tabulate_calls(ladder: Ladder, terms: Terms, window: Ints) -> _Table:
    """The same where loads and incomplete calls cost extra: the most items on the slow rung for which there is time.

    Beside as many as the straight line allows, counts are tried that leave one of the two rungs no incomplete call.
    """
    pairs = ladder.pairs
    fast_s, step_s, fast_gain, step_gain = pairs.figures
    n = np.maximum(window, 0)[:, :, None]
    room_s = _room_s(ladder, terms)[:, None, :]
    spare_s = room_s - n * fast_s
    straight = np.floor(np.clip(spare_s / step_s, 0.0, n))
    tried = [straight]
    if terms.calls is not None:
        slow_batch, fast_batch = terms.calls.batch[:, None, pairs.slow], terms.calls.batch[:, None, pairs.fast]
        tried.append(straight - straight % slow_batch)
        tried.append(np.maximum(0.0, n - np.ceil((n - straight) / fast_batch) * fast_batch))
        tried.append(np.maximum(0.0, tried[2] - tried[2] % slow_batch))
    best = np.full(straight.shape, -1.0)
    for x in tried:
        if terms.calls is None:
            fits = n * fast_s + x * np.where(step_s < NEVER_S, step_s, 0.0) <= room_s
        else:
            fits = terms.calls.run_s(pairs.slow, x) + terms.calls.run_s(pairs.fast, n - x) <= room_s
        best = np.maximum(best, np.where(fits, x, -1.0))
    gain = n * fast_gain + best * step_gain
    gain[best < 0] = -np.inf
    if terms.together is not None:
        gain[np.broadcast_to(~terms.together[:, None, pairs.slow, pairs.fast], gain.shape)] = -np.inf
    gain[window == 0] = 0.0  # nothing to do costs nothing
    return _Table(window, gain, np.maximum(best, 0.0), None, None)


def _room_s(ladder: Ladder, terms: Terms) -> Floats:
    """(P, N) or (P, 1) seconds for items, once the rungs of each pair are there."""
    room_s = terms.time_s[:, None] * (1 + _FIT)
    if terms.load_s is None:
        return room_s
    pairs = ladder.pairs
    slow_load_s = np.where(pairs.slow == pairs.fast, 0.0, terms.load_s[:, pairs.slow])
    return room_s - terms.load_s[:, pairs.fast] - slow_load_s


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


def _counts(pairs: Pairs, mixes: _Mixes, chosen: Ints) -> Ints:
    """Items per rung (P, H) for the chosen column of each processor's window."""
    rows = np.arange(len(chosen))
    items = mixes.window[rows, chosen]
    figures = mixes.figures[1:, rows, chosen] * (items > 0)
    pair, slow_items, middle, lifted_items = figures.astype(np.int64)
    counts = np.zeros((len(chosen), int(pairs.slow[-1]) + 1), np.int64)
    counts[rows, middle] = lifted_items
    counts[rows, pairs.slow.take(pair)] += slow_items
    counts[rows, pairs.fast.take(pair)] += items - lifted_items - slow_items
    return counts
