"""How fast a processor really is, which its profile does not know: background load, heat, a profile that is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

_CLOSE = 1e-12  # relative; Newton's method has converged


@dataclass(frozen=True, slots=True)
class Heat:
    """Under lasting work the speed falls towards `speed` times what it is cold, and rises again when idle.

    A body of one heat capacity: its warmth h goes from 0 to 1 as h' = (work - h) / time_constant_s, work being 1 or 0.
    """

    speed: float
    time_constant_s: float


def most_work_s(steady: float, heat: Heat | None, seconds: float) -> float:
    """The most work that anybody gets done in so many seconds from cold, pausing where it pays; cf. `Pace`.

    Put L = 1 - heat.speed, T = heat.time_constant_s, and u = 1 for work, 0 for rest. As u = h + T h', the work is the
    integral of

        steady u (1 - L h)  =  steady (h - L h^2)  plus  steady T (h - L h^2 / 2) from the beginning to the end,

    and h - L h^2 is greatest, 1 / (4 L), at h* = 1 / (2 L). With L <= 1/2 the body never gets that warm, and never to
    pause is best. Else it is best to come to h*, which takes T ln(2 L / (2 L - 1)), to stay there by pausing, and to
    work through at the end, for as long again: there the speed, 1 - L + (L - 1/2) exp(-t / T), has fallen to 1 / (4 L).
    Work is a concave functional of u, so that no other course does more.
    """
    loss = 0.0 if heat is None else 1.0 - heat.speed
    if heat is None or loss <= 0.5:
        return Pace(steady, heat).work_in(seconds)
    through_s = heat.time_constant_s * math.log(2 * loss / (2 * loss - 1))
    if seconds <= 2 * through_s:
        return Pace(steady, heat).work_in(seconds)
    ends = Pace(steady, heat).work_in(through_s) + Pace(steady, heat, 1 / (2 * loss)).work_in(through_s)
    return ends + steady * (seconds - 2 * through_s) / (4 * loss)


@dataclass(slots=True)
class Pace:
    """Seconds of work, by the profile, against seconds of time. `steady` is the speed while cold."""

    steady: float = 1.0
    heat: Heat | None = None
    warmth: float = 0.0

    @property
    def speed(self) -> float:
        """Right now, against the profile: 0.5 takes twice as long."""
        return self.steady * (1.0 - self._loss * self.warmth)

    @property
    def _loss(self) -> float:
        return 0.0 if self.heat is None else 1.0 - self.heat.speed

    def work_in(self, seconds: float) -> float:
        """What gets done in so many seconds of uninterrupted work from now on."""
        if self.heat is None:
            return self.steady * seconds
        cold_s = (1.0 - self.warmth) * -self.heat.time_constant_s * math.expm1(-seconds / self.heat.time_constant_s)
        return self.steady * (self.heat.speed * seconds + self._loss * cold_s)

    def seconds_for(self, work_s: float) -> float:
        """How long that much work takes from now on, uninterrupted; inf at a standstill.

        Newton's method on `work_in`, which is concave and rising, from below: it converges from one side.
        """
        if self.steady <= 0:
            return math.inf
        seconds = work_s / self.speed
        if self.heat is None:
            return seconds
        while (missing_s := work_s - self.work_in(seconds)) > _CLOSE * work_s:
            warmth = 1.0 - (1.0 - self.warmth) * math.exp(-seconds / self.heat.time_constant_s)
            seconds += missing_s / (self.steady * (1.0 - self._loss * warmth))
        return seconds

    def elapse(self, seconds: float, *, working: bool) -> None:
        """So much time has passed, at work or idle."""
        if self.heat is not None:
            target = 1.0 if working else 0.0
            self.warmth = target + (self.warmth - target) * math.exp(-seconds / self.heat.time_constant_s)
