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

from equipoise.planning.fleet import Ladder
from equipoise.planning.fluid import Inlet
from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem

Bools = npt.NDArray[np.bool_]

_TINY = 1e-100  # keeps quotients of nothing finite
_ENDS = 64  # longest calls tried per node


@dataclass(frozen=True, kw_only=True)
class Relief:
    """What processors have to do without, for the sake of their node's link and memory."""

    last_call_s: Floats  # (N,) that a node is given after its last input
    item_bytes: Floats  # (N,) an item is taken to have
    fits: Bools | None  # (P, H) rungs that may be used; None for all
    may_send_less: bool = True  # to a node whose last call would begin too late
    squeeze: Ints  # (N,) how hard a node's processors are pressed to fit into its memory together; 0 not at all

    def squeezed(self, overfull: Bools) -> Relief:
        """The processors of overfull nodes (N,) have to do with less memory."""
        return replace(self, squeeze=self.squeeze + overfull)


class Links:
    """How inputs reach the processors of a problem that climb a ladder of variants."""

    def __init__(self, problem: Problem, ladder: Ladder) -> None:
        self._problem = problem
        self._fleet = problem.fleet
        self._ladder = ladder
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
        if not fleet.has_links or not math.isfinite(deadline_s):
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
        fits: Bools = self._call_s + (self._least_uplink_s + fleet.link_s)[:, None] <= deadline_s * (1 + TOLERANCE)
        return None if fits[np.isfinite(self._call_s)].all() else fits

    def relieved(self, relief: Relief, counts: Ints, late: Bools, deadline_s: float) -> Relief:
        """More relief for the links of late processors (P,), which were to run `counts` (P, H).

        Either fewer items for the node, so that its longest call can begin in time, or no variants whose calls take so
        long; whichever concerns fewer items.
        """
        fleet = self._fleet
        last_call_s, item_bytes = relief.last_call_s.copy(), relief.item_bytes.copy()
        fits = np.ones(counts.shape, dtype=bool) if relief.fits is None else relief.fits.copy()
        sent = np.bincount(fleet.node, (counts * self._input_bytes).sum(axis=1), self._nodes)
        items = np.bincount(fleet.node, counts.sum(axis=1), self._nodes)
        by_link_s, by_uplink_s = sent / fleet.bandwidth_bytes_per_s, float(sent.sum()) / fleet.uplink_bytes_per_s
        left_s = deadline_s - fleet.node_link_s - np.maximum(by_link_s, by_uplink_s)
        slow = self._call_s > left_s[fleet.node][:, None] * (1 + TOLERANCE)
        for n in np.unique(fleet.node[late]):
            rows = np.flatnonzero(fleet.node == n)
            used = slow[rows] & (counts[rows] > 0)
            if not used.any():
                continue
            longest_s = float(self._call_s[rows][used].max())
            item_bytes[n] = sent[n] / items[n]
            surplus_bytes = (longest_s - left_s[n]) * fleet.bandwidth_bytes_per_s[n]
            surplus_items = surplus_bytes / max(item_bytes[n], _TINY)
            few = counts[rows][used].sum() <= surplus_items
            if few or by_uplink_s >= by_link_s[n] or not relief.may_send_less:
                fits[rows] &= ~slow[rows]
            else:
                last_call_s[n] = max(last_call_s[n], longest_s)
        return replace(relief, last_call_s=last_call_s, item_bytes=item_bytes, fits=fits)

    def with_best_last_calls(self, deadline_s: float, most: Floats, worth: Floats, relief: Relief) -> Relief:
        """For each node the longest call that it may end with, such that what it can do then is worth most.

        most    (P, H) items that fit into a processor's time if it runs one rung alone
        worth   (P, H) what they are worth, beyond the price of an item
        """
        fleet, last_call_s = self._fleet, relief.last_call_s.copy()
        fits = np.isfinite(self._call_s) if relief.fits is None else relief.fits & np.isfinite(self._call_s)
        worth = np.where(fits, worth, -np.inf)
        rates = fleet.bandwidth_bytes_per_s / np.maximum(relief.item_bytes, _TINY)
        for n in np.flatnonzero(np.isfinite(fleet.bandwidth_bytes_per_s) & (relief.item_bytes > 0)):
            rows = np.flatnonzero(fleet.node == n)
            limits_s = np.unique(self._call_s[rows][fits[rows]])
            limits_s = limits_s[limits_s < deadline_s - fleet.node_link_s[n]]
            if not len(limits_s):
                continue
            limits_s = limits_s[:: -(-len(limits_s) // _ENDS)]
            allowed = self._call_s[rows][None] <= limits_s[:, None, None] * (1 + TOLERANCE)
            among = np.where(allowed, worth[rows], 0.0)
            chosen = among.argmax(axis=2)[:, :, None]
            items = np.take_along_axis(np.broadcast_to(most[rows], among.shape), chosen, 2)[:, :, 0]
            wanted = np.where(among.max(axis=2) > 0, items, 0.0).sum(axis=1)
            come = rates[n] * (deadline_s - fleet.node_link_s[n] - limits_s)
            best = int((among.max(axis=2).sum(axis=1) * np.minimum(1.0, come / np.maximum(wanted, _TINY))).argmax())
            last_call_s[n] = limits_s[best]
            fits[rows] &= allowed[best]
        return replace(relief, last_call_s=last_call_s, fits=fits)

    @cached_property
    def _input_bytes(self) -> Floats:
        """(P, H)"""
        return np.take_along_axis(self._fleet.input_bytes, self._ladder.variant, 1)

    @cached_property
    def _call_s(self) -> Floats:
        """(P, H) seconds of a whole call."""
        return np.take_along_axis(self._fleet.call_s, self._ladder.variant, 1) / self._problem.readiness.speed[:, None]

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
