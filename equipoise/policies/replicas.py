"""What serving systems with replicas of one model have in common: a limit to what each replica is sent, and one model.

`MAX_ONGOING` is how many queries a replica may have at once; the router holds the others back (Ray Serve's
`max_ongoing_requests`, 5 by default). A query is one call here: as many items as the processor's best measured batch
has, as under every other strategy.
"""

from __future__ import annotations

from collections.abc import Iterable

from equipoise.dispatch.router import Choice, Seen

MAX_ONGOING = 5


def has_room(seen: Seen, variant: str) -> bool:
    """True if the replica of this variant may be sent another query."""
    return seen.can_run(variant) and seen.in_flight_items < MAX_ONGOING * seen.profiles[variant].best_batch


def query(seen: Seen, variant: str) -> Choice:
    """One query for this replica."""
    return Choice(pid=seen.pid, variant=variant, batch=seen.profiles[variant].best_batch)


def shortest_queue(processors: Iterable[Seen], variant: str) -> Choice | None:
    """A query for the replica with the fewest items; None if no replica has room. Of equals, the first."""
    able = [seen for seen in processors if has_room(seen, variant)]
    return query(min(able, key=lambda seen: seen.in_flight_items), variant) if able else None
