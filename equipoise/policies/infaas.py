"""Policy `infaas`: variant and worker for every query, by INFaaS's rules.

Source: Romero, Li, Yadwadkar and Kozyrakis, "INFaaS: Automated Model-less Inference Serving", USENIX ATC 2021. A query
states a latency and an accuracy. Of the variants that are accurate enough, INFaaS takes the cheapest that has an
instance which is not overloaded, that is, which would answer in time behind what it already has; the query goes to the
least loaded of those instances. If every instance is overloaded, the least loaded one gets it all the same.

Adapted: a query's latency is what is left of the request's deadline, and its accuracy the request's floor, so every
single item is held to a floor that is promised on average. Cost is the time of a processor: the variant that needs the
fewest seconds per item, all processors taken together. Every processor may run every variant (INFaaS's scaling of
instances needs machines that can be bought), and a variant that is not loaded costs its load first. A query is sent at
once: the queue is at the worker, so a batch is shared out when it arrives. Load is judged by the profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equipoise.dispatch.router import Answered, Choice, Seen, Situation
from equipoise.policies.replicas import query


class Infaas:
    """The cheapest variant that keeps the floor, where it would be answered first.

    accuracies   of every variant
    floor        of the request; if no variant keeps it, the most accurate is used
    """

    def __init__(self, accuracies: Mapping[str, float], floor: float) -> None:
        best = max(accuracies.values())
        self._accurate = {variant for variant, accuracy in accuracies.items() if accuracy >= min(floor, best)}

    def choose(self, situation: Situation) -> Choice | None:
        """The next query: its variant first, then its worker."""
        offers = []
        for variant in self._by_cost(situation.processors):
            answer_s, seen = self._first_answer(situation, variant)
            if answer_s <= situation.left_s:
                return query(seen, variant)
            offers.append((answer_s, seen, variant))
        if not offers:
            return None
        _, seen, variant = min(offers, key=lambda offer: offer[0])
        return query(seen, variant)

    def _by_cost(self, processors: Sequence[Seen]) -> list[str]:
        """Variants that are accurate enough and can be run, the cheapest first."""
        rate: dict[str, float] = {}
        for seen in processors:
            for variant in self._accurate & seen.profiles.keys() if seen.usable else ():
                rate[variant] = rate.get(variant, 0.0) + 1 / seen.profiles[variant].item_s
        return sorted(rate, key=lambda variant: (-rate[variant], variant))

    def _first_answer(self, situation: Situation, variant: str) -> tuple[float, Seen]:
        able = (seen for seen in situation.processors if seen.can_run(variant))
        answers = [(self._answer_s(seen, variant, situation.now_s), seen) for seen in able]
        return min(answers, key=lambda answer: answer[0])

    def _answer_s(self, seen: Seen, variant: str, now_s: float) -> float:
        """Seconds until a query sent now should be answered."""
        profile = seen.profiles[variant]
        load_s = 0.0 if variant in seen.resident else profile.load_s
        return seen.busy_s(now_s) + load_s + profile.call_s(profile.best_batch)

    def learn(self, answered: Answered) -> None:
        """Its profiles were taken offline."""
