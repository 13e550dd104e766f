"""A router decides online: it is asked where the next items go, and told what became of them.

It makes no plan. It sees queues and profiles, never the future, and it is pure: what it needs of chance is passed
in when it is made. The literature's are in `equipoise/policies/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from equipoise.core.cluster import ProcessorId, Profile


@dataclass(slots=True, kw_only=True)
class Seen:
    """One processor as a router sees it; kept up to date by whoever asks the router.

    in_flight_items   sent to it and not answered
    free_s            when it should be done with them, by its profile; absolute
    """

    pid: ProcessorId
    profiles: Mapping[str, Profile]  # of the variants that it can run
    usable: bool = True
    resident: Set[str] = frozenset()  # variants that are loaded, or will be after what is in flight
    in_flight_items: int = 0
    free_s: float = 0.0

    def can_run(self, variant: str) -> bool:
        """True if it may be sent items for this variant."""
        return self.usable and variant in self.profiles

    def busy_s(self, now_s: float) -> float:
        """Seconds until it should be free."""
        return max(0.0, self.free_s - now_s)


@dataclass(slots=True, kw_only=True)
class Situation:
    """What a router may know when it decides.

    unsent_items       wait to be sent, the next ones among them; at least 1
    unanswered_items   those and what is in flight
    left_s             until the next item is due; inf without a deadline
    load_per_s         items that are to be answered per second: of a batch, those unanswered over the seconds left
    owed_accuracy      the mean that the unsent items need so that the floor is kept; 0 without a floor
    """

    processors: Sequence[Seen]
    now_s: float = 0.0
    unsent_items: int = 1
    unanswered_items: int = 1
    left_s: float = math.inf
    load_per_s: float = 0.0
    owed_accuracy: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The next `batch` items, or as many as there are, go to this processor for this variant, in one call."""

    pid: ProcessorId
    variant: str
    batch: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What became of a choice: its items were answered `response_s` after they were sent, waiting included.

    `ahead_items` were in flight at the processor when these were sent.
    """

    now_s: float
    pid: ProcessorId
    variant: str
    items: int
    ahead_items: int
    response_s: float


class Router(Protocol):
    """Decides online. `choose` may be asked again and again; it decides anew each time."""

    def choose(self, situation: Situation) -> Choice | None:
        """Where the next items go; None to hold them back until something has changed."""
        ...

    def learn(self, answered: Answered) -> None:
        """Something was answered."""
        ...
