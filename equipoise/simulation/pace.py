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
