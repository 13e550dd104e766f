"""Keeps count of what became of a stream's items, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.stream.sketch import Sketch


@dataclass(slots=True)
class RouteTally:
    """What one processor did with one variant."""

    items: int = 0
    in_time: int = 0
    busy_s: float = 0.0
    load_s: float = 0.0
    calls: int = 0
    latency: Sketch = field(default_factory=Sketch)


@dataclass(slots=True)
class StreamTally:
    """`earned` is the sum over answered items of the accuracy of the variant that answered; bad items left out."""

    arrived: int = 0
    answered: int = 0  # bad ones among them
    in_time: int = 0
    bad: int = 0
    earned: float = 0.0
    shed: Counter[str] = field(default_factory=Counter)  # items by reason
    resent: int = 0
    diverted: int = 0  # items that did not go where it was their turn to go
    dropped: int = 0  # answers that nobody waited for any more
    replanned: int = 0
    latency: Sketch = field(default_factory=Sketch)
    routes: dict[tuple[ProcessorId, str], RouteTally] = field(default_factory=dict)

    def route(self, pid: ProcessorId, variant: str) -> RouteTally:
        """That of a pair; a new one if it never answered."""
        return self.routes.setdefault((pid, variant), RouteTally())

    def worked(self, pid: ProcessorId, variant: str, busy_s: float, load_s: float) -> None:
        """A task was done, whether anybody still waits for it or not."""
        there = self.route(pid, variant)
        there.busy_s += busy_s
        there.load_s += load_s
        there.calls += 1

    def answer(
        self, pid: ProcessorId, variant: str, latency_s: float, *, in_time: bool, accuracy: float | None
    ) -> None:
        """An item got its answer; `accuracy` is None if that is that nobody can answer it."""
        there = self.route(pid, variant)
        self.answered += 1
        there.items += 1
        self.in_time += in_time
        there.in_time += in_time
        self.latency.add(latency_s)
        there.latency.add(latency_s)
        if accuracy is None:
            self.bad += 1
        else:
            self.earned += accuracy

    @property
    def accuracy(self) -> float:
        """Mean expected accuracy of what was answered; 0 before the first."""
        good = self.answered - self.bad
        return self.earned / good if good else 0.0
