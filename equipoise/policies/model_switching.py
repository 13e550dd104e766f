"""Policy `model-switching`: one variant for all, chosen by the load of the moment.

Source: Zhang, Elnikety, Zarar, Gupta and Garg, "Model-Switching: Dealing with Fluctuating Workloads in
Machine-Learning-as-a-Service Systems", HotCloud 2020. Offline, every model's capacity is measured; online, the
controller follows the load and switches all replicas to the model with the greatest effective accuracy,

    effective(v) = accuracy[v] x fraction of the queries that v would answer in time

Adapted: the load of a batch is what is left to be answered over the seconds left, and the fraction that is answered in
time is capacity over load, at most 1. Capacity is the profiled one: the original does not measure it again online. Of a
stream, whose load is the rate of arrivals, it is the largest rate at which the latency is kept, worked out beforehand.
Switching costs the time to load, as for everybody. It knows no floor: where one variant for all can keep the floor
within the deadline at all, the one with the greatest effective accuracy does. Queries go to the shortest queue.
"""

from __future__ import annotations

from collections.abc import Mapping

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.router import Answered, Choice, Situation
from equipoise.policies.replicas import shortest_queue


class ModelSwitching:
    """The variant by load; to whoever has the fewest items.

    accuracies        of every variant
    capacities_per_s  of a processor with a variant, where it is not the one of its profile
    """

    def __init__(
        self, accuracies: Mapping[str, float], capacities_per_s: Mapping[tuple[ProcessorId, str], float] | None = None
    ) -> None:
        self._accuracies = accuracies
        self._capacities_per_s = capacities_per_s or {}

    def choose(self, situation: Situation) -> Choice | None:
        """The shortest queue, for the variant of the moment."""
        variant = self._variant(situation)
        return None if variant is None else shortest_queue(situation.processors, variant)

    def _variant(self, situation: Situation) -> str | None:
        load = situation.load_per_s
        capacity: dict[str, float] = {}
        for seen in situation.processors:
            for variant, profile in seen.profiles.items() if seen.usable else ():
                known = self._capacities_per_s.get((seen.pid, variant), 1 / profile.item_s)
                capacity[variant] = capacity.get(variant, 0.0) + known
        return max(capacity, key=lambda v: (self._effective(v, capacity[v], load), capacity[v]), default=None)

    def _effective(self, variant: str, capacity: float, load: float) -> float:
        return self._accuracies[variant] * min(1.0, capacity / load if load > 0 else 1.0)

    def learn(self, answered: Answered) -> None:
        """Its profiles were taken offline."""
