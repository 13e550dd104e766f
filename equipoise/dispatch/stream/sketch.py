"""Quantiles of many times in little memory."""

from __future__ import annotations

import math
from collections import Counter

RELATIVE_ERROR = 0.005
_LEAST_S = 1e-6
_LOG_STEP = math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))


class Sketch:
    """Counts in buckets that grow by a constant factor: any quantile to within 0.5 % of its value.

    A bucket for each per cent from a microsecond to a day is 2500 counts at most, however many times there are.
    Source: Masson, Rim and Lee, "DDSketch", PVLDB 12(12), 2019.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.items = 0

    def add(self, seconds: float) -> None:
        """One more; times below a microsecond count as one."""
        self._counts[math.ceil(math.log(max(seconds, _LEAST_S)) / _LOG_STEP)] += 1
        self.items += 1

    def quantile(self, fraction: float) -> float | None:
        """The time that this fraction of all stays within; None if there are none."""
        if not self.items:
            return None
        wanted, seen = math.ceil(fraction * self.items), 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= wanted:
                break
        return 2 * math.exp(bucket * _LOG_STEP) / (math.exp(_LOG_STEP) + 1)
