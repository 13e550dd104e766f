"""What results say about a processor: one hidden speed factor, shared by all its variants.

Heat and background load slow every variant of a processor alike, so each result, of whichever variant, re-scales
the whole profile. Pure: results come in, an estimate goes out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean

_TYPICAL_SPREAD = 0.05  # of the logarithm: results of an undisturbed board scatter by a few per cent
_LEAST_SPREAD = 0.02  # else a row of equal results would make every next one an outlier
_BELIEVED_SPREADS = 3.0  # beyond it a result moves the estimate no further: Huber's clipping
_LEAST_GAIN = 0.2  # of each result: what lies ten results back hardly counts
_OUTLIERS_OF_A_CHANGE = 2  # one is an accident, two in a row on the same side are a new speed


@dataclass(slots=True)
class SpeedEstimator:
    """Follows the logarithm of predicted over observed seconds.

    An exponential filter whose steps are clipped (Huber), so that one outlier hardly moves it; two outliers in a
    row on the same side are taken as a change, and the estimate jumps to them.
    """

    _level: float = 0.0
    _spread: float = _TYPICAL_SPREAD
    _results: float = 1.0  # the profile itself counts as the first
    _outliers: list[float] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Measured against the profile: 0.5 takes twice as long."""
        return math.exp(self._level)

    @property
    def spread(self) -> float:
        """Standard deviation of the logarithm of a result, about its relative error."""
        return self._spread

    def observe(self, *, predicted_s: float, observed_s: float) -> None:
        """Learn from a result: what the profile said and what it took. Nothing is learned from 0 seconds."""
        if not (predicted_s > 0 and observed_s > 0):
            return
        ratio = math.log(predicted_s / observed_s)
        surprise = ratio - self._level
        believed = _BELIEVED_SPREADS * self._spread
        if abs(surprise) <= believed:
            self._outliers.clear()
        elif self._confirms_a_change(ratio):
            self._jump()
            return
        self._step(max(-believed, min(believed, surprise)))

    def _confirms_a_change(self, ratio: float) -> bool:
        """Note an outlier; true if it is the second in a row on the same side."""
        if self._outliers and (self._outliers[-1] > self._level) != (ratio > self._level):
            self._outliers.clear()
        self._outliers.append(ratio)
        return len(self._outliers) >= _OUTLIERS_OF_A_CHANGE

    def _jump(self) -> None:
        self._level = fmean(self._outliers)
        self._spread = _TYPICAL_SPREAD
        self._results = float(len(self._outliers))
        self._outliers.clear()

    def _step(self, surprise: float) -> None:
        self._results += 1
        gain = max(_LEAST_GAIN, 1 / self._results)
        self._level += gain * surprise
        variance = (1 - gain) * self._spread**2 + gain * surprise**2
        self._spread = max(_LEAST_SPREAD, math.sqrt(variance))
