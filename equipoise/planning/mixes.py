"""The best mixes of variants that fit into each processor's time, for every count of a window.

For each processor, f(n) is the most gain from exactly n whole items in its time. The best mix of n items uses two rungs
of its ladder almost always (a linear program with two constraints has two basic variables); what rounding leaves over
may pay for lifting one or two items to a third.

Where nothing has a fixed cost, f is kept with the ladder: when one processor slows down, the others mostly keep theirs.
Where loads and calls are charged, all pairs of rungs are tried for a few counts, and the likely ones for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from equipoise.planning.fluid import Inlet
from equipoise.planning.ladders import Ladder, Pairs

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FIT = 1e-9  # relative: how much a sum of latencies may exceed the time by floating-point error alone
_LIKELY = 8  # pairs per processor that are tried for every count where calls and loads are charged
_SAMPLE = np.linspace(0.0, 1.0, 4)  # parts of a window at which all pairs are tried
_MOSTLY = 0.1  # what falling short on average counts, beside falling short at the best place
_HOPELESS = 0.3  # of gain: what does not fit, beside what may be best elsewhere
_KEPT_ROWS = 64  # of more processors it takes longer to see what has changed than to work all out again


@dataclass(frozen=True, kw_only=True)
class Calls:
    """How items make calls, by rung: see Fleet.run_s."""

    figures: Floats  # (3, P, H) batch, seconds of a whole call, where incomplete calls begin in `rest_s`
    rest_s: Floats  # flat

    def only(self, rungs: Ints) -> Calls:
        """Those of some rungs (P, K) of each processor."""
        return Calls(figures=self.figures[:, np.arange(len(rungs))[:, None], rungs], rest_s=self.rest_s)

    def run_s(self, rungs: Floats, items: Floats) -> Floats:
        """Seconds for `items`, whole numbers, where `rungs` are figures of that shape."""
        batch, call_s, rest_at = rungs
        calls: Floats = np.floor(items / batch)
        rest = items - calls * batch
        rest += rest_at
        calls *= call_s
        calls += self.rest_s.take(rest.astype(np.intp))
        return calls


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a mix has to respect on each processor."""

    time_s: Floats  # (P,) seconds at profile speed
    inlet: Inlet | None = None  # what can come in; None if everything can
    load_s: Floats | None = None  # (P, H) of using a rung at all; None if there is none
    calls: Calls | None = None  # None if every rung runs best one item at a time
    together: Bools | None = None  # (P, H, H) rungs whose memory fits together; None if all do
    rung_bytes: Floats | None = None  # (P, H) of an item's input; None where `most_bytes` is
    most_bytes: Floats | None = None  # (P,) that may come in; None if everything may

    @property
    def is_linear(self) -> bool:
        """True if n items of a rung cost n times what one costs."""
        return self.load_s is None and self.calls is None and self.most_bytes is None


class _Table(NamedTuple):
    """The best gain of n items by pair and by triple of rungs, for every count n of a window."""

    window: Ints  # (P, W)
    pair_gain: Floats  # (P, W, N); -inf where n items do not fit
    slow_items: Floats  # (P, W, N)
    triple_gain: Floats | None  # (P, W, T)
    lifted_items: Floats | None  # (P, W, T)
    of: Ints | None = None  # (P, N) the pairs that these are; None for all of them


class Mixes(NamedTuple):
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
    mixes: Mixes


def best_mixes(ladder: Ladder, terms: Terms, window: Ints, *, all_pairs: bool = False) -> Mixes:
    """The best mixes for the counts of a window (P, W).

    all_pairs   True to try all pairs of rungs for every count also where loads and calls are charged
    """
    if not terms.is_linear:
        return _mixes(ladder.pairs, _tabulate_calls(ladder, terms, window, all_pairs=all_pairs))
    if terms.together is None and len(window) <= _KEPT_ROWS:
        return _mixes_again(ladder, terms.time_s, window)
    return _mixes(ladder.pairs, _tabulate(ladder.pairs, terms, window))


def _mixes_again(ladder: Ladder, time_s: Floats, window: Ints) -> Mixes:
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


def _with_changed(known: Mixes, ladder: Ladder, time_s: Floats, window: Ints, rows: list[int]) -> Mixes | None:
    """The mixes with some rows drawn up again; None where that is no less work than all of them."""
    if not rows:
        return known
    if 2 * len(rows) > len(time_s):
        return None
    pairs, figures = ladder.pairs.of_rows(rows), known.figures.copy()
    figures[:, rows] = _mixes(pairs, _tabulate(pairs, Terms(time_s=time_s[rows]), window[rows])).figures
    return Mixes(window, figures)


def _mixes(pairs: Pairs, table: _Table) -> Mixes:
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
    if table.of is not None:
        figures[_PAIR] = np.take_along_axis(table.of, pair, 1)
    return Mixes(window, figures)


def _tabulate(pairs: Pairs, terms: Terms, window: Ints) -> _Table:
    """f(n) by pair of rungs: as many items on the slow one as there is time for, what is left over spent on lifts."""
    fast_s, step_s, fast_gain, step_gain = pairs.figures
    n = np.maximum(window, 0)[:, :, None]
    spare_s = (terms.time_s * (1 + FIT))[:, None, None] - n * fast_s
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


def _tabulate_calls(ladder: Ladder, terms: Terms, window: Ints, *, all_pairs: bool = False) -> _Table:
    """The same where loads and incomplete calls cost extra: the most items on the slow rung for which there is time.

    Unless all pairs are asked for, they are tried for a few counts of the window, and for the others only those that
    are best there.
    """
    columns, number = _columns_of(ladder, terms), len(ladder.pairs.slow)
    if all_pairs or number <= _LIKELY or window.shape[1] <= len(_SAMPLE):
        gain, slow_items = _fitted(columns, np.maximum(window, 0), terms)
        gain[window == 0] = 0.0  # nothing to do costs nothing
        return _Table(window, gain, slow_items, None, None)
    likely = _likely(_fitted(columns, _sample(window), terms)[0])
    columns = columns[:, np.arange(len(window))[:, None], likely]
    gain, slow_items = _fitted(columns, np.maximum(window, 0), terms)
    gain[window == 0] = 0.0
    return _Table(window, gain, slow_items, None, None, likely)


# Figures of a pair on a processor, one layer each.
_FAST_S, _STEP_S, _FAST_GAIN, _STEP_GAIN, _ROOM_S, _FAST_BYTES, _STEP_BYTES, _MOST_BYTES = range(8)
_SLOW_CALLS, _FAST_CALLS = slice(8, 11), slice(11, 14)  # batch, seconds of a call, where incomplete ones begin


def _columns_of(ladder: Ladder, terms: Terms) -> Floats:
    """(14, P, N) what is to be known of each pair; room that is negative where a pair must not be used."""
    pairs = ladder.pairs
    columns = np.empty((14, pairs.figures.shape[1], len(pairs.slow)))
    columns[:4] = pairs.figures[:, :, 0]
    columns[_ROOM_S] = _room_s(ladder, terms)
    if terms.together is not None:
        columns[_ROOM_S][~terms.together[:, pairs.slow, pairs.fast]] = -1.0
    if terms.rung_bytes is not None and terms.most_bytes is not None:
        fast_bytes = terms.rung_bytes[:, pairs.fast]
        columns[_FAST_BYTES], columns[_STEP_BYTES] = fast_bytes, terms.rung_bytes[:, pairs.slow] - fast_bytes
        columns[_MOST_BYTES] = terms.most_bytes[:, None] * (1 + FIT)
    if terms.calls is not None:
        by_rung = terms.calls.figures
        columns[_SLOW_CALLS], columns[_FAST_CALLS] = by_rung[:, :, pairs.slow], by_rung[:, :, pairs.fast]
    return columns


def _sample(window: Ints) -> Ints:
    """(P, S) counts of each window that stand for all of it."""
    first = np.maximum(window[:, :1], 1)
    sample: Ints = first + ((np.maximum(window[:, -1:], 1) - first) * _SAMPLE).astype(np.int64)
    return sample


def _likely(gain: Floats) -> Ints:
    """(P, _LIKELY) the pairs that come closest to the best somewhere in a sample (P, S, N), and mostly."""
    short = np.minimum(gain.max(axis=2, keepdims=True, initial=0.0) - gain, _HOPELESS)
    rank = short.min(axis=1) + _MOSTLY * short.mean(axis=1)
    likely: Ints = rank.argpartition(_LIKELY - 1, axis=1)[:, :_LIKELY]
    return likely


def _fitted(columns: Floats, counts: Ints, terms: Terms) -> tuple[Floats, Floats]:
    """(P, W, K) the gain of `counts` (P, W) by pair, -inf where they do not fit, and how many are on the slow rung.

    Beside as many as the straight line allows, numbers are tried that leave one of the two rungs no incomplete call.
    """
    fast_s, step_s, fast_gain, step_gain, room_s = columns[:5, :, None, :]
    n = counts[:, :, None].astype(np.float64)
    spare_s = room_s - n * fast_s
    straight = np.floor(np.minimum(spare_s / step_s, n))
    if terms.most_bytes is not None:
        np.minimum(straight, _most_by_bytes(columns, n), out=straight)
    if terms.calls is None:
        best = np.where(spare_s >= 0, straight, -1.0)
    else:
        best = _most_on_slow(columns, n, np.maximum(straight, 0.0), room_s, terms.calls)
    if terms.most_bytes is not None:
        fast_bytes, step_bytes, most_bytes = columns[_FAST_BYTES : _MOST_BYTES + 1, :, None, :]
        best[n * fast_bytes + best * step_bytes > most_bytes] = -1.0
    gain = n * fast_gain + best * step_gain
    gain[best < 0] = -np.inf
    return gain, np.maximum(best, 0.0)


def _most_by_bytes(columns: Floats, n: Floats) -> Floats:
    """(P, W, K) the most items on the slow rung for which bytes may come in; n where the slow one's are not larger."""
    fast_bytes, step_bytes, most_bytes = columns[_FAST_BYTES : _MOST_BYTES + 1, :, None, :]
    most: Floats = (most_bytes - n * fast_bytes) / np.maximum(step_bytes, 1e-9)
    return np.floor(np.where(step_bytes > 0, most, n))


def _most_on_slow(columns: Floats, n: Floats, straight: Floats, room_s: Floats, calls: Calls) -> Floats:
    """(P, W, K) the most items on the slow rung, of up to four numbers; -1 where none of them is in time."""
    slow, fast = columns[_SLOW_CALLS, :, None, :], columns[_FAST_CALLS, :, None, :]
    slow_batch, slow_call_s, fast_batch = slow[0], slow[1], fast[0]
    fast_whole = np.maximum(0.0, n - np.ceil((n - straight) / fast_batch) * fast_batch)
    best = np.full(straight.shape, -1.0)
    for x in (straight, fast_whole):
        fits = calls.run_s(slow, x) + calls.run_s(fast, n - x) <= room_s
        np.maximum(best, x, out=best, where=fits)
        whole_calls = np.floor(x / slow_batch)
        whole = whole_calls * slow_batch
        fits = whole_calls * slow_call_s + calls.run_s(fast, n - whole) <= room_s
        np.maximum(best, whole, out=best, where=fits)
    return best


def _room_s(ladder: Ladder, terms: Terms) -> Floats:
    """(P, N) or (P, 1) seconds for items, once the rungs of each pair are there."""
    room_s = terms.time_s[:, None] * (1 + FIT)
    if terms.load_s is None:
        return room_s
    pairs = ladder.pairs
    slow_load_s = np.where(pairs.slow == pairs.fast, 0.0, terms.load_s[:, pairs.slow])
    return room_s - terms.load_s[:, pairs.fast] - slow_load_s


def counts_of(pairs: Pairs, mixes: Mixes, chosen: Ints) -> Ints:
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
