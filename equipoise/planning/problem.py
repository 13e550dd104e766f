"""A request on a fleet under given conditions: what a strategy is asked to solve, and how its answer is judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from equipoise.core.plan import Conditions, Plan, Share
from equipoise.core.request import Prefer, Request
from equipoise.errors import PlanningError
from equipoise.planning.fleet import Fleet, Readiness
from equipoise.planning.predict import Pieces, Prediction

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TOLERANCE = 1e-9  # relative, of a promise: what floating-point error alone may cost


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a strategy is asked to solve."""

    request: Request
    fleet: Fleet
    conditions: Conditions

    @cached_property
    def readiness(self) -> Readiness:
        """When each processor can start, and how fast it is."""
        return Readiness.of(self.fleet, self.conditions)

    @property
    def items(self) -> int:
        """How many items there are."""
        return self.request.items

    @property
    def deadline_s(self) -> float:
        """Seconds until the last answer is due; inf if time is unbounded."""
        return self.request.deadline_s

    @property
    def floor(self) -> float:
        """The least accuracy that is acceptable."""
        return self.request.requirement.min_accuracy

    @property
    def prefer(self) -> Prefer:
        """What slack is for."""
        return self.request.requirement.prefer

    @cached_property
    def usable(self) -> npt.NDArray[np.bool_]:
        """(P, V) what can be run at all now."""
        if not self.conditions:
            return self.fleet.runnable
        usable: npt.NDArray[np.bool_] = self.fleet.runnable & np.isfinite(self.readiness.start_s)[:, None]
        return usable

    @cached_property
    def best_accuracy(self) -> float:
        """Of the variants that can be run at all now."""
        if not self.conditions:
            return self.fleet.best_accuracy
        return float(np.where(self.usable, self.fleet.accuracy, 0.0).max())

    def due(self, deadline_s: float) -> Problem:
        """The same problem with another deadline."""
        requirement = msgspec.structs.replace(self.request.requirement, deadline_s=deadline_s, throughput_per_s=None)
        return replace(self, request=msgspec.structs.replace(self.request, requirement=requirement))

    def pieces(self, counts: Ints) -> Pieces:
        """The shares of items per (processor, variant) by number, most accurate first on each processor."""
        fleet = self.fleet
        rows, ranks = np.nonzero(counts[:, fleet.by_accuracy])
        columns = fleet.by_accuracy[ranks]
        items = counts[rows, columns]
        batches = np.minimum(fleet.batch[rows, columns], items)
        return Pieces(rows.tolist(), columns.tolist(), items.tolist(), batches.tolist())

    def shares(self, counts: Ints) -> tuple[Share, ...]:
        """The shares of items per (processor, variant). Not yet predicted."""
        fleet = self.fleet
        return tuple(
            Share(
                node=fleet.pids[p].node,
                processor=fleet.pids[p].processor,
                variant=fleet.names[v],
                batch=batch,
                items=items,
                finish_s=0.0,
            )
            for p, v, items, batch in zip(*self.pieces(counts), strict=True)
        )

    def predict(self, shares: Iterable[Share]) -> Prediction:
        """What to expect of these shares now."""
        return self.fleet.costs.predict(tuple(shares), self.conditions, self.request.requirement.confidence)

    def predict_counts(self, counts: Ints) -> Prediction:
        """What to expect now of items per (processor, variant)."""
        return self.predict_pieces(self.pieces(counts))

    def predict_pieces(self, pieces: Pieces) -> Prediction:
        """The same of shares by number."""
        return self.fleet.costs.predict_pieces(pieces, self.conditions, self.request.requirement.confidence)

    def keeps(self, prediction: Prediction, *, deadline_s: float | None = None, floor: float | None = None) -> bool:
        """True if this keeps both promises (or the ones given instead), stays within limits and covers every item."""
        deadline_s = self.deadline_s if deadline_s is None else deadline_s
        floor = self.floor if floor is None else floor
        return (
            prediction.items == self.items
            and prediction.latency_s <= deadline_s * (1 + TOLERANCE)
            and prediction.accuracy >= floor - TOLERANCE
            and self.is_within_limits(prediction)
        )

    def is_within_limits(self, prediction: Prediction) -> bool:
        """True if the variants fit into the nodes' memory, and energy and power are within what is allowed."""
        wanted = self.request.requirement
        return not prediction.overfull and all(
            most is None or (value is not None and value <= most * (1 + TOLERANCE))
            for value, most in ((prediction.energy_j, wanted.max_energy_j), (prediction.power_w, wanted.max_power_w))
        )

    def violation(self, prediction: Prediction) -> float:
        """The larger relative violation of the two promises; 0 if both are kept."""
        late = prediction.latency_s / self.deadline_s - 1 if np.isfinite(self.deadline_s) else 0.0
        low = 1 - prediction.accuracy / self.floor if self.floor > 0 else 0.0
        return max(0.0, late, low)

    def better(self, a: Prediction, b: Prediction) -> bool:
        """True if `a` is to be preferred to `b`, both keeping the promises."""
        return self._merit(a) > self._merit(b)

    def _merit(self, prediction: Prediction) -> tuple[float, float]:
        match self.prefer:
            case Prefer.ACCURACY:
                return prediction.accuracy, -prediction.latency_s
            case Prefer.LATENCY:
                return -prediction.latency_s, prediction.accuracy
            case Prefer.ENERGY:
                return -(prediction.energy_j or 0.0), prediction.accuracy

    def plan(self, strategy: str, prediction: Prediction, *, bound: float | None = None) -> Plan:
        """The prediction as a plan, judged by this problem's promises."""
        plan = Plan(
            feasible=self.keeps(prediction),
            strategy=strategy,
            prefer=self.prefer,
            items=prediction.items,
            latency_s=prediction.latency_s,
            accuracy=prediction.accuracy,
            energy_j=prediction.energy_j,
            bound=bound,
            gap=None,
            solve_s=0.0,
            shares=prediction.shares,
        )
        return plan if bound is None else msgspec.structs.replace(plan, gap=self.gap(plan, bound))

    def gap(self, plan: Plan, bound: float | None) -> float | None:
        """How far a plan is from what no plan can beat, relatively."""
        value = {Prefer.ACCURACY: plan.accuracy, Prefer.LATENCY: plan.latency_s, Prefer.ENERGY: plan.energy_j}[
            self.prefer
        ]
        return None if bound is None or value is None else relative_gap(value, bound)


def described_watts(problem: Problem) -> Floats:
    """(P,) watts beyond idling; those of processors that cannot be used are 0.

    Raises PlanningError if a processor's power is not described.
    """
    fleet, usable = problem.fleet, problem.usable.any(axis=1)
    unknown = usable & np.isnan(fleet.watts)
    if unknown.any():
        raise PlanningError(
            f"energy and power can only be planned if every processor's is known, but "
            f"{fleet.pids[int(unknown.argmax())]} has no active_w; "
            "add active_w (and idle_w) to its description, or prefer accuracy or latency"
        )
    return np.where(usable, fleet.watts, 0.0)


def item_joules(problem: Problem) -> Floats:
    """(P, V) that an item adds to idling; nan where it cannot be run. Raises PlanningError if watts are not known."""
    item_s = np.where(problem.usable, problem.fleet.item_s, np.nan)
    joules: Floats = item_s * (described_watts(problem) / problem.readiness.speed)[:, None]
    return joules


def relative_gap(value: float, bound: float) -> float:
    """Distance of a value to the bound that it cannot pass, relative to the larger of the two."""
    largest = max(abs(value), abs(bound))
    return abs(bound - value) / largest if largest > 0 else 0.0
