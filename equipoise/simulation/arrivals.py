"""When the items of a simulated stream arrive: at random, in bursts, by day and night, or as recorded.

Each kind yields times from the stream's start, in order, for ever; all but the recorded one have the stream's
`arrivals_per_s` as their mean rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import msgspec

from equipoise.simulation.events import check_positive


class Poisson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="poisson"):
    """At random moments, independent of each other."""

    def times_s(self, per_s: float, chance: Random) -> Iterator[float]:
        """When items arrive."""
        at_s = 0.0
        while True:
            at_s += chance.expovariate(per_s)
            yield at_s


class Bursty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="bursty"):
    """At random at `peak` times the mean rate in bursts, and so rarely in between that the mean is right.

    Bursts and what is between them last `burst_s` and `calm_s` on average, exponentially distributed: a
    Markov-modulated Poisson process of two states (Fischer and Meier-Hellstern, Performance Evaluation 18, 1993). It
    begins calm.
    """

    peak: float
    burst_s: float
    calm_s: float

    def __post_init__(self) -> None:
        check_positive(peak=self.peak, burst_s=self.burst_s, calm_s=self.calm_s)
        most = (self.burst_s + self.calm_s) / self.burst_s
        if not 1 <= self.peak <= most:
            raise ValueError(f"peak must lie between 1 and {most:g}, (burst_s + calm_s) / burst_s, not {self.peak}")

    def times_s(self, per_s: float, chance: Random) -> Iterator[float]:
        """When items arrive."""
        calm = max(0.0, (self.burst_s + self.calm_s - self.peak * self.burst_s) / self.calm_s)
        begins_s, bursts = 0.0, False
        while True:
            ends_s = begins_s + chance.expovariate(1 / (self.burst_s if bursts else self.calm_s))
            rate_per_s = per_s * (self.peak if bursts else calm)
            at_s = begins_s
            while rate_per_s > 0 and (at_s := at_s + chance.expovariate(rate_per_s)) < ends_s:
                yield at_s
            begins_s, bursts = ends_s, not bursts


class Diurnal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="diurnal"):
    """At random, at a rate that swings about the mean as a sine, by `swing` of it, once in `period_s`."""

    swing: float
    period_s: float

    def __post_init__(self) -> None:
        check_positive(period_s=self.period_s)
        if not 0.0 <= self.swing <= 1.0:
            raise ValueError(f"swing must be a fraction from 0 to 1, not {self.swing}")

    def times_s(self, per_s: float, chance: Random) -> Iterator[float]:
        """When items arrive: those at the highest rate, thinned (Lewis and Shedler, 1979)."""
        most = 1 + self.swing
        for at_s in Poisson().times_s(per_s * most, chance):
            if chance.random() * most < 1 + self.swing * math.sin(2 * math.pi * at_s / self.period_s):
                yield at_s


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="recorded"):
    """As they once did: seconds from the stream's start, in order. A file may give them as `file`, one per line."""

    times: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.times:
            raise ValueError("times are missing: there must be one at least")
        if not all(math.isfinite(at_s) and at_s >= 0 for at_s in self.times):
            raise ValueError("times must be 0 or more and finite")
        for before_s, at_s in pairwise(self.times):
            if at_s < before_s:
                raise ValueError(f"times run backwards: {at_s} s comes after {before_s} s")

    def times_s(self, per_s: float, chance: Random) -> Iterator[float]:
        """When items arrive; neither the rate nor chance has a say."""
        yield from self.times


Arrivals = Poisson | Bursty | Diurnal | Recorded
