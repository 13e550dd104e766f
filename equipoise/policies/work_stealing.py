"""Policy `work-stealing`, for streams: whoever is idle takes the item that has waited longest.

Source: Zhao, Barijough and Gerstlauer, "DeepThings: Distributed Adaptive Deep Learning Inference on
Resource-Constrained IoT Edge Clusters", IEEE TCAD 37(11), 2018. Idle devices steal work from busy ones.

Adapted: pieces are whole images rather than partitions of fused layers, and they wait at the coordinator until somebody
is idle; one variant everywhere (registry.py). Of several who are idle, the quickest takes the item. Of batches the
dispatcher itself has them do this, with one pool for all (dispatch/settings.py).
"""

from __future__ import annotations

from equipoise.dispatch.router import Answered, Choice, Situation


class WorkStealing:
    """One variant for all; to whoever is idle."""

    def __init__(self, variant: str) -> None:
        self._variant = variant

    def choose(self, situation: Situation) -> Choice | None:
        """The quickest of those that have nothing to do."""
        idle = [s for s in situation.processors if s.can_run(self._variant) and not s.in_flight_items]
        if not idle:
            return None
        quickest = min(idle, key=lambda seen: seen.profiles[self._variant].call_s(1))
        return Choice(pid=quickest.pid, variant=self._variant)

    def learn(self, answered: Answered) -> None:
        """Who is idle is all that it looks at."""
