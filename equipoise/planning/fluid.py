"""The fluid optimum: what a fleet could do if items were divisible and nothing had a fixed cost.

It is the exact optimum of the linear program

    maximise  sum g[p,v] x[p,v]   subject to   sum_v item_s[p,v] x[p,v] <= time_s[p],   sum x[p,v] = items,   x >= 0

and so a bound that no plan can beat. `g` is the gain of one item: its accuracy, or a weighted sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from equipoise.planning.hulls import Hulls

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ROUNDING = 1e-12  # relative: items that a full fleet may miss by floating-point error alone


@dataclass(frozen=True, kw_only=True)
class Fill:
    """A fleet filled with work."""

    gain: float  # total over all items
    price: float  # gain that one more item would bring: the slope of the segment filled last
    items: Floats  # (P,) items on each processor


@dataclass(frozen=True, kw_only=True)
class Inlet:
    """How many items can come in: processors (P,) of node n take `most_items[n]` together."""

    node: Ints  # (P,)
    most_items: Floats  # (N,)

    def limit(self, hulls: Hulls, held: Floats) -> Floats:
        """`held` (segments,) cut off where a node's inlet is exhausted, its steepest segments being filled first.

        What a node can do is a concave function of its items, and stays one where it is cut off; so filling by slope
        remains optimal.
        """
        node = self.node[hulls.processor]
        by_node = np.argsort(node, kind="stable")
        sums = held[by_node].cumsum()
        before = np.concatenate(([0.0], sums))[np.searchsorted(node[by_node], node[by_node])]
        limited = np.empty_like(held)
        room = self.most_items[node[by_node]] - (sums - before - held[by_node])
        limited[by_node] = np.clip(room, 0.0, held[by_node])
        return limited


def fill(hulls: Hulls, time_s: Floats, items: float, inlet: Inlet | None = None) -> Fill | None:
    """The most gain from exactly `items` in `time_s` (P,) seconds, or None if there is not enough time for them."""
    busy_s = time_s[hulls.processor]
    held = hulls.rate_per_s * busy_s
    if inlet is not None:
        held = inlet.limit(hulls, held)
    ends = held.cumsum()
    if not len(ends) or ends[-1] < items * (1 - _ROUNDING):
        return None
    last = min(int(ends.searchsorted(items)), len(ends) - 1)
    held[last] = max(0.0, items - (ends[last] - held[last]))
    filled = slice(0, last + 1)
    gains = hulls.slope[filled] * held[filled]
    counts = np.zeros(len(time_s))
    np.add.at(counts, hulls.processor[filled], held[filled])
    return Fill(gain=float(gains.sum()), price=float(hulls.slope[last]), items=counts)


def least_time_s(hulls: Hulls, start_s: Floats, speed: Floats, items: float, gain: float) -> float:
    """The shortest deadline within which `items` can earn `gain`; inf if no deadline suffices.

    start_s   (P,) when each processor can begin, inf if never
    speed     (P,) seconds of profile that it works off per second

    Newton's method on the value of the linear program, which is concave in the deadline while no further
    processor comes into play: the slope is what one more second on every processor is worth. A bracket guards
    against the kinks where one does.
    """
    if not np.isfinite(start_s).any():
        return math.inf
    if not start_s.any():
        return _least_time_at_once_s(hulls, speed, items, gain)
    at_s = low_s = _least_time_for_count_s(hulls, start_s, speed, items)
    high_s = math.inf
    latest_s = float(start_s[np.isfinite(start_s)].max())
    while math.isfinite(at_s):
        time_s = np.maximum(0.0, at_s - start_s) * speed
        filled = fill(hulls, time_s, items)
        if filled is None:  # a rounding error short of the time that the count alone needs
            at_s *= 1 + _ROUNDING
            continue
        short = gain - filled.gain
        if abs(short) <= abs(gain) * _ROUNDING or (short < 0 and at_s <= low_s) or high_s - low_s <= at_s * _ROUNDING:
            return at_s
        low_s, high_s = (at_s, high_s) if short > 0 else (low_s, at_s)
        worth = _worth_of_a_second(hulls, time_s, speed, filled.price)
        step_s = at_s + short / worth if worth > 0 else math.inf
        if worth <= 0 and at_s > latest_s:
            return math.inf  # everybody is at work and more time buys no more gain
        at_s = step_s if low_s < step_s < high_s else _between(low_s, high_s, latest_s)
    return math.inf


def _between(low_s: float, high_s: float, latest_s: float) -> float:
    return (low_s + high_s) / 2 if math.isfinite(high_s) else 2 * max(low_s, latest_s)


def _least_time_at_once_s(hulls: Hulls, speed: Floats, items: float, gain: float) -> float:
    """The same where every processor can begin at once: then everything scales with the deadline."""
    factor = speed[hulls.processor]
    rates = np.concatenate(([0.0], (hulls.rate_per_s * factor).cumsum()))
    gains = np.concatenate(([0.0], (hulls.gain_per_s * factor).cumsum()))
    floor = gain / items
    # Gain per item never rises along the hull, so the corners that keep the floor come first.
    kept = gains[1:] >= floor * rates[1:] * (1 - _ROUNDING)
    last = int(kept.sum()) if kept.all() else int(kept.argmin())
    rate = rates[last]
    if last < len(hulls.slope) and gains[last] > floor * rates[last]:
        rate += (gains[last] - floor * rates[last]) / (floor - hulls.slope[last])
    return items / float(rate) if rate > 0 else math.inf


def _least_time_for_count_s(hulls: Hulls, start_s: Floats, speed: Floats, items: float) -> float:
    """When the last of `items` could be done, if only speed counted: fill the earliest starters first."""
    top = np.bincount(hulls.processor, hulls.rate_per_s, minlength=len(start_s)) * speed
    usable = np.isfinite(start_s) & (top > 0)
    order = np.argsort(start_s[usable], kind="stable")
    starts, rates = start_s[usable][order], top[usable][order]
    if not len(starts):
        return math.inf
    # With the first k processors: sum rates (t - start) = items.
    finish_s = (items + (rates * starts).cumsum()) / rates.cumsum()
    return float(finish_s.min(where=finish_s >= starts, initial=math.inf))


def _worth_of_a_second(hulls: Hulls, time_s: Floats, speed: Floats, price: float) -> float:
    """Gain that one more second on every processor at work brings (the dual prices of their time, summed)."""
    surplus = np.maximum(0.0, hulls.gain_per_s - price * hulls.rate_per_s)
    at_work = np.where(time_s > 0, speed, 0.0)[hulls.processor]
    return float((surplus * at_work).sum())
