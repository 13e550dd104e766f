"""What is done so that inputs come in time and variants fit into memory, of which the time of processors does not tell.

The last call of a node can only begin when its last input has come. So a node that may end with long calls can use
heavier variants, but gets its last input earlier and so fewer of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from equipoise.planning.fluid import Inlet
from equipoise.planning.ladders import Rungs
from equipoise.planning.link_prices import Offers, link_prices
from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem

Bools = npt.NDArray[np.bool_]

_TINY = 1e-100  # keeps quotients of nothing finite


@dataclass(frozen=True, kw_only=True)
class Relief:
    """What processors have to do without, for the sake of their node's link and memory."""

    last_call_s: Floats  # (N,) that a node is given after its last input
    item_bytes: Floats  # (N,) an item is taken to have
    fits: Bools | None  # (P, H) rungs that may be used; None for all
    squeeze: Ints  # (N,) how hard a node's processors are pressed to fit into its memory together; 0 not at all
    byte_price: Floats | None = None  # (N,) in gain, of what is sent to a node; None if nothing
    items: Floats | None = None  # (P,) near which to look; None for the fluid optimum
    item_price: float | None = None  # at which those are worth it
    most_bytes: Floats | None = None  # (P,) that a processor may be sent; None for all that its inlet lets in

    def squeezed(self, overfull: Bools) -> Relief:
        """The processors of overfull nodes (N,) have to do with less memory."""
        return replace(self, squeeze=self.squeeze + overfull)


class Links:
    """How inputs reach the processors of a problem, by the rungs of a ladder of variants."""

    def __init__(self, problem: Problem, rungs: Rungs) -> None:
        self._problem = problem
        self._fleet = problem.fleet
        self._rungs = rungs
        self._nodes = len(problem.fleet.node_memory_bytes)

    def no_relief(self) -> Relief:
        """What is true of any plan: a node ends with its shortest call at least, and items have their fewest bytes."""
        has_links = self._fleet.has_links
        return Relief(
            last_call_s=self._least_call_s if has_links else np.zeros(self._nodes),
            item_bytes=self._least_bytes if has_links else np.zeros(self._nodes),
            fits=None,
            squeeze=np.zeros(self._nodes, np.int64),
        )

    def inlet(self, deadline_s: float, relief: Relief) -> Inlet | None:
        """What the links let in before the last calls have to begin; None if everything."""
        fleet = self._fleet
        if not fleet.has_links or not math.isfinite(deadline_s) or relief.most_bytes is not None:
            return None
        left_s = np.maximum(0.0, deadline_s - fleet.node_link_s - relief.last_call_s)
        with np.errstate(divide="ignore", invalid="ignore"):
            by_link = np.where(relief.item_bytes > 0, left_s * fleet.bandwidth_bytes_per_s / relief.item_bytes, np.inf)
        earliest_s = float((fleet.node_link_s + self._least_call_s).min())
        in_time = earliest_s + self._least_uplink_s <= deadline_s * (1 + TOLERANCE)
        return Inlet(node=fleet.node, most_items=by_link if in_time else np.zeros_like(by_link))

    def in_time(self, deadline_s: float) -> Bools | None:
        """(P, H) rungs of which a call can be over in time if it begins when the last input is through the uplink."""
        fleet = self._fleet
        if not (fleet.has_links and math.isfinite(fleet.uplink_bytes_per_s) and math.isfinite(deadline_s)):
            return None
        fits: Bools = self.call_s + (self._least_uplink_s + fleet.link_s)[:, None] <= deadline_s * (1 + TOLERANCE)
        return None if fits[np.isfinite(self.call_s)].all() else fits

    def relieved(self, relief: Relief, counts: Ints, late: Bools, deadline_s: float) -> Relief:
        """More relief for the links of late processors (P,), which were to run `counts` (P, H).

        Either fewer items for the node, so that its longest call can begin in time, or no variants whose calls take so
        long; whichever concerns fewer items.
        """
        fleet = self._fleet
        last_call_s, item_bytes = relief.last_call_s.copy(), relief.item_bytes.copy()
        fits = np.ones(counts.shape, dtype=bool) if relief.fits is None else relief.fits.copy()
        most_bytes = None if relief.most_bytes is None else relief.most_bytes.copy()
        sent = np.bincount(fleet.node, (counts * self._rungs.input_bytes).sum(axis=1), self._nodes)
        items = np.bincount(fleet.node, counts.sum(axis=1), self._nodes)
        by_link_s, by_uplink_s = sent / fleet.bandwidth_bytes_per_s, float(sent.sum()) / fleet.uplink_bytes_per_s
        left_s = deadline_s - fleet.node_link_s - np.maximum(by_link_s, by_uplink_s)
        slow = self.call_s > left_s[fleet.node][:, None] * (1 + TOLERANCE)
        for n in np.unique(fleet.node[late]):
            rows = np.flatnonzero(fleet.node == n)
            used = slow[rows] & (counts[rows] > 0)
            if not used.any():
                continue
            longest_s = float(self.call_s[rows][used].max())
            item_bytes[n] = sent[n] / items[n]
            surplus_bytes = (longest_s - left_s[n]) * fleet.bandwidth_bytes_per_s[n]
            surplus_items = surplus_bytes / max(item_bytes[n], _TINY)
            few = counts[rows][used].sum() <= surplus_items
            if few or by_uplink_s >= by_link_s[n]:
                fits[rows] &= ~slow[rows]
            else:
                last_call_s[n] = max(last_call_s[n], longest_s)
                if most_bytes is not None:
                    most_bytes[rows] *= max(0.0, 1.0 - surplus_bytes / max(sent[n], _TINY))
        return replace(relief, last_call_s=last_call_s, item_bytes=item_bytes, fits=fits, most_bytes=most_bytes)

    def priced(self, deadline_s: float, offers: Offers, price: float, relief: Relief) -> tuple[Relief, float]:
        """Relief chosen beforehand by the prices of items and of bytes on each link, and the gain that those promise.

        price   of items if links had no limits; to begin with
        """
        fits = np.isfinite(offers.call_s)
        prices = link_prices(self._problem, offers, deadline_s, price)
        fits &= self.call_s <= prices.longest_call_s[self._fleet.node][:, None] * (1 + TOLERANCE)
        relief = replace(relief, fits=fits, items=prices.items, item_price=prices.item_price)
        if self._fleet.input_bytes_differ:
            relief = replace(relief, byte_price=prices.byte_price, most_bytes=prices.most_bytes)
        else:
            relief = replace(relief, last_call_s=prices.longest_call_s)
        return relief, prices.gain

    @cached_property
    def call_s(self) -> Floats:
        """(P, H) seconds of a whole call."""
        return self._rungs.call_s / self._problem.readiness.speed[:, None]

    @cached_property
    def _least_uplink_s(self) -> float:
        """Seconds that all inputs take through the uplink, at least."""
        return self._problem.items * float(self._least_bytes.min()) / self._fleet.uplink_bytes_per_s

    @cached_property
    def _least_call_s(self) -> Floats:
        """(N,) the shortest call that a node can end with."""
        usable, speed = self._problem.usable, self._problem.readiness.speed
        return self._least_of_node(np.where(usable, self._fleet.shortest_call_s, np.inf).min(axis=1) / speed)

    @cached_property
    def _least_bytes(self) -> Floats:
        """(N,) input bytes per item at least, of what a node can run."""
        return self._least_of_node(np.where(self._problem.usable, self._fleet.input_bytes, np.inf).min(axis=1))

    def _least_of_node(self, values: Floats) -> Floats:
        """(N,) the least of the values (P,) of a node's processors; 0 for a node that can do nothing."""
        least = np.full(self._nodes, np.inf)
        np.minimum.at(least, self._fleet.node, values)
        return np.where(np.isfinite(least), least, 0.0)
