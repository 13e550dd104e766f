"""What a processor could do instead of what a plan gives it, and the most accuracy that this can bring.

A change gives one or two variants another number of items. What the cost model says of a variant's share depends on
that share alone, so the times of all changes follow from two look-ups each, by the thousand. Most are beaten by another
one that needs no more time, no longer a call and no more memory; they are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from equipoise.planning.problem import Floats, Ints, Problem

Bools = npt.NDArray[np.bool_]

REACH = 16  # units more or less at most
SPAN = 2 * REACH + 1


class Table(NamedTuple):
    """The most accuracy for so many units more, and the changes chosen for it, by processor.

    Leading axes are the caller's: longest calls allowed, prices of input bytes. Where nothing will do, gain is -inf.
    """

    gain: Floats  # (..., SPAN) accuracy x items more than now
    sent_bytes: Floats  # (..., SPAN) more than now
    chosen: Ints  # (..., SPAN, processors)

    def as_rows(self) -> Table:
        """With one leading axis."""
        return Table(
            self.gain.reshape(-1, SPAN),
            self.sent_bytes.reshape(-1, SPAN),
            self.chosen.reshape(-1, *self.chosen.shape[-2:]),
        )


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """K changes of one processor. The column after the last variant stands for none."""

    first: Ints
    first_items: Ints
    second: Ints
    second_items: Ints
    more: Ints  # units more than now, plus REACH

    def only(self, kept: Bools) -> Candidates:
        """Some of them."""
        return Candidates(**{name: values[kept] for name, values in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The changes of one processor, and which of them are worth knowing."""

    candidates: Candidates
    gain: Floats  # (K,) accuracy x items more than now
    sent_bytes: Floats  # (K,) more than now
    busy_until_s: Floats  # (K,)
    needs_memory: Bools  # (K,) more than now
    calls_s: Floats  # (C,) all lengths that a longest call has, rising
    slot: Ints  # (K,) more x C + which of these
    by_worth: tuple[Ints, ...]  # for each price of input bytes, those worth knowing by slot, in it by falling worth

    @classmethod
    def of(
        cls, problem: Problem, p: int, now: Ints, *, unit: int, latest_s: float, free_bytes: float, prices: Floats
    ) -> Changes:
        """Of processor p, which does `now` (V,) and has to be done by `latest_s`.

        unit         items: the total changes by multiples of it
        free_bytes   of memory on its node
        prices       of an input byte in accuracy x items, each of them with changes of its own that are worth knowing
        """
        return _Judge(problem, p, now, unit).changes(latest_s, free_bytes, prices)

    def table(self, deadline_s: float, prices: Floats, *, may_grow: bool) -> Table:
        """(prices, C, SPAN) the best in time for each price and longest call, none of them longer than that."""
        calls = len(self.calls_s)
        shape = (len(prices), SPAN * calls)
        gain, chosen = np.full(shape, -np.inf), np.zeros(shape, np.int64)
        in_time = self.busy_until_s <= deadline_s
        if not may_grow:
            in_time &= ~self.needs_memory
        for k, order in enumerate(self.by_worth):
            which = order[in_time[order]][::-1]  # of those that go to one slot, the last one counts
            chosen[k, self.slot[which]] = which
            gain[k, self.slot[which]] = self.gain[which]
        return _longer_calls_allowed(gain, self.sent_bytes[chosen], chosen, prices, calls)

    def applied(self, now: Ints, change: int) -> Ints:
        """(V,) what the processor does after a change."""
        of, after = self.candidates, np.append(now, 0)
        after[of.first[change]], after[of.second[change]] = of.first_items[change], of.second_items[change]
        return after[:-1]


def _longer_calls_allowed(gain: Floats, sent: Floats, chosen: Ints, prices: Floats, calls: int) -> Table:
    """What is best with each longest call is also there for those who allow a longer one."""
    shape = (len(prices), SPAN, calls)
    worth = gain.reshape(shape) - prices[:, None, None] * sent.reshape(shape)
    most = np.maximum.accumulate(worth, axis=2)
    at = np.maximum.accumulate(np.where(worth == most, np.arange(calls), 0), axis=2)
    gain, sent = (np.take_along_axis(values.reshape(shape), at, 2).swapaxes(1, 2) for values in (gain, sent))
    return Table(gain, sent, np.take_along_axis(chosen.reshape(shape), at, 2).swapaxes(1, 2)[..., None])


class _Judge:
    """What the cost model says of one processor's changes. A last column stands for no variant."""

    def __init__(self, problem: Problem, p: int, now: Ints, unit: int) -> None:
        fleet, ready = problem.fleet, problem.readiness
        self._now, self._unit = np.append(now, 0), unit
        self._usable = np.flatnonzero(problem.usable[p])
        self._batch = np.append(fleet.batch[p], 1)
        self._call_s = np.append(np.where(problem.usable[p], fleet.call_s[p], 0.0), 0.0)
        self._rest_at, self._rest_s = np.append(fleet.rest_at[p], 0), fleet.rest_s
        self._load_s = np.zeros(len(self._now)) if ready.load_s is None else np.append(ready.load_s[p], 0.0)
        self._accuracy = np.append(fleet.accuracy, 0.0)
        self._bytes = np.append(fleet.input_bytes[p], 0.0)
        self._memory = np.append(fleet.memory_bytes[p], 0.0)
        self._start_s, self._speed = float(ready.start_s[p]), float(ready.speed[p])

    def changes(self, latest_s: float, free_bytes: float, prices: Floats) -> Changes:
        """See Changes.of."""
        of = self._candidates()
        grows = self._differ(of, self._used_memory)
        busy_until_s = self._busy_until_s(of)
        kept = (busy_until_s <= latest_s) & (grows <= max(0.0, free_bytes))
        of, grows, busy_until_s = of.only(kept), grows[kept], busy_until_s[kept]
        calls_s, call = np.unique(self._longest_call_s(of), return_inverse=True)
        gain = self._differ(of, lambda v, items: self._accuracy[v] * items)
        sent = self._differ(of, lambda v, items: self._bytes[v] * items)
        slot = of.more * len(calls_s) + call
        return Changes(
            candidates=of,
            gain=gain,
            sent_bytes=sent,
            busy_until_s=busy_until_s,
            needs_memory=grows > 0,
            calls_s=calls_s,
            slot=slot,
            by_worth=tuple(_by_worth(slot, grows > 0, gain - price * sent, busy_until_s) for price in prices),
        )

    def _candidates(self) -> Candidates:
        """Some items of one variant taken away, or none; and of another one added what keeps the total within reach."""
        none, more = np.array([len(self._now) - 1]), np.arange(SPAN)
        parts = [(none, np.zeros_like(none), none, np.zeros_like(none), np.full_like(none, REACH))]  # all as it is
        for first in (*none, *np.flatnonzero(self._now)):
            away = _amounts_to_take(int(self._now[first]), int(self._batch[first]), self._unit)
            second = self._usable[self._usable != first]
            items = self._now[second][None, :, None] + away[:, None, None] + (more - REACH) * self._unit
            a, w, m = np.nonzero(items >= 0)
            parts.append((np.full(len(a), first), (self._now[first] - away)[a], second[w], items[a, w, m], m))
        one, one_items, other, other_items, total = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Candidates(first=one, first_items=one_items, second=other, second_items=other_items, more=total)

    def _differ(self, of: Candidates, figure: Callable[[Ints, Ints], Floats]) -> Floats:
        """(K,) by how much the sum of a figure of (variants, their items) differs from now."""
        one, other, now = of.first, of.second, self._now
        after = figure(one, of.first_items) + figure(other, of.second_items)
        differ: Floats = after - figure(one, now[one]) - figure(other, now[other])
        return differ

    def _run_s(self, v: Ints, items: Ints) -> Floats:
        """Seconds at profile speed that a share takes, with its load."""
        calls, rest = np.divmod(items, self._batch[v])
        run_s: Floats = calls * self._call_s[v] + self._rest_s[self._rest_at[v] + rest]
        return run_s + np.where(items > 0, self._load_s[v], 0.0)

    def _used_memory(self, v: Ints, items: Ints) -> Floats:
        return np.where(items > 0, self._memory[v], 0.0)

    def _waited_call_s(self, v: Ints, items: Ints) -> Floats:
        """Seconds of a share's longest call, if it waits for inputs."""
        is_whole = items >= self._batch[v]
        call_s = np.where(is_whole, self._call_s[v], self._rest_s[self._rest_at[v] + items % self._batch[v]])
        return np.where((items > 0) & (self._bytes[v] > 0), call_s, 0.0) / self._speed

    def _busy_until_s(self, of: Candidates) -> Floats:
        every = np.arange(len(self._now))
        busy_s = self._run_s(every, self._now).sum() + self._differ(of, self._run_s)
        works = (of.more - REACH) * self._unit + self._now.sum() > 0
        return np.where(works, self._start_s + busy_s / self._speed, 0.0)

    def _longest_call_s(self, of: Candidates) -> Floats:
        """(K,) over all of the processor's shares: those that change, and the longest of those that do not."""
        now_s = self._waited_call_s(np.arange(len(self._now)), self._now)
        others_s = np.zeros(len(of.first))
        for v in np.argsort(-now_s, kind="stable")[:3][::-1]:  # at most two of the three longest change
            others_s = np.where((of.first != v) & (of.second != v), now_s[v], others_s)
        one_s = self._waited_call_s(of.first, of.first_items)
        return np.maximum(np.maximum(one_s, self._waited_call_s(of.second, of.second_items)), others_s)


def _amounts_to_take(items: int, size: int, unit: int) -> Ints:
    """Of a share: none where there is none, else a few units, whole calls, half, everything."""
    if items == 0:
        return np.zeros(1, np.int64)
    rest = items % size
    taken = {*(unit * k for k in range(1, REACH + 1)), rest, size, size + rest, 2 * size, items // 2, items}
    return np.array(sorted(k for k in taken if 0 < k <= items))


def _by_worth(slot: Ints, grows: Bools, worth: Floats, cost: Floats) -> Ints:
    """Those worth knowing, slot by slot, by falling worth; whether there will be room to grow is not known yet."""
    known = _unbeaten(2 * slot + grows, worth, cost)
    return known[np.lexsort((-worth[known], slot[known]))]


def _unbeaten(alike: Ints, worth: Floats, cost: Floats) -> Ints:
    """Of those that are alike, the ones worth more than all that cost no more: group by group, by falling worth."""
    order = np.lexsort((cost, -worth, alike))
    rank = np.empty(len(cost), np.int64)
    rank[np.argsort(cost, kind="stable")] = np.arange(len(cost))
    # Within a group the least cost so far has to fall; a group's ranks are all below those of the group before.
    least = np.minimum.accumulate(rank[order] - alike[order] * len(cost))
    kept = np.ones(len(order), bool)
    kept[1:] = least[1:] < least[:-1]
    return order[kept]
