"""Whole-item mixes of one ladder within a deadline, found near the fluid optimum and confirmed by the cost model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from equipoise.planning.fleet import Ladder
from equipoise.planning.fluid import Fill, fill
from equipoise.planning.hulls import Hulls
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import TOLERANCE, Floats, Problem
from equipoise.planning.whole import Bools, Terms, best_mix

_REPAIRS = 6  # how often a plan that the cost model finds late is planned again with less time


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

    def __init__(self, problem: Problem, ladder: Ladder, hulls: Hulls) -> None:
        self.hulls = hulls
        self._problem = problem
        self._ladder = ladder
        charge_s = problem.readiness.charge_s
        self._charge_s = None if charge_s is None else np.take_along_axis(charge_s, ladder.variant, 1)

    def fluid_gain(self, deadline_s: float) -> float:
        """What no plan within the deadline can beat; -inf if there is not even time for the items."""
        return _gain(fill(self.hulls, self._time_s(deadline_s), self._problem.items))

    def mix(self, deadline_s: float) -> Found:
        """The most gain within a deadline by whole items, and the fluid gain as its bound.

        What the mix does not know of (inputs of several processors on one link) may make it late: then those
        processors get that much less time.
        """
        time_s = self._time_s(deadline_s)
        filled = fill(self.hulls, time_s, self._problem.items)
        bound = _gain(filled)
        for _ in range(_REPAIRS):
            prediction = self._mix_in(time_s, filled) if filled else None
            if prediction is None or prediction.latency_s <= deadline_s * (1 + TOLERANCE):
                return Found(prediction=prediction, bound=bound)
            time_s = np.maximum(0.0, time_s - self._late_s(prediction, deadline_s) * self._problem.readiness.speed)
            filled = fill(self.hulls, time_s, self._problem.items)
        return Found(prediction=None, bound=bound)

    def mix_at_floor(self, deadline_s: float, floor: float) -> Prediction | None:
        """The same, but None if it is less accurate than `floor`."""
        found = self.mix(deadline_s).prediction
        return found if found is not None and found.accuracy >= floor - TOLERANCE else None

    def _mix_in(self, time_s: Floats, filled: Fill) -> Prediction | None:
        problem, ladder = self._problem, self._ladder
        terms = Terms(time_s=time_s, charge_s=self._charge_s, together=self._together)
        mix = best_mix(ladder, terms, self._locate(time_s, filled).items, problem.items)
        if mix is None:
            return None
        counts = np.zeros(problem.fleet.item_s.shape, np.int64)
        counts[np.arange(len(counts))[:, None], ladder.variant] = mix.counts
        return problem.predict(problem.shares(counts))

    def _locate(self, time_s: Floats, filled: Fill) -> Fill:
        """Where to look: the fluid optimum, in the time that fixed costs leave where there are any."""
        if self._charge_s is None:
            return filled
        least_charge_s = np.where(filled.items > 0, self._charge_s.min(axis=1), 0.0)
        return fill(self.hulls, np.maximum(0.0, time_s - least_charge_s), self._problem.items) or filled

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
        fixed_s = 0.0 if self._charge_s is None else self._charge_s.max(axis=1)
        slowest_s = self._ladder.item_s[np.isfinite(self._ladder.item_s)].max(initial=0.0)
        return np.where(np.isfinite(ready.start_s), self._problem.items * slowest_s + fixed_s, 0.0)

    @cached_property
    def _together(self) -> Bools | None:
        fleet = self._problem.fleet
        if not fleet.is_memory_bound:
            return None
        rows = np.arange(len(self._ladder.variant))[:, None]
        needs = fleet.memory_bytes[rows, self._ladder.variant]
        both = needs[:, :, None] + needs[:, None, :]
        itself = np.eye(needs.shape[1], dtype=bool)
        fits: Bools = both <= fleet.node_memory_bytes[:, None, None]
        return fits | itself


def _gain(filled: Fill | None) -> float:
    return filled.gain if filled else -math.inf
