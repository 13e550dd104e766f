"""What items and the bytes of their inputs are worth, and how long the calls are that a node should end with.

A node's last call begins when its last input has come, through its link and through the uplink that all nodes share:

    bytes(n)              <= bandwidth(n) (deadline - latency(n) - longest call of n)
    sum over n of bytes(n) <= uplink       (deadline - latency(n) - longest call of n)    for all n at work

With a price on items (they have to add up) and on bytes, what is left to decide is separate for every processor: it
spends its time on the variant that earns most. So the Lagrangian dual of the fluid problem with divisible items is the
least, over item prices and uplink prices u, of

    price x items + u x bytes of the uplink
    + sum over n of  max over longest calls c, of  min over byte prices m >= u, of
        (m - u) x bytes of the link after c
        + sum over p of n of  max over variants with calls <= c, of  items(p, v) (gain(v) - price - m bytes(v))

Byte prices are looked at on a grid, for all nodes at once; the dual is convex in the item price, and the least of it is
where two of its tangents meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem

Bools = npt.NDArray[np.bool_]

_BYTE_PRICES = np.concatenate(([0.0], np.geomspace(2e-3, 1.0, 13)))  # of one at which no variant is worth anything
_FINER = 2  # times that the grid is drawn closer to the price of the uplink's bytes
_FIRST_STEP, _STEPS_UP = 0.02, 4.0  # of the search for an item price that is too low, and how they grow
_LOWEST = 10.0  # below the first price: then there is hardly the time for all items, whatever they are
_TANGENTS = 8  # at most
_CLOSE = 2e-4  # of gain per item, of the dual's least value
_MOST_CALLS = 32  # longest calls looked at per node
_UNLIMITED = 1e15  # bytes
_ENDS = (0.1, 0.3, 0.5, 0.7, 0.9)  # quantiles of last calls that all nodes may end with, if the uplink is full


@dataclass(frozen=True, kw_only=True)
class LinkPrices:
    """The best prices found, and what processors and nodes do at them."""

    gain: float  # of all items: nearly what a plan can earn
    item_price: float
    byte_price: Floats  # (N,)
    longest_call_s: Floats  # (N,)
    items: Floats  # (P,) divisible
    most_bytes: Floats  # (P,) what each processor needs of links and uplink, and its part of what is left


class _Point(NamedTuple):
    """The dual at one price of items."""

    price: float
    value: float
    slope: float
    of_uplink: int  # in the grid of byte prices
    byte_price: Ints  # (N,) in the grid
    end: Ints  # (N,) in the longest calls of the node
    room: Floats  # (N,) bytes; inf for a node whose link has more than the uplink lets through
    items: Floats  # (P,)
    bytes: Floats  # (P,)


@dataclass(frozen=True, kw_only=True)
class Offers:
    """What a processor can do with all of its time on one rung of its ladder; arrays (P, H)."""

    items: Floats
    gain: Floats  # of an item
    item_bytes: Floats  # of an item's input
    call_s: Floats  # seconds of a whole call; inf for rungs that must not be used

    def by_call(self) -> Offers:
        """Those with the shortest calls first."""
        at = np.arange(len(self.call_s))[:, None], np.argsort(self.call_s, axis=1, kind="stable")
        return Offers(items=self.items[at], gain=self.gain[at], item_bytes=self.item_bytes[at], call_s=self.call_s[at])


def link_prices(problem: Problem, offers: Offers, deadline_s: float, price: float) -> LinkPrices:
    """At which prices the links are neither too full nor idle.

    price   of items if links had no limits; to begin with
    """
    search = _Search(problem, offers.by_call(), deadline_s)
    for _ in range(_FINER):
        low, high = search.around_best(price)
        if not low.of_uplink:
            break
        search.keep_uplink_free(low)
    else:
        low, high = search.around_best(price)
    return search.between(low, high)


class _Search:
    """The dual of one deadline. Arrays are over processors P, rungs H, byte prices M, nodes N and longest calls C."""

    def __init__(self, problem: Problem, offers: Offers, deadline_s: float) -> None:
        fleet = problem.fleet
        self._items, self._node = problem.items, fleet.node
        self._call_s, self._most, self._gain = offers.call_s, offers.items, offers.gain
        self._bytes = offers.item_bytes
        self._starts = np.flatnonzero(np.diff(self._node, prepend=-1))
        self._ends_s = self._longest_calls()
        allowed = self._call_s[:, None, :] <= self._ends_s[self._node][:, :, None] * (1 + TOLERANCE)
        self._fast = allowed.sum(axis=2)  # (P, C) rungs with calls as short
        is_local = np.add.reduceat(self._bytes.max(axis=1), self._starts) == 0  # (N,) nothing has to be sent there
        left_s = np.where(is_local, np.inf, deadline_s - fleet.node_link_s - self._ends_s.T).T
        self._room_bytes = np.minimum(
            np.maximum(left_s, 0.0) * fleet.bandwidth_bytes_per_s[:, None], _UNLIMITED
        )  # (N, C)
        self._end_at_s = np.where(is_local, 0.0, (self._ends_s.T + fleet.node_link_s)).T  # (N, C) after the uplink
        self._is_late = left_s < 0
        self._deadline_s, self._uplink_bytes_per_s = deadline_s, fleet.uplink_bytes_per_s
        self._uplink_bytes = self._through_uplink(float(np.median(self._end_at_s[:, 0])))
        dearest = (np.ptp(self._gain) + 1.0) / float(self._bytes.min(where=self._bytes > 0, initial=np.inf))
        self._set_byte_prices(_BYTE_PRICES * dearest)

    def _longest_calls(self) -> Floats:
        """(N, C) different calls that each node could end with, the last one repeated; 0 if it can make none."""
        bounds = [*self._starts.tolist(), len(self._node)]
        of_nodes = (self._call_s[start:end].ravel().tolist() for start, end in pairwise(bounds))
        calls = [sorted({call_s for call_s in of_node if call_s < math.inf}) or [0.0] for of_node in of_nodes]
        looked_at = min(_MOST_CALLS, max(map(len, calls)))
        steps = range(looked_at)
        return np.array([[c[k * (len(c) - 1) // max(1, looked_at - 1)] for k in steps] for c in calls])

    def _through_uplink(self, end_s: float) -> float:
        """Bytes that are through the uplink so long before the deadline."""
        return self._uplink_bytes_per_s * max(0.0, self._deadline_s - end_s)

    def _set_byte_prices(self, byte_prices: Floats) -> None:
        worth = self._gain[:, None, :] - byte_prices[:, None] * self._bytes[:, None, :]
        self._byte_prices = byte_prices
        self._worth = self._most[:, None, :] * worth  # (P, M, H)
        self._cost_of_room = byte_prices[:, None] * self._room_bytes[:, None, :]  # (N, M, C)

    # --- the least value ---------------------------------------------------------------------------------------------

    def around_best(self, price: float) -> tuple[_Point, _Point]:
        """Two points between which the dual is least: at the lower price more than all items are taken."""
        high, step = self._at(price), _FIRST_STEP
        low = high
        while low.slope > 0 and price - low.price < _LOWEST:
            high, low = low, self._at(low.price - step)
            step *= _STEPS_UP
        if low is high:
            high = self._at(price + _FIRST_STEP / 2)
        for _ in range(_TANGENTS):
            if low.slope >= 0 or high.slope <= 0:
                break
            price = (high.value - low.value + low.slope * low.price - high.slope * high.price) / (
                low.slope - high.slope
            )
            least = low.value + low.slope * (price - low.price)
            if min(low.value, high.value) - least <= _CLOSE * self._items:
                break
            point = self._at(price)
            low, high = (point, high) if point.slope <= 0 else (low, point)
        return low, high

    def _at(self, price: float) -> _Point:
        totals, earns = self._nodes_earn(price)
        by_uplink = earns.max(axis=2).sum(axis=0) + price * self._items
        if math.isfinite(self._uplink_bytes):
            by_uplink += self._byte_prices * self._uplink_bytes
            of_uplink = int(by_uplink.argmin())
        else:
            of_uplink = 0
        nodes = np.arange(len(earns))
        end = earns[:, of_uplink].argmax(axis=1)
        byte_price = of_uplink + totals[nodes, of_uplink:, end].argmin(axis=1)
        # A node is free of its own link's limit where only the uplink's counts.
        is_free = (byte_price == of_uplink) & (of_uplink > 0)
        room = np.where(is_free, np.inf, self._room_bytes[nodes, end])
        items, sent = self._taken(price, byte_price, end, room)
        return _Point(
            price=price,
            value=float(by_uplink[of_uplink]),
            slope=self._items - float(items.sum()),
            of_uplink=of_uplink,
            byte_price=byte_price,
            end=end,
            room=room,
            items=items,
            bytes=sent,
        )

    def _nodes_earn(self, price: float) -> tuple[Floats, Floats]:
        """(N, M, C) at each byte price: what a node earns with its room, and beyond what the uplink costs it."""
        best = np.zeros((*self._worth.shape[:2], self._worth.shape[2] + 1))
        np.maximum.accumulate(self._worth - self._most[:, None, :] * price, axis=2, out=best[..., 1:])
        np.maximum(best, 0.0, out=best)
        totals: Floats = np.add.reduceat(np.take_along_axis(best, self._fast[:, None, :], 2), self._starts, axis=0)
        totals += self._cost_of_room
        # A byte costs at least what it costs on the uplink: of all dearer prices the best.
        earns = np.minimum.accumulate(totals[:, ::-1], axis=1)[:, ::-1] - self._cost_of_room
        earns[np.broadcast_to(self._is_late[:, None], earns.shape)] = 0.0
        return totals, earns

    # --- what processors do ------------------------------------------------------------------------------------------

    def _taken(self, price: float, byte_price: Ints, end: Ints, room: Floats) -> tuple[Floats, Floats]:
        """(P,) items and bytes of what each processor earns most with, mixed of what it takes if bytes are a little
        cheaper and a little dearer, so that no more is sent than there is room.
        """
        last = len(self._byte_prices) - 1
        many, most_bytes = self._alone(price, self._byte_prices[np.maximum(byte_price - 1, 0)], end)
        few, least_bytes = self._alone(price, self._byte_prices[np.minimum(byte_price + 1, last)], end)
        most, least = (np.add.reduceat(sent, self._starts) for sent in (most_bytes, least_bytes))
        is_free = np.isinf(room)
        if is_free.any():
            others = self._uplink_bytes - np.minimum(room, most)[~is_free].sum()
            in_all = (others - least[is_free].sum()) / max(1.0, float((most - least)[is_free].sum()))
            room = np.where(is_free, np.maximum(0.0, least + (most - least) * in_all), room)
        part = np.minimum(1.0, np.maximum(0.0, (room - least) / np.maximum(most - least, 1.0)))
        # The grid may end before bytes are dear enough: then there is less of everything.
        scale = np.minimum(1.0, room / np.maximum(least + part * (most - least), 1.0))[self._node]
        part = part[self._node]
        return scale * (few + part * (many - few)), scale * (least_bytes + part * (most_bytes - least_bytes))

    def _alone(self, price: float, byte_price: Floats, end: Ints) -> tuple[Floats, Floats]:
        """(P,) items and bytes of the variant that each processor earns most with."""
        rows = np.arange(len(self._node))
        earned = self._most * (self._gain - price - byte_price[self._node][:, None] * self._bytes)
        earned[np.arange(earned.shape[1]) >= self._fast[rows, end[self._node]][:, None]] = -np.inf
        best = earned.argmax(axis=1)
        items: Floats = np.where(earned[rows, best] > 0, self._most[rows, best], 0.0)
        return items, items * self._bytes[rows, best]

    def keep_uplink_free(self, point: _Point) -> None:
        """Choose when all inputs are through the uplink, end with calls as short, and look at byte prices near its."""
        is_late, worth = self._is_late, []
        ends_s = np.quantile(self._end_at_s, _ENDS).tolist()
        for end_s in ends_s:
            self._uplink_bytes, self._is_late = self._through_uplink(end_s), is_late | (self._end_at_s > end_s)
            worth.append(self._at(point.price).value)
        end_s = ends_s[int(np.argmax(worth))]
        self._uplink_bytes, self._is_late = self._through_uplink(end_s), is_late | (self._end_at_s > end_s)
        known, last = self._byte_prices, len(self._byte_prices) - 1
        close = np.linspace(known[point.of_uplink - 1], known[min(point.of_uplink + 1, last)], last // 2 + 1)
        self._set_byte_prices(np.concatenate((close, np.geomspace(close[-1], known[-1], last - len(close) + 2)[1:])))

    def between(self, low: _Point, high: _Point) -> LinkPrices:
        """What to do at a price between two, so that it is all items; nodes end as they do at the lower price."""
        few, few_bytes = self._taken(high.price, low.byte_price, low.end, low.room)
        most, least = float(low.items.sum()), float(few.sum())
        part = min(1.0, max(0.0, (self._items - least) / (most - least))) if most > least else 1.0
        items = few + part * (low.items - few)
        sent = few_bytes + part * (low.bytes - few_bytes)
        of_node = np.add.reduceat(sent, self._starts)
        is_free = np.isinf(low.room)
        left = np.where(is_free, 0.0, np.maximum(0.0, np.where(is_free, 0.0, low.room) - of_node))
        return LinkPrices(
            gain=min(low.value, high.value),
            item_price=low.price,
            byte_price=self._byte_prices[low.byte_price],
            longest_call_s=self._ends_s[np.arange(len(low.end)), low.end],
            items=items,
            most_bytes=sent + (left / np.bincount(self._node))[self._node],
        )
