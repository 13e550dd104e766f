"""How many items arrive per second right now."""

from __future__ import annotations

import math


class ArrivalRate:
    """An exponentially forgetting count, which starts as if the expected rate had been seen for ever.

    It remembers about `items` arrivals at the expected rate, so that its own scatter at random arrivals is
    1 / sqrt(2 x items) of the rate: 4 % for 300.
    """

    def __init__(self, expected_per_s: float, items: int) -> None:
        self._memory_s = items / expected_per_s
        self._count = float(items)
        self._at_s: float | None = None

    def arrived(self, now_s: float) -> None:
        """One more."""
        self._forget(now_s)
        self._count += 1

    def per_s(self, now_s: float) -> float:
        """The rate of late."""
        self._forget(now_s)
        return self._count / self._memory_s

    def _forget(self, now_s: float) -> None:
        if self._at_s is not None:
            self._count *= math.exp((self._at_s - now_s) / self._memory_s)
        self._at_s = now_s
