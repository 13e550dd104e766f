"""How the dispatcher of a stream goes about its work."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from equipoise.core.request import WhenLate
from equipoise.core.stream import StreamRequest


class Replans(IntEnum):
    """When a stream is planned anew; each also when those above it are."""

    NEVER = 0
    ON_LOSS = 1  # nodes go or come
    ON_DRIFT = 2  # speeds drift, or the rate


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """The defaults suit boards that need 1 ms to 1 s per item.

    surge            a measured rate above this times the planned one has the stream planned anew,
    headroom         for the measured rate times this;
    calm             and one below this times the planned one, for no less than the rate that was asked for
    rate_items       arrivals that the measured rate remembers
    speed_drift      relative change of a processor's speed that has the stream planned anew
    replans          when it is planned anew
    diverts          an item that would be late where it is its turn goes elsewhere or is shed; else it is answered late
    """

    window_tasks: int = 2  # one computes while the next one travels; more where a link's latency outlasts a task
    surge: float = 1.15
    headroom: float = 1.1
    calm: float = 0.75
    rate_items: int = 300
    speed_drift: float = 0.1
    replan_every_s: float = 1.0  # at most, but for a node that goes or comes
    lost_answer_s: float = 30.0  # after which a plan that was asked for is asked for again
    max_unsettled_items: int = 10_000  # what is beyond is shed, whatever the policy
    patience_s: float = 30.0  # beyond its time, of an item that may be late and that nobody can take
    belief_margin_s: float = 1.0
    max_failures: int = 3  # of an item, wherever; and in a row, of a processor with a variant
    replans: Replans = Replans.ON_DRIFT
    diverts: bool = True

    def may_be_late(self, request: StreamRequest) -> bool:
        """True if items are answered however late they are."""
        return not self.diverts or request.when_late is WhenLate.KEEP_FLOOR
