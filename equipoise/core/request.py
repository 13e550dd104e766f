"""What a user asks for: items, and the requirement that their answers must meet."""

from __future__ import annotations

import math
from enum import Enum

import msgspec

from equipoise.core.ranges import ITEMS, refuse_outside, refuse_unaskable


class Prefer(str, Enum):
    """What the planner does with slack, once both promises hold."""

    ACCURACY = "accuracy"
    LATENCY = "latency"
    ENERGY = "energy"


class WhenLate(str, Enum):
    """What to give up when the deadline can no longer be met together with the floor."""

    KEEP_FLOOR = "keep-floor"  # run late
    KEEP_DEADLINE = "keep-deadline"  # lose accuracy
    STOP = "stop"  # hand in what is there


class Requirement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast and how accurate the answers must be.

    Both `deadline_s` and `throughput_per_s` may be given; the stricter one counts. With neither, only the
    floor is promised. `max_energy_j` is what the request may add to idling, `max_power_w` what the cluster may
    draw at any moment, idling included. With `confidence` the time is planned at that quantile and accuracies at
    the lower ends of their intervals; without it both at their expectation.
    Raises ValueError if a figure is no positive number from 1e-12 to 1e15, or no fraction.
    """

    deadline_s: float | None = None
    throughput_per_s: float | None = None
    min_accuracy: float = 0.0
    max_energy_j: float | None = None
    max_power_w: float | None = None
    confidence: float | None = None
    prefer: Prefer = Prefer.ACCURACY
    when_late: WhenLate = WhenLate.KEEP_FLOOR

    def __post_init__(self) -> None:
        for name in ("deadline_s", "throughput_per_s", "max_energy_j", "max_power_w"):
            value = getattr(self, name)
            if value is not None:
                refuse_unaskable(name, value)
        if not 0.0 <= self.min_accuracy <= 1.0:  # also refuses NaN
            raise ValueError(f"min_accuracy must be a fraction from 0 to 1, not {self.min_accuracy}")
        if self.confidence is not None and not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence must be at least 0.5 and below 1, not {self.confidence}")
        if self.prefer is Prefer.ACCURACY and self.time_unbounded:
            raise ValueError("prefer accuracy needs a deadline_s or a throughput_per_s to stay within")

    @property
    def time_unbounded(self) -> bool:
        """True if neither a deadline nor a throughput is asked for."""
        return self.deadline_s is None and self.throughput_per_s is None


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch of `items` and its requirement. Raises ValueError unless there are 1 to 1e9 items."""

    items: int
    requirement: Requirement

    def __post_init__(self) -> None:
        refuse_outside("items", self.items, ITEMS)

    @property
    def deadline_s(self) -> float:
        """Seconds from now until the last answer is due: the deadline, or items / throughput if stricter."""
        by_deadline = self.requirement.deadline_s if self.requirement.deadline_s is not None else math.inf
        rate = self.requirement.throughput_per_s
        return by_deadline if rate is None else min(by_deadline, self.items / rate)
