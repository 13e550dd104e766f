"""Deals items to routes in given fractions, evenly rather than at random.

After k items every route has had its fraction of k to within less than one item, and no rule can promise better:
Tijdeman, "The chairman assignment problem", Discrete Mathematics 32, 1980. Route i may have its (n+1)-th item once
f[i] k >= n + c, and of those that may, the one whose turn ends first, at (n + 1 - c) / f[i], has it;
c = 1 / (2 R - 2) for R routes. Arrivals at each route are then more regular than a coin would make them, so that queues
are no longer than the planner's, which are those of a coin.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_ROUNDING = 1e-9


class Fractions(Generic[Key]):
    """`weights` of the routes are in proportion to their fractions; those that are 0 have no turn.

    Raises ValueError if a weight is negative or none is positive.
    """

    def __init__(self, weights: Mapping[Key, float]) -> None:
        total = sum(weights.values())
        if min(weights.values(), default=0.0) < 0 or not total > 0:
            raise ValueError(f"weights must be 0 or more, and one of them positive, not {list(weights.values())}")
        self._fractions = {key: weight / total for key, weight in weights.items() if weight > 0}
        routes = len(self._fractions)
        self._slack = 1 / (2 * routes - 2) if routes > 1 else 0.0
        self._taken = dict.fromkeys(self._fractions, 0)
        self._dealt = 0
        # Both have (when, place, key, items that the route had then); an entry whose count is outdated is void.
        self._later: list[tuple[float, int, Key, int]] = []
        self._ready: list[tuple[float, int, Key, int]] = []
        self._places = {key: place for place, key in enumerate(self._fractions)}
        for key in self._fractions:
            self._enter(key)

    def turn(self) -> Key:
        """Whose turn it is; the same until something is taken."""
        while self._later and self._later[0][0] <= self._dealt + 1 + _ROUNDING:
            _, place, key, taken = heapq.heappop(self._later)
            ends = (taken + 1 - self._slack) / self._fractions[key]
            heapq.heappush(self._ready, (ends, place, key, taken))
        for entries in (self._ready, self._later):
            while entries:
                _, _, key, taken = entries[0]
                if taken == self._taken[key]:
                    return key
                heapq.heappop(entries)
        raise AssertionError("every route has one entry that holds")

    def take(self, key: Key) -> None:
        """An item went there, whether it was its turn or not; a key that has no fraction only counts as one item."""
        self._dealt += 1
        if key in self._fractions:
            self._taken[key] += 1
            self._enter(key)

    def _enter(self, key: Key) -> None:
        taken = self._taken[key]
        begins = (taken + self._slack) / self._fractions[key]
        heapq.heappush(self._later, (begins, self._places[key], key, taken))
