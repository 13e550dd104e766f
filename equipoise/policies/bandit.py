"""Policy `bandit`: response times learned in a table, accuracy kept at what is owed; in the manner of Tango.

Source: Taufique, Vyas, Miele, Liljeberg and Kanduri, "Tango: Low Latency Multi-DNN Inference on Heterogeneous Edge
Platforms", ICCD 2024. A reinforcement-learning agent (proximal policy optimisation) chooses cluster and accuracy
configuration for every inference, to minimise latency with a tolerable loss of accuracy.

Adapted: a state of three numbers needs no neural network. The table has the expected response time of a (processor,
variant, queries that it already has); it starts from the profile, which stands for training offline, and every answer
moves its cell (constant step, for speeds change). The loss that is tolerated is what keeps the floor: variants at least
as accurate as what the rest of the request owes on average. Of these, the quickest by the table is taken, and at random
now and then (epsilon-greedy, Sutton & Barto, Reinforcement Learning, 2018, ch. 2). Scaling frequencies is left out.
Like Tango, it has no use for time that is left over.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.router import Answered, Choice, Seen, Situation
from equipoise.policies.replicas import has_room, query

EXPLORE = 0.05  # of the choices are made at random
STEP = 0.2  # of the way to what was observed
_ROUNDING = 1e-9

_Cell = tuple[ProcessorId, str, int]


class Bandit:
    """The quickest of what is accurate enough, as learned. accuracies   of every variant"""

    def __init__(self, accuracies: Mapping[str, float], rng: np.random.Generator) -> None:
        self._accuracies = accuracies
        self._rng = rng
        self._response_s: dict[_Cell, float] = {}
        self._batches: dict[tuple[ProcessorId, str], int] = {}

    def choose(self, situation: Situation) -> Choice | None:
        """One action: a processor and a variant."""
        actions = self._actions(situation)
        if not actions:
            return None
        if self._rng.random() < EXPLORE:
            seen, variant = actions[int(self._rng.integers(len(actions)))]
        else:
            seen, variant = min(actions, key=lambda action: self._expected_s(*action))
        self._expected_s(seen, variant)  # so that there is a cell to learn in
        return query(seen, variant)

    def _actions(self, situation: Situation) -> list[tuple[Seen, str]]:
        """Every pair with room whose accuracy is owed; if none is so accurate, those of the most accurate variant."""
        actions = [(s, v) for s in situation.processors if s.usable for v in s.profiles if has_room(s, v)]
        best = max((self._accuracies[variant] for _, variant in actions), default=0.0)
        owed = min(situation.owed_accuracy, best) - _ROUNDING
        return [(seen, variant) for seen, variant in actions if self._accuracies[variant] >= owed]

    def _expected_s(self, seen: Seen, variant: str) -> float:
        profile = seen.profiles[variant]
        batch = profile.best_batch
        self._batches[seen.pid, variant] = batch
        ahead = seen.in_flight_items // batch
        return self._response_s.setdefault((seen.pid, variant, ahead), (ahead + 1) * profile.call_s(batch))

    def learn(self, answered: Answered) -> None:
        """Move the cell that was chosen by towards what it took."""
        batch = self._batches.get((answered.pid, answered.variant), 1)
        cell = answered.pid, answered.variant, answered.ahead_items // batch
        if cell in self._response_s:
            self._response_s[cell] += STEP * (answered.response_s - self._response_s[cell])
