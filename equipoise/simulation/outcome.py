"""What came of a simulated run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from equipoise.core.plan import Plan
from equipoise.core.receipt import Receipt
from equipoise.core.stream import StreamPlan
from equipoise.dispatch.stream.tally import StreamTally

if TYPE_CHECKING:
    from equipoise.simulation.scenario import Stream


class RequestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One request: what it was admitted or declined with, and its receipt, which is production's; None if declined.

    The plan is None if there was nothing to plan with.
    """

    name: str
    at_s: float
    plan: Plan | None
    receipt: Receipt | None

    @property
    def admitted(self) -> bool:
        """True unless it was declined."""
        return self.receipt is not None

    @property
    def kept(self) -> bool:
        """True if both promises were kept."""
        return self.receipt is not None and self.receipt.met.both


class RouteOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one processor did with one variant for a stream.

    latency_s   what `confidence` of the items that it answered stayed within, from their arrival; to 0.5 %
    """

    node: str
    processor: str
    variant: str
    items: int
    in_time: int
    busy_s: float
    latency_s: float | None


class StreamOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One stream: what it was admitted or declined with, and what became of its items; of none if it was declined.

    in_time      items that were answered within the latency asked for; what was shed was not
    bad          of those answered, items that nobody can answer
    shed         items without answer, by reason
    latency_s    what `confidence` of the answered items stayed within, to 0.5 %; None if there are none
    accuracy     the expected one, mean over the answered items; None likewise
    met_latency  `confidence` of all that arrived were answered in time
    met_floor    `accuracy` is at least the floor, to within one item
    diverted     items that did not go where it was their turn to go, because they would have been late there
    routes       who answered them
    """

    name: str
    at_s: float
    plan: StreamPlan | None
    admitted: bool = False
    arrived: int = 0
    answered: int = 0
    bad: int = 0
    in_time: int = 0
    shed: dict[str, int] = {}
    latency_s: float | None = None
    accuracy: float | None = None
    met_latency: bool = False
    met_floor: bool = False
    resent: int = 0
    diverted: int = 0
    replanned: int = 0
    routes: tuple[RouteOutcome, ...] = ()

    @property
    def kept(self) -> bool:
        """True if it was admitted and both promises were kept."""
        return self.admitted and self.met_latency and self.met_floor

    @staticmethod
    def of(asked: Stream, plan: StreamPlan | None, tally: StreamTally) -> StreamOutcome:
        """That of a stream that is over."""
        answered = tally.answered - tally.bad
        return StreamOutcome(
            name=asked.name,
            at_s=asked.at_s,
            plan=plan,
            admitted=True,
            arrived=tally.arrived,
            answered=tally.answered,
            bad=tally.bad,
            in_time=tally.in_time,
            shed=dict(tally.shed),
            latency_s=tally.latency.quantile(asked.confidence),
            accuracy=tally.accuracy if answered else None,
            met_latency=tally.in_time >= asked.confidence * tally.arrived,
            met_floor=not answered or tally.earned + 1 >= asked.min_accuracy * answered,
            resent=tally.resent,
            diverted=tally.diverted,
            replanned=tally.replanned,
            routes=tuple(
                RouteOutcome(
                    node=pid.node,
                    processor=pid.processor,
                    variant=variant,
                    items=there.items,
                    in_time=there.in_time,
                    busy_s=there.busy_s,
                    latency_s=there.latency.quantile(asked.confidence),
                )
                for (pid, variant), there in tally.routes.items()
            ),
        )


class ProcessorOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How long a processor was at work in all, loading included."""

    node: str
    processor: str
    busy_s: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a scenario under a strategy; of equal arguments, equal to the last bit."""

    strategy: str
    seed: int
    requests: tuple[RequestOutcome, ...]
    processors: tuple[ProcessorOutcome, ...]
    streams: tuple[StreamOutcome, ...] = ()
    ended_s: float  # when the last request or stream did, from the start of the scenario
    tasks: int  # how many were sent

    @property
    def admitted(self) -> int:
        """How many requests were admitted."""
        return sum(asked.admitted for asked in self.requests)

    @property
    def kept(self) -> int:
        """Of how many both promises were kept."""
        return sum(asked.kept for asked in self.requests)
