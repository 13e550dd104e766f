"""How far a request is: a frozen snapshot for the live view while it runs, and for the receipt when it is over."""

from __future__ import annotations

from dataclasses import dataclass

from equipoise.core.cluster import ProcessorId


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareDone:
    """What one processor really did with one variant. Times count from the start of the request."""

    pid: ProcessorId
    variant: str
    items: int  # answers that counted
    busy_s: float  # of every task that it answered, also of those whose answers came too late to count
    load_s: float
    first_sent_s: float
    last_answer_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorProgress:
    """One processor right now. `usable` is false while its node is lost or it is suspected to be stuck."""

    pid: ProcessorId
    usable: bool
    items_done: int
    items_in_flight: int
    variant: str | None  # the one that it was sent last
    items_per_s: float  # answered items over the time since it was first sent any
    speed: float  # measured against its profile: 0.5 takes twice as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Totals, then one line per processor and one per pair that ran anything.

    `accuracy` is the mean expected accuracy of the items answered so far, bad items left out; 0 before the first.
    `energy_j` is what answered tasks added to idling: seconds at work times watts; None where watts are not described.
    """

    items: int
    answered: int  # bad items among them
    bad: int
    in_flight: int
    elapsed_s: float
    deadline_s: float | None  # from the start
    accuracy: float
    replanned: int
    resent: int  # items that were sent again after a loss, a failure or a suspicion
    duplicated: int  # items that were sent to a second processor because the first was slow
    dropped: int  # answers of items that already had one
    first_sent_s: float | None
    last_answer_s: float | None
    processors: tuple[ProcessorProgress, ...]
    shares: tuple[ShareDone, ...]
    energy_j: float | None = None
