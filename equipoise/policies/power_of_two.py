"""Policy `power-of-two`: the shorter of the queues of two replicas that are drawn at random.

Source: Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 12(10), 2001; the default
router of Ray Serve, which draws two replicas, asks for their queue lengths, sends the query to the shorter one that is
below `max_ongoing_requests`, and draws again after a pause if both are full.

Adapted: one variant everywhere, chosen by the operator (registry.py). Here the router need not pause and draw again:
it is asked again as soon as something was answered, and draws among the replicas that have room.
"""

from __future__ import annotations

import numpy as np

from equipoise.dispatch.router import Answered, Choice, Situation
from equipoise.policies.replicas import has_room, shortest_queue


class PowerOfTwo:
    """One variant for all; to the shorter of two queues."""

    def __init__(self, variant: str, rng: np.random.Generator) -> None:
        self._variant = variant
        self._rng = rng

    def choose(self, situation: Situation) -> Choice | None:
        """The shorter queue of two with room."""
        able = [seen for seen in situation.processors if has_room(seen, self._variant)]
        if len(able) > 2:
            first = int(self._rng.integers(len(able)))
            second = int(self._rng.integers(len(able) - 1))
            able = [able[first], able[second + (second >= first)]]
        return shortest_queue(able, self._variant)

    def learn(self, answered: Answered) -> None:
        """Queues are all that it looks at."""
