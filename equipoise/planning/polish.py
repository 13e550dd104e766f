"""A plan made better by many small changes at once, chosen together and judged by the cost model.

Each processor has thousands of changes (`changes.py`). For a deadline a little earlier than the plan's end, those that
bring most accuracy are chosen by max-plus convolution such that no item is lost: first within a node, for each longest
call that it may end with, since its last input has to come before that; then over all nodes, for each time that the
uplink may take. Where variants differ in the size of their inputs, bytes have a price, and several are tried. The
deadline falls as long as that keeps the floor. Where accuracy is preferred the deadline stays, and accuracy rises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from equipoise.core.request import Prefer
from equipoise.planning.changes import REACH, SPAN, Bools, Changes, Table
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem, relative_gap

_STEPS = (0.05, 0.02, 0.007, 0.002, 5e-4, 1e-4)  # relative, by which the deadline falls
_TRIES = 60  # deadlines at most
_REPAIRS = 3  # of a step whose variants do not fit into memory
_ENDS = 12  # longest calls tried per node where inputs differ in size
_PRICES = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)  # of input bytes, relative to what variants gain by theirs
_UNITS = (4, 1)  # items by which totals change, one after another
_AROUND = np.array((-4, -2, -1, 0, 1, 2, 4, 8, 16))  # last calls tried, of all by length, from the longest in time
_BELOW = 8  # and so many more, evenly spread over all that are shorter
_FAR_BELOW = 64  # the same where accuracy rises no more
_LOOSER = (0.03, 0.1)  # relative: how much later a deadline is for a while

# K[i, k]: which entry of the second table goes with entry i of the first, to make entry k; the last one is -inf.
_PAIRS = np.arange(SPAN)[None, :] - np.arange(SPAN)[:, None] + REACH
_PAIRS = np.where((_PAIRS >= 0) & (_PAIRS < SPAN), _PAIRS, SPAN)


def polished(problem: Problem, found: Prediction, least_s: float) -> Prediction:
    """A plan at least as good that keeps the floor and the limits.

    Least latency is looked for several times, since one descent may end where no few changes help: again from the most
    accurate plan that is near by if time is less dear for a while.

    found     the plan to start from
    least_s   a bound on latency that no plan can beat, below which none is looked for; unused if accuracy is preferred
    """
    best = _climbed(problem, found, least_s)
    for looser in _LOOSER if problem.prefer is Prefer.LATENCY else ():
        if relative_gap(best.latency_s, least_s) <= _STEPS[-1]:
            break
        elsewhere = _climbed(_for_accuracy(problem.due(best.latency_s * (1 + looser))), best, 0.0)
        again = _climbed(problem, elsewhere, least_s)
        best = again if problem.better(again, best) else best
    return best


def _climbed(problem: Problem, found: Prediction, least_s: float) -> Prediction:
    search = _Search(problem, found)
    for unit in _UNITS:
        search.run(unit, least_s)
    return search.best


def _for_accuracy(problem: Problem) -> Problem:
    requirement = msgspec.structs.replace(problem.request.requirement, prefer=Prefer.ACCURACY)
    return replace(problem, request=msgspec.structs.replace(problem.request, requirement=requirement))


@dataclass(frozen=True, kw_only=True)
class _Ends:
    """Longest calls that a node may end with, and what then may be sent to it."""

    calls_s: Floats  # (E,)
    starts_s: Floats  # (E,) how long before the deadline they begin, link latency included; -inf for none
    room_bytes: Floats  # (E,) more than now


class _Search:
    """The search from one plan onwards."""

    def __init__(self, problem: Problem, found: Prediction) -> None:
        self._problem, self._fleet = problem, problem.fleet
        self.best = found
        self._counts: Ints = np.zeros(problem.usable.shape, np.int64)
        for share in found.shares:
            self._counts[self._fleet.index[share.pid], self._fleet.column[share.variant]] += share.items
        self._rows = [np.flatnonzero(self._fleet.node == n) for n in range(len(self._fleet.node_memory_bytes))]
        self._changes: dict[int, Changes] = {}
        self._prices = _prices_of(problem)
        self._unit = 1

    def run(self, unit: int, least_s: float) -> None:
        """Improve the best plan while that works, by changing totals by multiples of so many items."""
        self._unit = unit
        self._changes.clear()
        if self._problem.prefer is Prefer.ACCURACY:
            self._let_accuracy_rise()
        else:
            self._let_deadline_fall(least_s)

    def _let_accuracy_rise(self) -> None:
        for _ in range(_TRIES):
            earned = self.best.accuracy * self._problem.items
            if not self._improve(self._problem.deadline_s, earned * (1 + TOLERANCE)):
                break

    def _let_deadline_fall(self, least_s: float) -> None:
        step = 0
        for _ in range(_TRIES):
            deadline_s = self.best.latency_s * (1 - _STEPS[step])
            if deadline_s < least_s or not self._improve(deadline_s, self._problem.floor * self._problem.items):
                step += 1
            if step == len(_STEPS):
                break

    def _improve(self, deadline_s: float, enough: float) -> bool:
        """True if a plan for this deadline was found that earns enough; it is the best one then."""
        far = (_FAR_BELOW,) if self._problem.prefer is Prefer.ACCURACY and len(self._prices) > 1 else ()
        return any(self._improve_among(deadline_s, enough, below) for below in (_BELOW, *far))

    def _improve_among(self, deadline_s: float, enough: float, below: int) -> bool:
        may_grow = np.ones(len(self._rows), dtype=bool)
        for _ in range(_REPAIRS):
            counts = self._changed(deadline_s, enough, may_grow, below)
            if counts is None:
                return False
            found = self._problem.predict_counts(counts)
            if self._problem.better(found, self.best) and self._problem.keeps(found):
                self._adopt(counts, found)
                return True
            if not found.overfull:
                return False
            may_grow &= [node.name not in found.overfull for node in self._fleet.cluster.nodes]
        return False

    def _adopt(self, counts: Ints, found: Prediction) -> None:
        for p in np.flatnonzero((counts != self._counts).any(axis=1)):
            for other in self._rows[self._fleet.node[p]]:  # what its memory has room for may be another
                self._changes.pop(int(other), None)
        self._counts, self.best = counts, found

    # --- all processors together -------------------------------------------------------------------------------------

    def _changed(self, deadline_s: float, enough: float, may_grow: Bools, below: int) -> Ints | None:
        """(P, V) counts of the most accurate change that is in time; None if it does not earn enough."""
        sent_bytes = (self._counts * self._fleet.input_bytes).sum(axis=1)
        late_s, more_bytes = self._uplink(deadline_s, float(sent_bytes.sum()), below)
        total: Table | None = None
        for n, rows in enumerate(self._rows):
            ends = self._ends(n, deadline_s, float(sent_bytes[rows].sum()), late_s)
            if not len(ends.calls_s):
                return None
            table = self._of_node(n, deadline_s, ends, late_s, bool(may_grow[n]))
            total = table if total is None else _together(total, table, self._prices)
        assert total is not None, "a cluster has nodes"
        gain = np.where(total.sent_bytes[..., REACH] <= more_bytes[:, None], total.gain[..., REACH], -np.inf)
        best = np.unravel_index(int(gain.argmax()), gain.shape)
        if not float((self._counts * self._fleet.accuracy).sum()) + gain[best] >= enough - TOLERANCE:
            return None
        counts: Ints = self._counts.copy()
        for p, change in zip(np.concatenate(self._rows), total.chosen[best][REACH], strict=True):
            counts[p] = self._changes_of(int(p)).applied(counts[p], int(change))
        return counts

    def _uplink(self, deadline_s: float, sent_bytes: float, below: int) -> tuple[Floats, Floats]:
        """(M,) by when inputs have to have left, before the deadline, and (M,) bytes more that can leave until then."""
        rate = self._fleet.uplink_bytes_per_s
        if not np.isfinite(rate) or sent_bytes == 0:
            return np.array([np.inf]), np.array([np.inf])
        late_s = np.array([deadline_s - sent_bytes / rate])
        if len(self._prices) > 1:
            link_s = self._fleet.link_s
            starts_s = np.unique(np.concatenate([self._changes_of(p).calls_s + link_s[p] for p in range(len(link_s))]))
            longest = int(np.searchsorted(starts_s, late_s[0], side="right")) - 1
            tried = np.concatenate([longest + _AROUND, np.linspace(0, longest, below).astype(int)])
            late_s = starts_s[np.unique(np.clip(tried, 0, len(starts_s) - 1))]
        return late_s * (1 + TOLERANCE), (deadline_s - late_s) * rate * (1 + TOLERANCE) - sent_bytes

    def _of_node(self, n: int, deadline_s: float, ends: _Ends, late_s: Floats, may_grow: bool) -> Table:
        """(M, prices, SPAN) the best over the calls that the node may end with."""
        table: Table | None = None
        for p in self._rows[n]:
            own = self._of_processor(int(p), deadline_s, ends.calls_s, may_grow)
            table = own if table is None else _together(table, own, self._prices[:, None])
        assert table is not None, "a node has processors"
        gain = np.where(table.sent_bytes <= ends.room_bytes[:, None], table.gain, -np.inf)
        flat = table._replace(gain=gain).as_rows()
        worth = flat.gain - self._prices[:, None, None] * flat.sent_bytes
        in_time = np.tile(ends.starts_s <= late_s[:, None], len(self._prices))  # (M, prices x E)
        at = np.array([np.where(row[None, :, None], worth, -np.inf).argmax(axis=1) for row in in_time])
        items = np.arange(SPAN)
        gain = np.where(in_time[np.arange(len(late_s))[:, None, None], at], flat.gain[at, items], -np.inf)
        return Table(gain, flat.sent_bytes[at, items], flat.chosen[at, items])

    def _ends(self, n: int, deadline_s: float, sent_bytes: float, late_s: Floats) -> _Ends:
        """With which the last call of a node is over in time."""
        fleet = self._fleet
        sizes_bytes = fleet.input_bytes[self._rows[n]]
        if not fleet.has_links or not sizes_bytes.any():
            return _Ends(calls_s=np.array([np.inf]), starts_s=np.array([-np.inf]), room_bytes=np.array([np.inf]))
        calls_s = np.unique(np.concatenate([self._changes_of(int(p)).calls_s for p in self._rows[n]]))
        starts_s = np.where(calls_s > 0, fleet.node_link_s[n] + calls_s, -np.inf)
        left_s = deadline_s - fleet.node_link_s[n] - calls_s
        room = left_s * fleet.bandwidth_bytes_per_s[n] * (1 + TOLERANCE) - sent_bytes
        enough = REACH * self._unit * len(self._rows[n]) * float(sizes_bytes.max())
        # Of calls after which as many items have room the longest will do.
        steps = np.floor(np.minimum(room, enough) / float(sizes_bytes[sizes_bytes > 0].min()))
        is_last = np.append(steps[1:] != steps[:-1], True)
        kept = np.flatnonzero(is_last & (room >= -enough) & (starts_s <= late_s.max()))
        thin = max(1, -(-len(kept) // _ENDS)) if len(self._prices) > 1 else 1
        longest = np.searchsorted(starts_s, late_s, side="right") - 1
        kept = np.union1d(kept[::-1][::thin], longest[longest >= 0])
        return _Ends(calls_s=calls_s[kept], starts_s=starts_s[kept], room_bytes=room[kept])

    def _of_processor(self, p: int, deadline_s: float, calls_s: Floats, may_grow: bool) -> Table:
        """(prices, E, SPAN)"""
        changes = self._changes_of(p)
        table = changes.table(deadline_s, self._prices, may_grow=may_grow)
        column = np.searchsorted(changes.calls_s, calls_s, side="right") - 1
        gain = np.where((column >= 0)[:, None], table.gain[:, column], -np.inf)
        return Table(gain, table.sent_bytes[:, column], table.chosen[:, column])

    @property
    def _latest_s(self) -> float:
        """Nothing later is of use from now on."""
        return self._problem.deadline_s if self._problem.prefer is Prefer.ACCURACY else self.best.latency_s

    def _changes_of(self, p: int) -> Changes:
        known = self._changes.get(p)
        if known is None:
            rows = self._rows[int(self._fleet.node[p])]
            held = float((self._fleet.memory_bytes[rows] * (self._counts[rows] > 0)).sum())
            free = float(self._fleet.node_memory_bytes[self._fleet.node[p]]) - held
            known = self._changes[p] = Changes.of(
                self._problem,
                p,
                self._counts[p],
                unit=self._unit,
                latest_s=self._latest_s,
                free_bytes=free,
                prices=self._prices,
            )
        return known


def _prices_of(problem: Problem) -> Floats:
    """Accuracy per input byte: none, and around what the variants' differences suggest."""
    differ = problem.fleet.input_bytes_differ
    if not problem.fleet.has_links or differ == 0:
        return np.zeros(1)
    return np.array(_PRICES) * float(np.ptp(problem.fleet.accuracy)) / differ


def _together(a: Table, b: Table, prices: Floats) -> Table:
    """Of two groups of processors: which of their changes go together best, at these prices of input bytes."""
    one, other = (table.gain - prices[..., None] * table.sent_bytes for table in (a, b))
    nothing = np.full((*other.shape[:-1], 1), -np.inf)
    sums = one[..., :, None] + np.concatenate([other, nothing], axis=-1)[..., _PAIRS]
    first = sums.argmax(axis=-2)
    possible = np.isfinite(np.take_along_axis(sums, first[..., None, :], -2)[..., 0, :])
    second = np.clip(np.arange(SPAN) - first + REACH, 0, SPAN - 1)
    gain_a, sent_a = (np.take_along_axis(values, first, -1) for values in (a.gain, a.sent_bytes))
    gain_b, sent_b = (np.take_along_axis(values, second, -1) for values in (b.gain, b.sent_bytes))
    return Table(
        np.where(possible, gain_a + gain_b, -np.inf),
        sent_a + sent_b,
        np.concatenate(
            [np.take_along_axis(a.chosen, first[..., None], -2), np.take_along_axis(b.chosen, second[..., None], -2)],
            axis=-1,
        ),
    )
