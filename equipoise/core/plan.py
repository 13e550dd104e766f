"""A plan: who runs how many items with which variant, and what to expect of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from equipoise.core.cluster import ProcessorId
from equipoise.core.ranges import refuse_unless_positive
from equipoise.core.request import Prefer, WhenLate


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed on a processor since its profile was taken.

    `speed` scales all its variants together (heat and background load slow all of them): 0.5 takes twice
    as long. `busy_s` is the time until it is free. `resident` names the variants that are loaded; every
    other one costs its `load_s` first. Raises ValueError if a figure is out of range.
    """

    available: bool = True
    speed: float = 1.0
    busy_s: float = 0.0
    resident: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        refuse_unless_positive("speed of a processor", self.speed)
        if not self.busy_s >= 0:  # also refuses NaN; what is busy for ever is of no use, but no mistake
            raise ValueError(f"busy_s of a processor must be 0 or more, not {self.busy_s}")


Conditions = Mapping[ProcessorId, Condition]  # a processor that is not in it is as its profile says


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a plan. `finish_s` counts from the start of the plan."""

    node: str
    processor: str
    variant: str
    batch: int
    items: int
    finish_s: float

    @property
    def pid(self) -> ProcessorId:
        """The processor that runs it."""
        return ProcessorId(self.node, self.processor)


class Closest(msgspec.Struct, frozen=True, kw_only=True):
    """What can be had when a request cannot: each plan breaks at most the promise that it does not name."""

    most_accurate_at_deadline: Plan | None
    fastest_at_floor: Plan | None
    least_violation: Plan | None


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What would make the request feasible; each alone suffices, None where it alone cannot."""

    deadline_s: float | None
    min_accuracy: float | None
    speed_factor: float | None  # how many times faster every processor would have to be
    max_energy_j: float | None = None  # where the energy that was allowed is what stands in the way
    max_power_w: float | None = None  # likewise


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Shares and what to expect of them.

    `bound` is what no plan can beat in the preferred objective (an accuracy, a latency or an energy) and
    `gap` the relative distance to it, so 0 means proven optimal; None where a strategy proves nothing.
    Shares of one processor run in the order in which they stand.
    """

    feasible: bool
    strategy: str
    prefer: Prefer
    items: int
    latency_s: float
    accuracy: float
    energy_j: float | None
    bound: float | None
    gap: float | None
    solve_s: float
    shares: tuple[Share, ...]
    closest: Closest | None = None
    needs: Needs | None = None

    @property
    def throughput_per_s(self) -> float:
        """Items per second over the whole plan."""
        return self.items / self.latency_s if self.latency_s > 0 else 0.0

    def to_follow(self, when_late: WhenLate) -> Plan | None:
        """This plan if it is feasible, otherwise the closest one that the policy chooses; None for stop."""
        if self.feasible or self.closest is None:
            return self if self.feasible else None
        match when_late:
            case WhenLate.KEEP_FLOOR:
                return self.closest.fastest_at_floor or self.closest.least_violation
            case WhenLate.KEEP_DEADLINE:
                return self.closest.most_accurate_at_deadline or self.closest.least_violation
            case WhenLate.STOP:
                return None


class HurriedPlan(Plan, frozen=True, kw_only=True):
    """A plan that is quicker than it has to be, to be safe sooner against the loss of a node.

    It is worth following for `for_s` seconds; then what has been saved can be spent.
    """

    for_s: float
