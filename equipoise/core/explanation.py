"""Why a plan is what it is: figures only, each of which was computed by planning again.

Accuracies are fractions, and so are differences of them: 0.01 is one point.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from equipoise.core.request import Prefer


class Promises(msgspec.Struct, frozen=True, kw_only=True):
    """Which promises hold a plan back, and what they leave over.

    A promise binds if relaxing it by the step of `Explanation.more_time` or by one point would make the plan better
    in the sense of its preference. `whole_items` is true where something is left of a promise that binds, or the plan
    stays short of its bound, because no further item fits.
    """

    deadline_binds: bool
    floor_binds: bool
    whole_items: bool
    slack_s: float | None  # of the deadline; None without one
    slack_accuracy: float


class MoreAccuracy(msgspec.Struct, frozen=True, kw_only=True):
    """What `step` more accuracy takes: one point, or what is left up to the most accurate variant; 0 if nothing is.

    `seconds` is the finite difference: the fastest plan at that accuracy, less this one. `dual_seconds` is the same by
    the dual price of the fluid optimum, which knows no whole items and no fixed costs; None where that has no price or
    the strategy proves no bound.
    """

    step: float
    seconds: float | None
    dual_seconds: float | None


class MoreTime(msgspec.Struct, frozen=True, kw_only=True):
    """What `step_s` more time buys: the finite difference of the most accurate plans, and the dual price's word."""

    step_s: float
    accuracy: float
    dual_accuracy: float | None


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What is lost with a node: the same request planned without it, less the plan with it.

    `accuracy` and `seconds` are what the plan without it lacks (negative: what it gains), where it keeps the promises.
    Where it cannot, `accuracy` is that of the most accurate plan in time and `seconds` that of the fastest one at the
    floor; None where there is none.
    """

    feasible: bool
    accuracy: float | None
    seconds: float | None


class NodeRole(msgspec.Struct, frozen=True, kw_only=True):
    """What a node at work contributes."""

    node: str
    items: int
    accuracy: float  # of its own items
    beyond_others: float | None  # accuracy in time that the others could not reach without it; None if they miss it
    loss: Loss


class WhyUnused(str, Enum):
    """Why a variant is in no share."""

    NOWHERE = "nowhere"  # no processor that is available has a profile of it and the memory for it
    DOMINATED = "dominated"  # on every processor another one is faster and at least as accurate
    OFF_HULL = "off-hull"  # on every processor two others, mixed, earn more in the same time
    TOO_SLOW = "too-slow"  # worth its time only if there were more of it
    TOO_INACCURATE = "too-inaccurate"  # worth it only if there were less time
    OUTBID = "outbid"  # on the hull, but other variants suit each processor better here


class UnusedVariant(msgspec.Struct, frozen=True, kw_only=True):
    """A variant that no share runs. `instead` names those that beat it, where it is beaten."""

    variant: str
    why: WhyUnused
    instead: tuple[str, ...] = ()


class WhyIdle(str, Enum):
    """Why a processor has no items."""

    UNAVAILABLE = "unavailable"
    NO_PROFILE = "no-profile"
    MEMORY = "memory"  # none of its variants fits into the node
    BUSY = "busy"  # it would be in time, were it not for the work that it has already
    LOAD = "load"  # ... were it not for loading a variant
    LINK = "link"  # ... were it not for the link
    TOO_SLOW = "too-slow"  # a single item would come too late
    NOT_NEEDED = "not-needed"  # it could do an item in time, and the plan would be no better for it
    LEFT_OUT = "left-out"  # it could do an item in time, but the strategy proves nothing about what it leaves out


class IdleProcessor(msgspec.Struct, frozen=True, kw_only=True):
    """A processor without items. `first_item_s`: when one item, with its fastest variant, would be done."""

    node: str
    processor: str
    why: WhyIdle
    first_item_s: float | None = None


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the way of an infeasible request. If neither promise fails alone, they do together."""

    deadline_alone_fails: bool
    floor_alone_fails: bool
    fastest_s: float | None  # the least latency, whatever the accuracy
    best_accuracy: float  # of the variants that can be run, whatever the time


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a plan is what it is. For an infeasible request `obstacle` is there, and prices and roles are not."""

    prefer: Prefer
    promises: Promises | None = None
    more_accuracy: MoreAccuracy | None = None
    more_time: MoreTime | None = None
    obstacle: Obstacle | None = None
    nodes: tuple[NodeRole, ...] = ()
    nodes_left_out: int = 0  # at work with fewer items than those in `nodes`
    unused: tuple[UnusedVariant, ...] = ()
    idle: tuple[IdleProcessor, ...] = ()
