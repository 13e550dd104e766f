"""A plan made faster by many small changes at once, chosen together and judged by the cost model.

Each processor has a few thousand neighbours of what it does now: some items taken from one of its variants, some given
to another. For a deadline a little earlier than the plan's end, the most accuracy that each can have with so many items
more or less is tabulated, and the changes are chosen by max-plus convolution such that no item is lost: first within a
node, whose last input has to come before its longest call, then over all nodes. The deadline falls as long as that
keeps the floor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from equipoise.planning.predict import Prediction
from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem

Bools = npt.NDArray[np.bool_]

_REACH = 16  # items more or less for a processor or node in one step
_STEPS = (0.05, 0.02, 0.007, 0.002, 5e-4, 1e-4)  # relative, by which the deadline falls
_TRIES = 60  # deadlines at most
_REPAIRS = 3  # of a step that the cost model finds late or too large
_ENDS = 6  # longest calls tried per node
_PRICES = (0.1, 0.5, 2.5)  # of input bytes, relative to what variants gain by theirs

# K[i, k]: which entry of the second table goes with entry i of the first, to make entry k; the last one is -inf.
_SPAN = 2 * _REACH + 1
_PAIRS = np.arange(_SPAN)[None, :] - np.arange(_SPAN)[:, None] + _REACH
_PAIRS = np.where((_PAIRS >= 0) & (_PAIRS < _SPAN), _PAIRS, _SPAN)


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What a processor could do instead, by rising accuracy; K of them."""

    counts: Ints  # (K, V)
    more: Ints  # (K,) items more than now, as an index of a table
    gain: Floats  # (K,) accuracy x items more than now
    busy_until_s: Floats  # (K,)
    longest_call_s: Floats  # (K,)
    memory_bytes: Floats  # (K,) more than now
    input_bytes: Floats  # (K,) more than now


class _Table(NamedTuple):
    """The most accuracy for so many items more, and the options chosen for it, by processor."""

    gain: Floats  # (_SPAN,)
    sent_bytes: Floats  # (_SPAN,) more than now
    chosen: Ints  # (_SPAN, processors)


def polished(problem: Problem, found: Prediction, least_s: float) -> Prediction:
    """A plan at least as fast that keeps the floor and the limits; no search below `least_s`, which none can beat."""
    return _Search(problem, found).run(least_s)


class _Search:
    """The search from one plan onwards."""

    def __init__(self, problem: Problem, found: Prediction) -> None:
        self._problem, self._fleet = problem, problem.fleet
        self._best = found
        self._counts: Ints = np.zeros(problem.usable.shape, np.int64)
        for share in found.shares:
            self._counts[self._fleet.index[share.pid], self._fleet.column[share.variant]] += share.items
        self._rows = [np.flatnonzero(self._fleet.node == n) for n in range(len(self._fleet.node_memory_bytes))]
        self._options: dict[int, _Options] = {}
        self._call_s = np.where(problem.usable, self._fleet.call_s, 0.0)

    def run(self, least_s: float) -> Prediction:
        """The best plan found."""
        step = 0
        for _ in range(_TRIES):
            deadline_s = self._best.latency_s * (1 - _STEPS[step])
            if deadline_s < least_s or not self._improve(deadline_s):
                step += 1
            if step == len(_STEPS):
                break
        return self._best

    def _improve(self, deadline_s: float) -> bool:
        """True if a plan for this deadline was found; it is the best one then."""
        may_grow = np.ones(len(self._rows), dtype=bool)
        price = 0.0
        for _ in range(_REPAIRS):
            counts = self._changed(deadline_s, price, may_grow)
            if counts is None:
                return False
            found = self._problem.predict_counts(counts)
            if found.latency_s < self._best.latency_s * (1 - TOLERANCE) and self._problem.keeps(found):
                self._adopt(counts, found)
                return True
            may_grow &= [node.name not in found.overfull for node in self._fleet.cluster.nodes]
            if not found.overfull:
                price = max(4 * price, self._prices[min(1, len(self._prices) - 1)])
        return False

    @cached_property
    def _prices(self) -> list[float]:
        """Accuracy per input byte: none, and around what the variants' differences suggest."""
        differ = float(np.ptp(self._fleet.input_bytes))
        if not self._fleet.has_links or differ == 0:
            return [0.0]
        return [0.0, *(float(np.ptp(self._fleet.accuracy)) / differ * factor for factor in _PRICES)]

    def _adopt(self, counts: Ints, found: Prediction) -> None:
        for p in np.flatnonzero((counts != self._counts).any(axis=1)):
            for other in self._rows[self._fleet.node[p]]:
                self._options.pop(int(other), None)
        self._counts, self._best = counts, found

    # --- all processors together -------------------------------------------------------------------------------------

    def _changed(self, deadline_s: float, price: float, may_grow: Bools) -> Ints | None:
        """(P, V) counts of the most accurate change that is in time; None if it misses the floor."""
        problem, fleet = self._problem, self._fleet
        tables = []
        for n in range(len(self._rows)):
            table = self._of_node(n, deadline_s, price, bool(may_grow[n]))
            if table is None:
                return None
            tables.append(table)
        total = tables[0]
        for table in tables[1:]:
            total = _together(total, table, price)
        earned = float((self._counts * fleet.accuracy).sum()) + total.gain[_REACH]
        if not earned >= problem.floor * problem.items - TOLERANCE:
            return None
        counts: Ints = self._counts.copy()
        for p, option in zip(np.concatenate(self._rows), total.chosen[_REACH], strict=True):
            counts[p] = self._options[int(p)].counts[option]
        return counts

    def _of_node(self, n: int, deadline_s: float, price: float, may_grow: bool) -> _Table | None:
        """The best table over the longest calls that the node may end with; None if there is nothing in time."""
        best: _Table | None = None
        for call_s, most_bytes in self._ends(n, deadline_s):
            for more in self._prices:
                table = self._in_node(n, deadline_s, call_s, price + more, may_grow)
                in_time = table.sent_bytes <= most_bytes
                kept = table._replace(gain=np.where(in_time, table.gain, -np.inf))
                best = kept if best is None else _either(best, kept, price)
                if in_time.all():
                    break
        return best if best is not None and np.isfinite(best.gain).any() else None

    def _in_node(self, n: int, deadline_s: float, call_s: float, price: float, may_grow: bool) -> _Table:
        first, *others = (self._of_processor(int(p), deadline_s, call_s, price, may_grow) for p in self._rows[n])
        for other in others:
            first = _together(first, other, price)
        return first

    def _ends(self, n: int, deadline_s: float) -> Iterator[tuple[float, float]]:
        """(longest call, input bytes more at most) with which the last call of a node is over in time."""
        fleet, rows = self._fleet, self._rows[n]
        sent = (self._counts @ fleet.input_bytes).astype(float)
        if not fleet.has_links or not fleet.input_bytes.any():
            yield np.inf, np.inf
            return
        left_s = deadline_s - float(fleet.node_link_s[n])
        calls_s = np.unique(np.concatenate([self._options_of(int(p)).longest_call_s for p in rows]))
        calls_s = calls_s[calls_s <= left_s - sent.sum() / fleet.uplink_bytes_per_s]
        room = (left_s - calls_s) * fleet.bandwidth_bytes_per_s[n] * (1 + TOLERANCE) - sent[rows].sum()
        reach = _REACH * float(fleet.input_bytes.max())
        calls_s, room = calls_s[room >= -reach], room[room >= -reach]
        wide = np.flatnonzero(room >= reach)
        kept = np.arange(wide[-1] if len(wide) else 0, len(calls_s))[::-1]
        for k in kept[:: max(1, -(-len(kept) // _ENDS))]:
            yield float(calls_s[k]), float(room[k])

    def _of_processor(self, p: int, deadline_s: float, call_s: float, price: float, may_grow: bool) -> _Table:
        options = self._options_of(p)
        n = int(self._fleet.node[p])
        ok = (options.busy_until_s <= deadline_s) & (options.longest_call_s <= call_s)
        free_bytes = self._free_bytes(n) if may_grow else 0.0
        ok &= options.memory_bytes <= max(0.0, free_bytes)
        which = np.flatnonzero(ok)
        if price:
            which = which[np.argsort((options.gain - price * options.input_bytes)[which], kind="stable")]
        gain, sent, chosen = np.full(_SPAN, -np.inf), np.zeros(_SPAN), np.zeros((_SPAN, 1), np.int64)
        more = options.more[which]
        gain[more] = options.gain[which]  # the last one counts, which is the best
        sent[more] = options.input_bytes[which]
        chosen[more, 0] = which
        return _Table(gain, sent, chosen)

    def _free_bytes(self, n: int) -> float:
        rows = self._rows[n]
        held = float((self._fleet.memory_bytes[rows] * (self._counts[rows] > 0)).sum())
        return float(self._fleet.node_memory_bytes[n]) - held

    # --- one processor -----------------------------------------------------------------------------------------------

    def _options_of(self, p: int) -> _Options:
        known = self._options.get(p)
        if known is None:
            known = self._options[p] = self._judged(p, self._neighbours(p))
        return known

    def _neighbours(self, p: int) -> Ints:
        """(K, V) counts within reach: some items of one variant taken away, some of another one added."""
        now, size = self._counts[p], self._fleet.batch[p]
        rows: list[Ints] = [now]
        taken = [(int(v), k) for v in np.flatnonzero(now) for k in _amounts_to_take(int(now[v]), int(size[v]))]
        for v, away in [(-1, 0), *taken]:
            for w in np.flatnonzero(self._problem.usable[p]):
                if w == v:
                    continue
                for more in _amounts_to_add(int(now[w]), int(size[w]), away):
                    if abs(more - away) <= _REACH:
                        row = now.copy()
                        if v >= 0:
                            row[v] -= away
                        row[w] += more
                        rows.append(row)
        return np.array(rows)

    def _judged(self, p: int, counts: Ints) -> _Options:
        fleet, ready, now = self._fleet, self._problem.readiness, self._counts[p]
        calls, rest = np.divmod(counts, fleet.batch[p])
        rest_s = fleet.rest_s[fleet.rest_at[p] + rest]
        used = counts > 0
        busy_s = (calls * self._call_s[p] + rest_s).sum(axis=1)
        if ready.load_s is not None:
            busy_s = busy_s + np.where(used, ready.load_s[p], 0.0).sum(axis=1)
        waits = used & (fleet.input_bytes > 0)
        longest_s = np.where(waits, np.where(calls > 0, self._call_s[p], rest_s), 0.0).max(axis=1) / ready.speed[p]
        gain = (counts - now) @ fleet.accuracy
        order = np.lexsort((-busy_s, gain))
        until_s = np.where(used.any(axis=1), ready.start_s[p] + busy_s / ready.speed[p], 0.0)
        grown = (used @ fleet.memory_bytes[p]) - float((now > 0) @ fleet.memory_bytes[p])
        return _Options(
            counts=counts[order],
            more=(counts.sum(axis=1) - now.sum())[order] + _REACH,
            gain=gain[order],
            busy_until_s=until_s[order],
            longest_call_s=longest_s[order],
            memory_bytes=grown[order],
            input_bytes=((counts - now) @ fleet.input_bytes)[order],
        )


def _amounts_to_take(items: int, size: int) -> set[int]:
    """Of a share: an item, the incomplete call, whole calls, everything."""
    rest = items % size
    return {k for k in (1, 2, rest, size, size + rest, 2 * size, items) if 0 < k <= items}


def _amounts_to_add(items: int, size: int, away: int) -> set[int]:
    """To a share: an item, what makes its calls whole, whole calls, as many as were taken away; or nothing."""
    fill = -items % size
    return {
        0,
        1,
        2,
        fill,
        size,
        fill + size,
        2 * size,
        away,
        max(0, away - 1),
        max(0, away - size),
        away // size * size,
    }


def _together(a: _Table, b: _Table, price: float) -> _Table:
    """Of two groups of processors, with a price on input bytes."""
    worth = (b.gain - price * b.sent_bytes, a.gain - price * a.sent_bytes)
    sums = worth[1][:, None] + np.append(worth[0], -np.inf)[_PAIRS]
    first = sums.argmax(axis=0)
    second = np.minimum(_PAIRS[first, np.arange(_SPAN)], _SPAN - 1)
    gain = np.where(np.isfinite(sums.max(axis=0)), a.gain[first] + b.gain[second], -np.inf)
    return _Table(
        gain,
        a.sent_bytes[first] + b.sent_bytes[second],
        np.concatenate([a.chosen[first], b.chosen[second]], axis=1),
    )


def _either(a: _Table, b: _Table, price: float) -> _Table:
    """The better of two ways for the same processors."""
    first = a.gain - price * a.sent_bytes >= b.gain - price * b.sent_bytes
    return _Table(
        np.where(first, a.gain, b.gain),
        np.where(first, a.sent_bytes, b.sent_bytes),
        np.where(first[:, None], a.chosen, b.chosen),
    )
