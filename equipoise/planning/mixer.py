"""Whole-item mixes of one ladder within a deadline, found near the fluid optimum and confirmed by the cost model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from equipoise.planning.fluid import Fill, Inlet, fill, least_time_s
from equipoise.planning.hulls import Hulls, upper_hulls
from equipoise.planning.ladders import Ladder
from equipoise.planning.link_prices import Offers
from equipoise.planning.memory import fit_together, memory_shares, with_leftovers
from equipoise.planning.mixes import Bools, Calls, Terms
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem
from equipoise.planning.relief import Links, Relief
from equipoise.planning.whole import best_mix

_LEAST_RUNGS = 4  # looked at on every processor
_MOST_CELLS = 1_200  # of (processor, rung, rung), roughly: more take too long to tabulate
_ROUNDS = 4  # of choosing what nodes may hold or end with, and pricing items again
_GOOD_ENOUGH = 0.04  # relative to what prices promise: no need to look further
_GOOD_IF_FEW, _FEW = 0.005, 64  # the same where looking again takes no time: for so few pairs of processor and rung
_MANY = 200_000  # pairs: of more, prices would take too much memory
_HOPELESS = 0.03  # relative: so much less than what is asked for, prices promise it in vain
_DOUBLINGS = 60  # of a deadline, at most
_PRECISION = 1e-4  # relative, of the bound on the least time
_BYTE_PRICES = 4  # tried at most
_REPAIRS = 10  # how often a plan that the cost model finds late or too large is planned again with less


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best that a search found (None if nothing), and what nothing can beat."""

    prediction: Prediction | None
    bound: float


class Mixer:
    """Looks for whole-item mixes of one ladder within deadlines."""

    @classmethod
    def of_accuracy(cls, problem: Problem) -> Mixer:
        """For mixes whose gain is their accuracy."""
        return cls(problem, problem.fleet.ladder, problem.fleet.hulls)

    def __init__(self, problem: Problem, ladder: Ladder, hulls: Hulls | None = None) -> None:
        self._problem = problem
        self._fleet = problem.fleet
        self._ladder = ladder
        self._hulls = upper_hulls(ladder.item_s, ladder.gain) if hulls is None else hulls  # where nothing is loaded
        self._rungs = problem.fleet.rungs(ladder)
        self._links = Links(problem, self._rungs)
        self._known_time_s: tuple[float, Floats] | None = None  # of the deadline asked for last
        self._known_hulls: tuple[tuple[Floats, Bools | None, Floats | None], Hulls] | None = None  # asked for last
        self._known_fill: tuple[Floats, Fill | None] | None = None  # where nothing but time limits
        load_s = problem.readiness.load_s
        self._load_s = None if load_s is None else np.take_along_axis(load_s, ladder.variant, 1)

    def fluid_gain(self, deadline_s: float) -> float:
        """What no plan within the deadline can beat; -inf if there is not even time for the items."""
        filled = self._fill(self._time_s(deadline_s), self._links.inlet(deadline_s, self._links.no_relief()))
        return filled.gain if filled else -math.inf

    def least_time_s(self, gain: float) -> float:
        """A deadline before which no plan earns `gain`; inf if none ever does."""
        ready = self._problem.readiness
        low_s = least_time_s(self._hulls, ready.start_s, ready.speed, self._problem.items, gain)
        if self._load_s is None and not self._fleet.has_links:
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

    def mix_at_floor(self, deadline_s: float, floor: float, *, is_quick: bool = False) -> Prediction | None:
        """A mix within a deadline that is at least as accurate as `floor`, or None.

        is_quick   True to spare the way that takes longest
        """
        found = self.mix(deadline_s, enough=floor * self._problem.items, is_quick=is_quick).prediction
        return found if found is not None and found.accuracy >= floor - TOLERANCE else None

    def mix(self, deadline_s: float, *, enough: float = math.inf, is_quick: bool = False) -> Found:
        """The most gain within a deadline by whole items, and the fluid gain as its bound.

        A gain of `enough` (in total) will do: then no further way is tried to reach more.
        """
        bound = self.fluid_gain(deadline_s)
        if bound == -math.inf:
            return Found(prediction=None, bound=bound)
        relief = replace(self._links.no_relief(), fits=self._links.in_time(deadline_s))
        if self._fleet.has_links and math.isfinite(deadline_s):
            return Found(prediction=self._through_links(deadline_s, relief, enough, bound, is_quick), bound=bound)
        return Found(prediction=self._repaired(deadline_s, relief), bound=bound)

    # --- repair ------------------------------------------------------------------------------------------------------

    def _repaired(self, deadline_s: float, relief: Relief) -> Prediction | None:
        """A mix that the cost model confirms, or None.

        What the mix does not know of (the last call after the last input, the memory of a node, scatter) may make it
        late or too large: then whatever is late gets less to do or other variants, and processors of full nodes get
        less memory.
        """
        time_s, requirement = self._time_s(deadline_s), self._problem.request.requirement
        for attempt in range(_REPAIRS):
            prediction = self._mix_in(time_s, self._links.inlet(deadline_s, relief), relief)
            if prediction is None:
                return None
            if not prediction.overfull and prediction.latency_s <= deadline_s * (1 + TOLERANCE):
                return prediction
            late_s = self._late_s(prediction, deadline_s)
            if prediction.overfull:
                full = np.array([node.name in prediction.overfull for node in self._fleet.cluster.nodes])
                relief = relief.squeezed(full)
            elif self._fleet.has_links:
                relief = self._links.relieved(relief, self._counts_of(prediction), late_s > 0, deadline_s)
            if requirement.confidence is not None:
                # More each time, or what one processor gives up makes others late by a little, in turn.
                time_s = np.maximum(0.0, time_s - (1 + attempt) * late_s * self._problem.readiness.speed)
        return None

    def _through_links(
        self, deadline_s: float, relief: Relief, enough: float, bound: float, is_quick: bool
    ) -> Prediction | None:
        """The best of several ways to let inputs come in time; each one is tried only while that is not enough."""
        pairs, found = self._ladder.variant.size, None
        if pairs <= _MANY:
            priced, gain = self._priced(deadline_s, relief)
            near = min(bound, gain)
            if math.isfinite(enough) and near < enough * (1 - _HOPELESS):
                return None
            enough = min(enough, near * (1 - (_GOOD_IF_FEW if pairs <= _FEW else _GOOD_ENOUGH)))
            found = self._repaired(deadline_s, priced)
        if found is None or self._gain_of(found) < enough:
            found = self._best_of(found, self._repaired(deadline_s, relief))
        if not is_quick and self._fleet.input_bytes_differ and (found is None or self._gain_of(found) < enough):
            found = self._best_of(found, self._with_dear_bytes(deadline_s, relief))
        return found

    def _best_of(self, *found: Prediction | None) -> Prediction | None:
        return max((f for f in found if f is not None), key=self._gain_of, default=None)

    def _priced(self, deadline_s: float, relief: Relief) -> tuple[Relief, float]:
        """Relief chosen beforehand by the prices of items and bytes, and about what gain that will allow."""
        time_s, call_s = self._time_s(deadline_s), self._links.call_s
        fits = np.isfinite(call_s) if relief.fits is None else relief.fits & np.isfinite(call_s)
        offers = Offers(
            items=np.where(fits, time_s[:, None] / self._loaded_item_s(time_s), 0.0),
            gain=self._ladder.gain,
            item_bytes=self._rungs.input_bytes,
            call_s=np.where(fits, call_s, np.inf),
        )
        filled = self._fill(time_s, self._links.inlet(deadline_s, relief), relief.fits)
        return self._links.priced(deadline_s, offers, self._dear if filled is None else filled.price, relief)

    def _with_dear_bytes(self, deadline_s: float, relief: Relief) -> Prediction | None:
        """The same with a price on input bytes, the least for which there is a plan: variants of smaller inputs win."""
        weight = self._rungs.input_bytes
        best: Prediction | None = None
        low, high = 0.0, math.inf
        price = float(np.ptp(self._ladder.gain) / self._fleet.input_bytes_differ)
        for _ in range(_BYTE_PRICES):
            dear = Mixer(self._problem, replace(self._ladder, gain=self._ladder.gain - price * weight))
            found = dear._repaired(deadline_s, relief)
            if found is None:
                low = price
            else:
                high = price
                best = self._best_of(best, found)
            price = (low + high) / 2 if math.isfinite(high) else 4 * price
        return best

    def _late_s(self, prediction: Prediction, deadline_s: float) -> Floats:
        late_s = np.zeros(len(self._fleet.pids))
        for share in prediction.shares:
            p = self._fleet.index[share.pid]
            late_s[p] = max(late_s[p], share.finish_s - deadline_s)
        return late_s

    def _counts_of(self, prediction: Prediction) -> Ints:
        """(P, H) items by rung."""
        counts = np.zeros(self._fleet.item_s.shape, np.int64)
        for share in prediction.shares:
            counts[self._fleet.index[share.pid], self._fleet.column[share.variant]] = share.items
        return np.take_along_axis(counts, self._ladder.variant, 1)

    def _gain_of(self, prediction: Prediction) -> float:
        return float((self._counts_of(prediction) * self._ladder.gain).sum())

    # --- the fluid optimum -------------------------------------------------------------------------------------------

    def _fill(
        self, time_s: Floats, inlet: Inlet | None, fits: Bools | None = None, byte_price: Floats | None = None
    ) -> Fill | None:
        """The fluid optimum. Loads shorten the time of whoever uses a variant: a processor that has T seconds reaches
        no more than the hull of what each variant reaches in T less its load, however it mixes them.
        """
        if inlet is not None and inlet.most_items.sum() < self._problem.items * (1 - TOLERANCE):
            return None
        if inlet is None and fits is None and byte_price is None:
            if self._known_fill is None or self._known_fill[0] is not time_s:
                self._known_fill = time_s, fill(self._hulls_in(time_s, None, None), time_s, self._problem.items)
            return self._known_fill[1]
        return fill(self._hulls_in(time_s, fits, byte_price), time_s, self._problem.items, inlet)

    def _hulls_in(self, time_s: Floats, fits: Bools | None, byte_price: Floats | None) -> Hulls:
        if self._load_s is None and fits is None and byte_price is None:
            return self._hulls
        asked = time_s, fits, byte_price
        if self._known_hulls is None or any(a is not b for a, b in zip(self._known_hulls[0], asked, strict=True)):
            item_s = self._loaded_item_s(time_s)
            hulls = upper_hulls(item_s if fits is None else np.where(fits, item_s, np.inf), self._dear_gain(byte_price))
            self._known_hulls = asked, hulls
        return self._known_hulls[1]

    def _dear_gain(self, byte_price: Floats | None) -> Floats:
        """(P, H) gain less what the bytes of an item's input cost on the way."""
        if byte_price is None:
            return self._ladder.gain
        return self._ladder.gain - byte_price[self._fleet.node][:, None] * self._rungs.input_bytes

    def _loaded_item_s(self, time_s: Floats) -> Floats:
        """(P, H) seconds per item if all the time goes into one rung, its load included; inf if it does not fit."""
        if self._load_s is None:
            return self._ladder.item_s
        left_s = time_s[:, None] - self._load_s
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(left_s > 0, self._ladder.item_s * time_s[:, None] / left_s, np.inf)

    def _worth(self, time_s: Floats, price: float, byte_price: Floats | None = None) -> Floats:
        """(P, H) what a rung brings beyond the price of its items if it gets all the time of its processor."""
        item_s, gain = self._loaded_item_s(time_s), self._dear_gain(byte_price)
        worth: Floats = np.where(np.isfinite(item_s), (gain - price) * time_s[:, None] / item_s, -np.inf)
        return worth

    @cached_property
    def _dear(self) -> float:
        """A price below every gain: when there is hardly the time for all items, whatever they are."""
        return float(self._ladder.gain.min()) - 1.0

    def _fill_in_memory(self, time_s: Floats, inlet: Inlet | None, relief: Relief) -> tuple[Floats | None, Fill | None]:
        """The best fill whose variants fit into the nodes' memory, and the (P,) bytes that each processor may use.

        What a squeezed node should hold depends on what an item is worth, and that on what the nodes hold: a few
        rounds.
        """
        fleet = self._fleet
        best = self._fill(time_s, inlet, relief.fits, relief.byte_price)
        if best is None or not fleet.is_memory_bound:
            return None, best
        bytes_of = fleet.node_memory_bytes[fleet.node]
        if not relief.squeeze.any():
            return bytes_of, best
        limited = np.where(relief.squeeze > 0, fleet.node_memory_bytes, np.inf)
        price, tried, best = best.price, set[float](), None
        while price not in tried and len(tried) < _ROUNDS:
            tried.add(price)
            worth = self._worth(time_s, price, relief.byte_price)
            worth = worth if relief.fits is None else np.where(relief.fits, worth, -np.inf)
            own = memory_shares(worth, self._rungs.memory_bytes, fleet.node, limited)
            held = self._rungs.memory_bytes <= own[:, None]
            found = self._fill(time_s, inlet, held if relief.fits is None else held & relief.fits, relief.byte_price)
            if found is not None and (best is None or found.gain > best.gain):
                best, bytes_of = found, with_leftovers(own, relief.squeeze, fleet.node, fleet.node_memory_bytes)
            price = self._dear if found is None else found.price
        return bytes_of, best

    # --- whole items -------------------------------------------------------------------------------------------------

    def _mix_in(self, time_s: Floats, inlet: Inlet | None, relief: Relief) -> Prediction | None:
        if relief.items is not None and relief.item_price is not None and not relief.squeeze.any():
            bytes_of = self._fleet.node_memory_bytes[self._fleet.node] if self._fleet.is_memory_bound else None
            near, price = relief.items, relief.item_price
        else:
            bytes_of, filled = self._fill_in_memory(time_s, inlet, relief)
            if filled is None:
                return None
            near, price = filled.items, filled.price
        ladder, kept = self._relevant(time_s, price)
        terms = self._terms(time_s, inlet, self._together(relief.fits, bytes_of, kept), kept)
        if relief.most_bytes is not None:
            rung_bytes = (
                self._rungs.input_bytes if kept is None else np.take_along_axis(self._rungs.input_bytes, kept, 1)
            )
            terms = replace(terms, rung_bytes=rung_bytes, most_bytes=relief.most_bytes)
        mix = best_mix(ladder, terms, near, self._problem.items)
        if mix is None:
            return None
        counts = np.zeros(self._fleet.item_s.shape, np.int64)
        counts[np.arange(len(counts))[:, None], ladder.variant] = mix.counts
        return self._problem.predict_counts(counts)

    def _relevant(self, time_s: Floats, price: float) -> tuple[Ladder, Ints | None]:
        """The rungs worth looking at, where there are too many to look at all: those worth most at the fluid price."""
        rows, rungs = self._ladder.item_s.shape
        kept = max(_LEAST_RUNGS, int(math.sqrt(_MOST_CELLS / rows)))
        if rungs <= kept:
            return self._ladder, None
        worth = self._worth(time_s, price)
        best = np.sort(np.argpartition(-worth, kept, axis=1)[:, :kept], axis=1)
        return self._ladder.only(best), best

    def _terms(self, time_s: Floats, inlet: Inlet | None, together: Bools | None, kept: Ints | None) -> Terms:
        load_s, calls = self._load_s, self._calls
        if kept is not None:
            load_s = None if load_s is None else np.take_along_axis(load_s, kept, 1)
            calls = calls and calls.only(kept)
        return Terms(time_s=time_s, inlet=inlet, load_s=load_s, calls=calls, together=together)

    def _together(self, fits: Bools | None, bytes_of: Floats | None, kept: Ints | None) -> Bools | None:
        """(P, H, H) rungs, of those that are kept, that a processor may both use; None for all."""
        if fits is not None and kept is not None:
            fits = np.take_along_axis(fits, kept, 1)
        both = None if fits is None else fits[:, :, None] & fits[:, None, :]
        if bytes_of is None:
            return both
        in_memory = fit_together(
            self._rungs.memory_bytes if kept is None else np.take_along_axis(self._rungs.memory_bytes, kept, 1),
            bytes_of,
        )
        return in_memory if both is None else in_memory & both

    @cached_property
    def _calls(self) -> Calls | None:
        if not self._fleet.has_batches:
            return None
        return Calls(figures=self._rungs.calls, rest_s=self._fleet.rest_s)

    def _time_s(self, deadline_s: float) -> Floats:
        """(P,) seconds at profile speed; a long but finite time where the deadline is unbounded."""
        if self._known_time_s is None or self._known_time_s[0] != deadline_s:
            self._known_time_s = deadline_s, self._time_until(deadline_s)
        return self._known_time_s[1]

    def _time_until(self, deadline_s: float) -> Floats:
        ready = self._problem.readiness
        if math.isfinite(deadline_s):
            return ready.time_s(deadline_s)
        call_s = self._fleet.call_s[np.isfinite(self._fleet.call_s)].max(initial=0.0)
        load_s = 0.0 if self._load_s is None else self._load_s.sum(axis=1)
        return np.where(np.isfinite(ready.start_s), self._problem.items * call_s + load_s, 0.0)
