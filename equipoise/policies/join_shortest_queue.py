"""Policy `join-shortest-queue`: every query goes to the replica with the fewest queries.

Source: Winston, "Optimality of the shortest line discipline", Journal of Applied Probability 14, 1977; what load
balancers call least connections.

Adapted: it knows one model, so the operator deploys one variant everywhere (registry.py). It counts queries and knows
nothing of speeds: a slow board gets as long a queue as a fast one. As in Ray Serve, a replica has a limit, and what is
beyond it waits at the router; without one, a batch that is there from the start would be shared out equally at once.
"""

from __future__ import annotations

from equipoise.dispatch.router import Answered, Choice, Situation
from equipoise.policies.replicas import shortest_queue


class JoinShortestQueue:
    """One variant for all; to whoever has the fewest items."""

    def __init__(self, variant: str) -> None:
        self._variant = variant

    def choose(self, situation: Situation) -> Choice | None:
        """The shortest queue of all."""
        return shortest_queue(situation.processors, self._variant)

    def learn(self, answered: Answered) -> None:
        """Queues are all that it looks at."""
