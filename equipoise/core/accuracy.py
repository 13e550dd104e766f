"""How sure a measured accuracy is."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson_interval(hits: float, items: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided Wilson score interval of the fraction `hits / items`, as (low, high) within 0..1.

    `hits` may be fractional, as when it was worked back from a rounded accuracy.
    Raises ValueError unless 0 <= hits <= items, items >= 1 and 0 < confidence < 1.
    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    if items < 1 or not 0 <= hits <= items:
        raise ValueError(f"hits must be 0 to items and items at least 1, not {hits} of {items}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    fraction = hits / items
    spread = z * math.sqrt(fraction * (1 - fraction) / items + (z / (2 * items)) ** 2)
    centre = fraction + z * z / (2 * items)
    scale = 1 + z * z / items
    # Rounding may put an end a few ulps outside, where no fraction is.
    return max(0.0, min(fraction, (centre - spread) / scale)), min(1.0, max(fraction, (centre + spread) / scale))
