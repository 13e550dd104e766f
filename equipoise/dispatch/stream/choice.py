"""Where an item goes: its turn by the planned fractions, or elsewhere where it would be late there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from equipoise.core.cluster import ProcessorId
from equipoise.core.request import WhenLate
from equipoise.core.stream import Route, StreamRequest
from equipoise.dispatch.lane import Lane, Task
from equipoise.dispatch.stream.fractions import Fractions
from equipoise.dispatch.stream.waiting import Item, Queue

_ROUNDING = 1e-9
_ONE_ITEM = 1.0


class Way(NamedTuple):
    """A processor with a variant."""

    pid: ProcessorId
    variant: str


class Assigner(Protocol):
    """Says where items go, and is told what became of them. `holds` what it has no way for; else that is shed."""

    holds: bool

    def follow(self, routes: Sequence[Route]) -> None:
        """From now on by these routes, as far as their processors can be used."""

    def choose(self, item: Item, now_s: float) -> Way | None:
        """Where it goes; None if nowhere, or not yet."""

    def took(self, item: Item, way: Way, now_s: float, *, anew: bool) -> bool:
        """It goes there; `anew` unless it had its turn before. True if it was not its turn."""

    def gave_up(self, item: Item) -> None:
        """It is not, or not yet, answered as it was to be."""

    def regained(self, variant: str) -> None:
        """An item is answered with this variant after all, though it was given up."""

    def learn(self, task: Task, items: Sequence[Item], now_s: float) -> None:
        """A task was answered, with so many items."""


class Chooser:
    """Follows a plan's fractions, and keeps the floor's account of what it had to do instead.

    `credit` is the sum over all items that are answered or on their way of their variant's accuracy less the floor: a
    less accurate variant than planned is used only while it stays positive. A turn below the floor is taken only while
    it lacks no more than one item: whenever the fractions start anew, a part of what they owe is forgotten.
    """

    def __init__(
        self,
        request: StreamRequest,
        queues: Mapping[ProcessorId, Queue],
        accuracies: Mapping[str, float],
        *,
        diverts: bool = True,
    ) -> None:
        self.holds = False
        self._request = request
        self._diverts = diverts
        self._queues = queues
        self._accuracies = accuracies
        self._fractions: Fractions[Way] | None = None
        self._spare: list[Way] = []  # every way that there is, where the plan has none in time
        self.credit = 0.0

    def follow(self, routes: Sequence[Route]) -> None:
        """From now on by these fractions, as far as their processors can be used; without any, by capability."""
        weights = {
            Way(route.pid, route.variant): route.rate_per_s
            for route in routes
            if route.pid in self._queues
            and route.rate_per_s > 0
            and self._can_run(self._queues[route.pid].lane, route.variant)
        }
        self._spare = list(self._every_way())
        weights = weights or self._by_capability()
        self._fractions = Fractions(weights) if weights else None

    def _can_run(self, lane: Lane, variant: str) -> bool:
        return lane.usable and lane.can_run(variant)

    def _every_way(self) -> Iterator[Way]:
        for pid, queue in self._queues.items():
            for variant in queue.lane.profiles:
                if self._can_run(queue.lane, variant):
                    yield Way(pid, variant)

    def _by_capability(self) -> dict[Way, float]:
        """The quickest variant that keeps the floor on each processor, as many items as it does per second."""
        weights: dict[Way, float] = {}
        floor = min(self._request.min_accuracy, max((self._accuracies[v] for _, v in self._spare), default=0.0))
        for pid in {way.pid: None for way in self._spare}:
            lane = self._queues[pid].lane
            able = [v for at, v in self._spare if at == pid and self._accuracies[v] >= floor - _ROUNDING]
            if able:
                quickest = min(able, key=lambda variant, lane=lane: lane.profiles[variant].call_s(1))  # type: ignore[misc]
                weights[Way(pid, quickest)] = lane.speed / lane.profiles[quickest].call_s(1)
        return weights

    def choose(self, item: Item, now_s: float) -> Way | None:
        """Where it goes; None if it can be answered nowhere as the requirement wants it."""
        if self._fractions is None:
            return None
        turn = self._fractions.turn()
        if not self._diverts:
            return turn
        least = self._accuracies[turn.variant]
        if not self._is_bearable(turn.variant, debt=_ONE_ITEM):
            least = max(least, self._request.min_accuracy)
        elif self._queues[turn.pid].answer_s(turn.variant, now_s, loaded=True) <= item.due_s:
            return turn  # without what loading takes: it begins with the first item that is sent, or never
        others = [(self._queues[way.pid].answer_s(way.variant, now_s), way) for way in self._spare]
        in_time = [(answer_s, way) for answer_s, way in others if answer_s <= item.due_s]
        return self._elsewhere(least, in_time) or self._too_late(turn, least, others)

    def _elsewhere(self, least: float, in_time: list[tuple[float, Way]]) -> Way | None:
        """The first answer so accurate; if none is in time, the most accurate that the floor can bear."""
        as_good = [(answer_s, way) for answer_s, way in in_time if self._accuracies[way.variant] >= least - _ROUNDING]
        if as_good:
            return min(as_good, key=lambda choice: choice[0])[1]
        bearable = [choice for choice in in_time if self._is_bearable(choice[1].variant)]
        return max(bearable, key=lambda choice: (self._accuracies[choice[1].variant], -choice[0]), default=(0, None))[1]

    def _is_bearable(self, variant: str, debt: float = 0.0) -> bool:
        keeps = self.credit + self._worth(variant) >= -debt - _ROUNDING
        return self._request.when_late is WhenLate.KEEP_DEADLINE or keeps or self._worth(variant) >= 0

    def _too_late(self, turn: Way, least: float, others: list[tuple[float, Way]]) -> Way | None:
        if self._request.when_late is not WhenLate.KEEP_FLOOR:
            return None
        as_good = [choice for choice in others if self._accuracies[choice[1].variant] >= least - _ROUNDING]
        return min(as_good, key=lambda choice: choice[0], default=(0.0, turn))[1]

    def took(self, item: Item, way: Way, now_s: float, *, anew: bool) -> bool:
        """The account says so, and so do the fractions if it had no turn before."""
        self.credit += self._worth(way.variant)
        if anew and self._fractions is not None:
            out_of_turn = self._fractions.turn() != way
            self._fractions.take(way)
            return out_of_turn
        return False

    def gave_up(self, item: Item) -> None:
        """Its variant counts no more."""
        self.credit -= self._worth(item.variant)

    def regained(self, variant: str) -> None:
        """This one counts after all."""
        self.credit += self._worth(variant)

    def learn(self, task: Task, items: Sequence[Item], now_s: float) -> None:
        """The lanes know all that it goes by."""

    def _worth(self, variant: str) -> float:
        return self._accuracies[variant] - self._request.min_accuracy
