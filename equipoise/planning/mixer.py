"""Whole-item mixes of one ladder within a deadline, found near the fluid optimum and confirmed by the cost model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from equipoise.planning.fleet import NEVER_S, Ladder
from equipoise.planning.fluid import Fill, Inlet, fill, least_time_s
from equipoise.planning.hulls import Hulls, upper_hulls
from equipoise.planning.memory import memory_shares
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem
from equipoise.planning.whole import Bools, Calls, Terms, best_mix

_LEAST_RUNGS = 4  # looked at on every processor
_MOST_CELLS = 2_000  # of (processor, rung, rung), roughly: more take too long to tabulate
_ROUNDS = 4  # of choosing what nodes may hold or end with, and pricing items again
_GOOD_ENOUGH = 1e-4  # relative to the bound: no need to look further
_DOUBLINGS = 60  # of a deadline, at most
_PRECISION = 1e-4  # relative, of the bound on the least time
_BYTE_PRICES = 6  # tried at most
_REPAIRS = 10  # how often a plan that the cost model finds late is planned again with less time


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best that a search found (None if nothing), and what nothing can beat."""

    prediction: Prediction | None
    bound: float


@dataclass(frozen=True, kw_only=True)
class _Relief:
    """What is done so that inputs come in time and variants fit into memory."""

    last_call_s: Floats  # (N,) that a node is given after its last input
    item_bytes: Floats  # (N,) an item is taken to have
    fits: Bools | None  # (P, H) rungs that may be used; None for all
    may_send_less: bool = True  # to a node whose last call would begin too late
    squeeze: Ints  # (N,) how hard a node's processors are pressed to fit into its memory together; 0 not at all


class Mixer:
    """Looks for whole-item mixes of one ladder within deadlines."""

    @classmethod
    def of_accuracy(cls, problem: Problem) -> Mixer:
        """For mixes whose gain is their accuracy."""
        return cls(problem, problem.fleet.ladder, problem.fleet.hulls)

    def __init__(self, problem: Problem, ladder: Ladder, hulls: Hulls) -> None:
        self.hulls = hulls  # where nothing has to be loaded
        self._problem = problem
        self._ladder = ladder
        load_s = problem.readiness.load_s
        self._load_s = None if load_s is None else np.take_along_axis(load_s, ladder.variant, 1)

    def fluid_gain(self, deadline_s: float) -> float:
        """What no plan within the deadline can beat; -inf if there is not even time for the items."""
        return _gain(self._fill(self._time_s(deadline_s), self._inlet(deadline_s, self._no_relief())))

    def least_time_s(self, gain: float) -> float:
        """A deadline before which no plan earns `gain`; inf if none ever does."""
        ready, items = self._problem.readiness, self._problem.items
        low_s = least_time_s(self.hulls, ready.start_s, ready.speed, items, gain)
        if self._load_s is None and not self._problem.fleet.has_links:
            return low_s
        wanted = gain * (1 - TOLERANCE)
        high_s = low_s
        for _ in range(_DOUBLINGS):
            if not math.isfinite(high_s) or self.fluid_gain(high_s) >= wanted:
                break
            low_s, high_s = high_s, 2 * high_s
        while high_s - low_s > _PRECISION * high_s:
            middle_s = (low_s + high_s) / 2
            low_s, high_s = (low_s, middle_s) if self.fluid_gain(middle_s) >= wanted else (middle_s, high_s)
        return low_s

    def mix(self, deadline_s: float, *, enough: float = math.inf) -> Found:
        """The most gain within a deadline by whole items, and the fluid gain as its bound.

        A gain of `enough` (in total) will do: then no further way is tried to reach more.
        What the mix does not know of (the last call after the last input, scatter) may make it late: then whatever is
        late gets less to do, or other variants.
        """
        time_s, relief = self._time_s(deadline_s), self._no_relief()
        bound = _gain(self._fill(time_s, self._inlet(deadline_s, relief)))
        if bound == -math.inf:
            return Found(prediction=None, bound=bound)
        relief = replace(relief, fits=self._in_time(deadline_s))
        found = self._repaired(deadline_s, time_s, relief)
        if self._problem.fleet.has_links:
            found = self._through_links(deadline_s, time_s, relief, found, min(enough, bound * (1 - _GOOD_ENOUGH)))
        return Found(prediction=found, bound=bound)

    def _through_links(
        self, deadline_s: float, time_s: Floats, relief: _Relief, found: Prediction | None, enough: float
    ) -> Prediction | None:
        """The best of several ways to let inputs come in time; each one is tried only while that is not enough."""
        ways = [
            lambda: self._repaired(deadline_s, time_s, self._weighed(deadline_s, time_s, relief)),
            lambda: self._repaired(deadline_s, time_s, replace(relief, may_send_less=False)),
        ]
        if self._bytes_differ:
            ways.append(lambda: self._with_dear_bytes(deadline_s, time_s, relief))
        for way in ways:
            if found is not None and self._gain_of(found) >= enough:
                break
            found = max((f for f in (found, way()) if f is not None), key=self._gain_of, default=None)
        return found

    def _with_dear_bytes(self, deadline_s: float, time_s: Floats, relief: _Relief) -> Prediction | None:
        """The same with a price on input bytes, the least for which there is a plan: variants of smaller inputs win."""
        weight = self._problem.fleet.input_bytes[self._ladder.variant]
        scale = np.ptp(self._ladder.gain) / np.ptp(self._problem.fleet.input_bytes)
        best: Prediction | None = None
        low, high = 0.0, math.inf
        price = scale
        for _ in range(_BYTE_PRICES):
            ladder = replace(self._ladder, gain=self._ladder.gain - price * weight)
            dear = Mixer(self._problem, ladder, upper_hulls(ladder.item_s, ladder.gain))
            found = dear._repaired(deadline_s, time_s, relief)
            if found is None:
                low = price
            else:
                high = price
                best = max((f for f in (best, found) if f is not None), key=self._gain_of)
            price = (low + high) / 2 if math.isfinite(high) else 4 * price
        return best

    @property
    def _bytes_differ(self) -> bool:
        return bool(np.ptp(self._problem.fleet.input_bytes) > 0)

    def _weighed(self, deadline_s: float, time_s: Floats, relief: _Relief) -> _Relief:
        """Relief chosen beforehand: for each node the longest call that it may end with, at the price of an item.

        A node that may end with longer calls can use heavier variants, but gets its last input earlier and so fewer. What
        an item is worth depends on what all nodes choose: a few rounds.
        """
        best, best_gain = relief, -math.inf
        filled = self._fill(time_s, self._inlet(deadline_s, relief), relief.fits)
        price = self._dear if filled is None else filled.price
        for _ in range(_ROUNDS):
            tried = self._last_calls(deadline_s, time_s, price, relief)
            filled = self._fill(time_s, self._inlet(deadline_s, tried), tried.fits)
            if filled is not None and filled.gain > best_gain:
                best, best_gain = tried, filled.gain
            next_price = self._dear if filled is None else filled.price
            if next_price == price:
                break
            price = next_price
        return best

    def _last_calls(self, deadline_s: float, time_s: Floats, price: float, relief: _Relief) -> _Relief:
        fleet, last_call_s = self._problem.fleet, relief.last_call_s.copy()
        call_s = np.take_along_axis(fleet.call_s, self._ladder.variant, 1) / self._problem.readiness.speed[:, None]
        fits = np.isfinite(call_s) if relief.fits is None else relief.fits & np.isfinite(call_s)
        worth = np.where(fits, self._worth(time_s, price), -np.inf)
        with np.errstate(divide="ignore"):
            most = time_s[:, None] / self._ladder.item_s
        rates = fleet.bandwidth_bytes_per_s / np.maximum(relief.item_bytes, 1e-300)
        for n in np.flatnonzero(np.isfinite(rates) & (relief.item_bytes > 0)):
            rows = np.flatnonzero(fleet.node == n)
            limits_s = np.unique(call_s[rows][fits[rows]])
            left_s = deadline_s - fleet.node_link_s[n] - limits_s
            limits_s, left_s = limits_s[left_s > 0], left_s[left_s > 0]
            if not len(limits_s):
                continue
            allowed = call_s[rows][None] <= limits_s[:, None, None] * (1 + TOLERANCE)
            among = np.where(allowed, worth[rows], 0.0)
            items = np.take_along_axis(np.broadcast_to(most[rows], among.shape), among.argmax(axis=2)[:, :, None], 2)
            used = np.where(among.max(axis=2) > 0, items[:, :, 0], 0.0).sum(axis=1)
            value = among.max(axis=2).sum(axis=1) * np.minimum(1.0, rates[n] * left_s / np.maximum(used, 1e-300))
            best = int(value.argmax())
            last_call_s[n] = limits_s[best]
            fits[rows] &= allowed[best]
        return replace(relief, last_call_s=last_call_s, fits=fits)

    @cached_property
    def _dear(self) -> float:
        """A price below every gain: when there is hardly the time for all items, whatever they are."""
        return float(self._ladder.gain.min()) - 1.0

    def _gain_of(self, prediction: Prediction) -> float:
        return float((self._counts_on_ladder(prediction) * self._ladder.gain).sum())

    def _repaired(self, deadline_s: float, time_s: Floats, relief: _Relief) -> Prediction | None:
        for _ in range(_REPAIRS):
            prediction = self._mix_in(time_s, self._inlet(deadline_s, relief), relief)
            if prediction is None:
                return None
            if prediction.overfull:
                relief = self._squeezed(relief, prediction.overfull)
            elif prediction.latency_s <= deadline_s * (1 + TOLERANCE):
                return prediction
            else:
                late_s = self._late_s(prediction, deadline_s)
                if self._problem.request.requirement.confidence is not None:
                    time_s = np.maximum(0.0, time_s - late_s * self._problem.readiness.speed)
                if self._problem.fleet.has_links:
                    relief = self._relieved(relief, prediction, late_s, deadline_s)
        return None

    def _squeezed(self, relief: _Relief, overfull: tuple[str, ...]) -> _Relief:
        """The processors of overfull nodes have to do with less memory."""
        full = np.array([node.name in overfull for node in self._problem.fleet.cluster.nodes])
        return replace(relief, squeeze=relief.squeeze + full)

    def _no_relief(self) -> _Relief:
        return _Relief(
            last_call_s=self._least_call_s,
            item_bytes=self._least_bytes,
            fits=None,
            squeeze=np.zeros(len(self._least_bytes), np.int64),
        )

    def _relieved(self, relief: _Relief, prediction: Prediction, late_s: Floats, deadline_s: float) -> _Relief:
        """More relief for the links of late processors: fewer items for the node, so that its longest call can begin in
        time, or no variants whose calls take so long; whichever concerns fewer items.
        """
        fleet, counts = self._problem.fleet, self._counts_on_ladder(prediction)
        last_call_s, item_bytes = relief.last_call_s.copy(), relief.item_bytes.copy()
        fits = np.ones(counts.shape, dtype=bool) if relief.fits is None else relief.fits.copy()
        sent = np.bincount(fleet.node, (counts * fleet.input_bytes[self._ladder.variant]).sum(axis=1), len(item_bytes))
        items = np.bincount(fleet.node, counts.sum(axis=1), len(item_bytes))
        by_link_s, by_uplink_s = sent / fleet.bandwidth_bytes_per_s, float(sent.sum()) / fleet.uplink_bytes_per_s
        call_s = np.take_along_axis(fleet.call_s, self._ladder.variant, 1) / self._problem.readiness.speed[:, None]
        left_s = deadline_s - fleet.node_link_s - np.maximum(by_link_s, by_uplink_s)
        slow = call_s > left_s[fleet.node][:, None] * (1 + TOLERANCE)
        for n in np.unique(fleet.node[late_s > 0]):
            rows = np.flatnonzero(fleet.node == n)
            used = slow[rows] & (counts[rows] > 0)
            if not used.any():
                continue
            longest_s = float(call_s[rows][used].max())
            item_bytes[n] = sent[n] / items[n]
            surplus_items = (longest_s - left_s[n]) * fleet.bandwidth_bytes_per_s[n] / item_bytes[n]
            few = counts[rows][used].sum() <= surplus_items
            if few or by_uplink_s >= by_link_s[n] or not relief.may_send_less:
                fits[rows] &= ~slow[rows]
            else:
                last_call_s[n] = max(last_call_s[n], longest_s)
        return replace(relief, last_call_s=last_call_s, item_bytes=item_bytes, fits=fits)

    def _counts_on_ladder(self, prediction: Prediction) -> Ints:
        fleet = self._problem.fleet
        counts = np.zeros(fleet.item_s.shape, np.int64)
        for share in prediction.shares:
            counts[fleet.index[share.pid], fleet.column[share.variant]] = share.items
        return np.take_along_axis(counts, self._ladder.variant, 1)

    def mix_at_floor(self, deadline_s: float, floor: float) -> Prediction | None:
        """The same, but None if it is less accurate than `floor`."""
        found = self.mix(deadline_s, enough=floor * self._problem.items).prediction
        return found if found is not None and found.accuracy >= floor - TOLERANCE else None

    def _fill(self, time_s: Floats, inlet: Inlet | None, fits: Bools | None = None) -> Fill | None:
        """The fluid optimum. Loads shorten the time of whoever uses a variant: a processor that has T seconds reaches
        no more than the hull of what each variant reaches in T less its load, however it mixes them.
        """
        if inlet is not None and inlet.most_items.sum() < self._problem.items * (1 - TOLERANCE):
            return None
        return fill(self._hulls_in(time_s, fits), time_s, self._problem.items, inlet)

    def _hulls_in(self, time_s: Floats, fits: Bools | None) -> Hulls:
        if self._load_s is None and fits is None:
            return self.hulls
        item_s = self._loaded_item_s(time_s)
        return upper_hulls(item_s if fits is None else np.where(fits, item_s, np.inf), self._ladder.gain)

    def _loaded_item_s(self, time_s: Floats) -> Floats:
        """(P, H) seconds per item if all the time goes into one rung, its load included; inf if it does not fit."""
        if self._load_s is None:
            return self._ladder.item_s
        left_s = time_s[:, None] - self._load_s
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(left_s > 0, self._ladder.item_s * time_s[:, None] / left_s, np.inf)

    def _mix_in(self, time_s: Floats, inlet: Inlet | None, relief: _Relief) -> Prediction | None:
        problem = self._problem
        bytes_of, filled = self._fill_in_memory(time_s, inlet, relief)
        if filled is None:
            return None
        ladder, kept = self._relevant(time_s, filled)
        terms = self._terms(time_s, inlet, self._together(relief.fits, bytes_of), kept)
        mix = best_mix(ladder, terms, filled.items, problem.items)
        if mix is None:
            return None
        counts = np.zeros(problem.fleet.item_s.shape, np.int64)
        counts[np.arange(len(counts))[:, None], ladder.variant] = mix.counts
        return problem.predict(problem.shares(counts))

    def _fill_in_memory(
        self, time_s: Floats, inlet: Inlet | None, relief: _Relief
    ) -> tuple[Floats | None, Fill | None]:
        """The best fill whose variants fit into the nodes' memory, and the (P,) bytes that each processor may use.

        What a squeezed node should hold depends on what an item is worth, and that on what the nodes hold: a few rounds.
        """
        fleet = self._problem.fleet
        best = self._fill(time_s, inlet, relief.fits)
        if best is None or not fleet.is_memory_bound:
            return None, best
        bytes_of = fleet.node_memory_bytes[fleet.node]
        if not relief.squeeze.any():
            return bytes_of, best
        limited = np.where(relief.squeeze > 0, fleet.node_memory_bytes, np.inf)
        price, tried = best.price, set[float]()
        best = None
        while price not in tried and len(tried) < _ROUNDS:
            tried.add(price)
            worth = self._worth(time_s, price)
            worth = worth if relief.fits is None else np.where(relief.fits, worth, -np.inf)
            own = memory_shares(worth, self._needs, fleet.node, limited)
            held = self._needs <= own[:, None]
            found = self._fill(time_s, inlet, held if relief.fits is None else held & relief.fits)
            if found is not None and (best is None or found.gain > best.gain):
                best, bytes_of = found, self._with_leftovers(own, relief.squeeze)
            price = self._dear if found is None else found.price
        return bytes_of, best

    def _with_leftovers(self, own: Floats, squeeze: Ints) -> Floats:
        """(P,) bytes with what a node has left over: for all alike and more than once while it is squeezed little, then
        divided, at last for its first processor with work alone.
        """
        fleet = self._problem.fleet
        bytes_of = np.minimum(own, fleet.node_memory_bytes[fleet.node])
        for n in np.flatnonzero(squeeze > 0):
            rows = np.flatnonzero(fleet.node == n)
            left = fleet.node_memory_bytes[n] - bytes_of[rows].sum()
            at_work = rows[bytes_of[rows] > 0]
            if squeeze[n] == 1:
                bytes_of[rows] += left
            elif squeeze[n] == 2:
                bytes_of[at_work] += left / max(1, len(at_work))
            elif len(at_work):
                bytes_of[at_work[0]] += left
        return bytes_of

    def _together(self, fits: Bools | None, bytes_of: Floats | None) -> Bools | None:
        """(P, H, H) rungs that a processor may both use; None for all."""
        both = None if fits is None else fits[:, :, None] & fits[:, None, :]
        if bytes_of is None:
            return both
        in_memory = _fit_together(self._needs, bytes_of)
        return in_memory if both is None else in_memory & both

    @cached_property
    def _needs(self) -> Floats:
        """(P, H) bytes of memory."""
        return np.take_along_axis(self._problem.fleet.memory_bytes, self._ladder.variant, 1)

    def _worth(self, time_s: Floats, price: float) -> Floats:
        """(P, H) what a rung brings beyond the price of its items if it gets all the time of its processor."""
        item_s = self._loaded_item_s(time_s)
        worth: Floats = np.where(np.isfinite(item_s), (self._ladder.gain - price) * time_s[:, None] / item_s, -np.inf)
        return worth

    def _relevant(self, time_s: Floats, filled: Fill) -> tuple[Ladder, Ints | None]:
        """The rungs worth looking at, where there are too many to look at all: those worth most at the fluid price."""
        rows, rungs = self._ladder.item_s.shape
        kept = max(_LEAST_RUNGS, int(math.sqrt(_MOST_CELLS / rows)))
        if rungs <= kept:
            return self._ladder, None
        worth = self._worth(time_s, filled.price)
        best = np.sort(np.argpartition(-worth, kept, axis=1)[:, :kept], axis=1)
        return self._ladder.only(best), best

    def _terms(self, time_s: Floats, inlet: Inlet | None, together: Bools | None, kept: Ints | None) -> Terms:
        load_s, calls = self._load_s, self._calls
        if kept is not None:
            load_s = None if load_s is None else np.take_along_axis(load_s, kept, 1)
            calls = calls and calls.only(kept)
            if together is not None:
                rows = np.arange(len(kept))[:, None, None]
                together = together[rows, kept[:, :, None], kept[:, None, :]]
        return Terms(time_s=time_s, inlet=inlet, load_s=load_s, calls=calls, together=together)

    def _late_s(self, prediction: Prediction, deadline_s: float) -> Floats:
        late_s = np.zeros(len(self._problem.fleet.pids))
        for share in prediction.shares:
            p = self._problem.fleet.index[share.pid]
            late_s[p] = max(late_s[p], share.finish_s - deadline_s)
        return late_s

    def _time_s(self, deadline_s: float) -> Floats:
        """(P,) seconds at profile speed; a long but finite time where the deadline is unbounded."""
        ready = self._problem.readiness
        if math.isfinite(deadline_s):
            return ready.time_s(deadline_s)
        fixed_s = 0.0 if self._load_s is None else self._load_s.sum(axis=1)
        slowest_s = self._ladder.item_s[np.isfinite(self._ladder.item_s)].max(initial=0.0)
        if self._calls is not None:
            slowest_s = max(slowest_s, float(self._calls.call_s[self._calls.call_s < NEVER_S].max(initial=0.0)))
        return np.where(np.isfinite(ready.start_s), self._problem.items * slowest_s + fixed_s, 0.0)

    def _inlet(self, deadline_s: float, relief: _Relief) -> Inlet | None:
        """What the links let in before the last calls have to begin."""
        fleet = self._problem.fleet
        if not fleet.has_links or not math.isfinite(deadline_s):
            return None
        left_s = np.maximum(0.0, deadline_s - fleet.node_link_s - relief.last_call_s)
        with np.errstate(divide="ignore", invalid="ignore"):
            by_link = np.where(relief.item_bytes > 0, left_s * fleet.bandwidth_bytes_per_s / relief.item_bytes, np.inf)
        by_uplink_s = self._problem.items * float(self._least_bytes.min()) / fleet.uplink_bytes_per_s
        in_time = by_uplink_s <= (deadline_s - fleet.node_link_s - self._least_call_s).max() * (1 + TOLERANCE)
        return Inlet(node=fleet.node, most_items=by_link if in_time else np.zeros_like(by_link))

    def _in_time(self, deadline_s: float) -> Bools | None:
        """(P, H) rungs of which a call can be over in time if it begins when the last input is through the uplink."""
        fleet = self._problem.fleet
        if not (fleet.has_links and math.isfinite(fleet.uplink_bytes_per_s) and math.isfinite(deadline_s)):
            return None
        call_s = np.take_along_axis(fleet.call_s, self._ladder.variant, 1) / self._problem.readiness.speed[:, None]
        sent_s = self._problem.items * float(self._least_bytes.min()) / fleet.uplink_bytes_per_s
        fits: Bools = call_s + (sent_s + fleet.link_s)[:, None] <= deadline_s * (1 + TOLERANCE)
        return None if fits[np.isfinite(call_s)].all() else fits

    @cached_property
    def _least_call_s(self) -> Floats:
        """(N,) the shortest call that a node can end with."""
        fleet = self._problem.fleet
        least = np.where(self._problem.usable, fleet.shortest_call_s, np.inf).min(axis=1) / self._problem.readiness.speed
        by_node = np.full(len(fleet.node_memory_bytes), np.inf)
        np.minimum.at(by_node, fleet.node, least)
        return np.where(np.isfinite(by_node), by_node, 0.0)

    @cached_property
    def _least_bytes(self) -> Floats:
        """(N,) input bytes per item at least, of what a node can run."""
        fleet = self._problem.fleet
        least = np.where(self._problem.usable, fleet.input_bytes, np.inf).min(axis=1)
        by_node = np.full(len(fleet.node_memory_bytes), np.inf)
        np.minimum.at(by_node, fleet.node, least)
        return np.where(np.isfinite(by_node), by_node, 0.0)

    @cached_property
    def _calls(self) -> Calls | None:
        fleet, variant = self._problem.fleet, self._ladder.variant
        if not fleet.has_batches:
            return None
        batch, call_s, rest_at = (np.take_along_axis(a, variant, 1) for a in (fleet.batch, fleet.call_s, fleet.rest_at))
        return Calls(batch=batch, call_s=np.minimum(call_s, NEVER_S), rest_at=rest_at, rest_s=fleet.rest_s)


def _fit_together(needs: Floats, bytes_of: Floats) -> Bools:
    """(P, H, H) rungs that a processor may both use."""
    both = needs[:, :, None] + needs[:, None, :]
    alone = np.eye(needs.shape[1], dtype=bool) & (needs <= bytes_of[:, None])[:, :, None]
    fits: Bools = (both <= bytes_of[:, None, None]) | alone
    return fits


def _gain(filled: Fill | None) -> float:
    return filled.gain if filled else -math.inf
