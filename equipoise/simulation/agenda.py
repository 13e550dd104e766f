"""Virtual time: what is to happen when."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

Action = Callable[[Any], None]


class Agenda:
    """Actions in the order of their times, and of equal times in the order in which they were entered.

    So a run repeats to the last bit. Whoever wants an action no more lets it find out for itself when its time comes.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._entries: list[tuple[float, int, Action, Any]] = []
        self._entered = 0

    def at(self, at_s: float, action: Action, about: Any = None) -> None:
        """Have `action(about)` happen then, which must not be in the past."""
        self._entered += 1
        heapq.heappush(self._entries, (at_s, self._entered, action, about))

    @property
    def next_s(self) -> float:
        """When the next action happens; inf if nothing is left."""
        return self._entries[0][0] if self._entries else math.inf

    def run(self, until: Callable[[], bool]) -> None:
        """Let everything happen until `until()`, which is asked after every action, or nothing is left."""
        entries, take = self._entries, heapq.heappop
        while entries and not until():
            self.now_s, _, action, about = take(entries)
            action(about)
