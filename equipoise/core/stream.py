"""A stream: items that keep arriving, each with a latency that it must stay within; and the plan for it."""

from __future__ import annotations

import msgspec

from equipoise.core.cluster import ProcessorId
from equipoise.core.ranges import refuse_unaskable
from equipoise.core.request import Prefer, WhenLate


class StreamRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`arrivals_per_s` items a second on average, at random moments, until further notice.

    item_latency_s   from an item's arrival until its answer; kept by `confidence` of the items on every route
    min_accuracy     the floor, a fraction
    prefer           what slack is for: accuracy, or latency
    when_late        what becomes of an item that cannot be answered in time any more where it should: `stop` sheds
                     it, `keep-deadline` takes a less accurate variant before that, `keep-floor` answers it late

    Raises ValueError if a figure is not finite, not positive or no fraction, or if slack is to go to energy.
    """

    arrivals_per_s: float
    item_latency_s: float
    confidence: float = 0.95
    min_accuracy: float = 0.0
    prefer: Prefer = Prefer.ACCURACY
    when_late: WhenLate = WhenLate.STOP

    def __post_init__(self) -> None:
        for name in ("arrivals_per_s", "item_latency_s"):
            refuse_unaskable(name, getattr(self, name))
        if not 0.0 < self.confidence < 1.0:  # also refuses NaN
            raise ValueError(f"confidence must lie between 0 and 1, not {self.confidence}")
        if not 0.0 <= self.min_accuracy <= 1.0:
            raise ValueError(f"min_accuracy must be a fraction from 0 to 1, not {self.min_accuracy}")
        if self.prefer is Prefer.ENERGY:
            raise ValueError("prefer must be accuracy or latency for a stream, not energy")


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One way that items take. `fraction` of them go there, each drawn at random, and are inferred one at a time.

    utilisation      of its processor, by all routes over it: the fraction of time that it is busy
    item_latency_s   what `confidence` of the items on this route stay within
    """

    node: str
    processor: str
    variant: str
    batch: int = 1
    fraction: float
    rate_per_s: float
    utilisation: float
    item_latency_s: float

    @property
    def pid(self) -> ProcessorId:
        """The processor at its end."""
        return ProcessorId(self.node, self.processor)


class StreamNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """What would make a stream feasible; each alone suffices and was tried, None where it alone cannot."""

    arrivals_per_s: float | None
    item_latency_s: float | None
    min_accuracy: float | None


class StreamPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Steady routing fractions and what to expect of them.

    If it is not feasible, its routes are those of the largest rate that can be promised, if there is any.

    rate_per_s             what the routes carry: the rate that was asked for, if feasible
    accuracy               expected, over all items
    item_latency_s         of the slowest route
    utilisation            of the busiest processor
    bound, gap             what no plan can beat in the preferred objective, and the relative distance to it; None
                           if infeasible
    max_rate_per_s         the largest rate that is promised at this latency, confidence and floor
    max_rate_bound_per_s   what no plan can beat in that
    """

    feasible: bool
    prefer: Prefer
    rate_per_s: float
    routes: tuple[Route, ...]
    accuracy: float
    item_latency_s: float
    utilisation: float
    bound: float | None
    gap: float | None
    max_rate_per_s: float
    max_rate_bound_per_s: float
    solve_s: float
    needs: StreamNeeds | None = None
