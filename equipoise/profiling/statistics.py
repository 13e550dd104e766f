"""When a series of timings says enough, and what it says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

_Z = 1.96  # of a 95 % interval


class CallTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long one call took, over `calls` of them."""

    calls: int
    median_s: float
    stddev_s: float
    p90_s: float
    p95_s: float
    p99_s: float


def summarise(seconds: Sequence[float]) -> CallTimes:
    """The figures of at least one call; quantiles between calls are interpolated, the spread is a sample's."""
    median_s, p90_s, p95_s, p99_s = np.percentile(seconds, [50, 90, 95, 99]).tolist()
    stddev_s = float(np.std(seconds, ddof=1)) if len(seconds) > 1 else 0.0
    return CallTimes(calls=len(seconds), median_s=median_s, stddev_s=stddev_s, p90_s=p90_s, p95_s=p95_s, p99_s=p99_s)


def median_interval(seconds: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median, whatever the distribution; all of the range while there are few calls.

    Source: order statistics at ranks n / 2 -+ z * sqrt(n) / 2, the normal approximation of the binomial
    (Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2).
    """
    ordered = sorted(seconds)
    reach = _Z * math.sqrt(len(ordered)) / 2
    low = max(0, math.floor(len(ordered) / 2 - reach))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + reach))
    return ordered[low], ordered[high]


def is_settled(seconds: Sequence[float], tolerance: float) -> bool:
    """True once the half width of the median's interval is at most `tolerance` of the median."""
    low, high = median_interval(seconds)
    return (high - low) / 2 <= tolerance * float(np.median(seconds))
