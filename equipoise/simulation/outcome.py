"""What came of a simulated run."""

from __future__ import annotations

import msgspec

from equipoise.core.plan import Plan
from equipoise.core.receipt import Receipt


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
    ended_s: float  # when the last request did, from the start of the scenario
    tasks: int  # how many were sent

    @property
    def admitted(self) -> int:
        """How many requests were admitted."""
        return sum(asked.admitted for asked in self.requests)

    @property
    def kept(self) -> int:
        """Of how many both promises were kept."""
        return sum(asked.kept for asked in self.requests)
