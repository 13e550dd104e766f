"""The time line of a run: what happened when, one record at a time; a line of JSON each when written to a file.

Times count from the start of the scenario. `kind` says which record it is.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="task"):
    """A task is over. `ending` is answered, refused (with the `reason`), or lost with its node."""

    request: str
    task: int
    node: str
    processor: str
    variant: str
    items: int
    sent_s: float
    began_s: float | None  # None if it was never begun
    ended_s: float
    load_s: float  # how much of it was spent loading the variant
    ending: str
    reason: str = ""


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="plan"):
    """A plan was made for what a request has left; `first` is what it was admitted with.

    `shares` are (node, processor, variant, items).
    """

    request: str
    at_s: float
    first: bool
    feasible: bool
    items: int
    latency_s: float
    accuracy: float
    shares: tuple[tuple[str, str, str, int], ...]


class StreamPlanRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="stream-plan"):
    """A plan was made for a stream; `first` is what it was admitted with.

    `routes` are (node, processor, variant, fraction).
    """

    request: str
    at_s: float
    first: bool
    feasible: bool
    rate_per_s: float
    item_latency_s: float
    accuracy: float
    routes: tuple[tuple[str, str, str, float], ...]


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="node"):
    """A node left, was noticed to be lost, or returned."""

    node: str
    at_s: float
    change: str  # left, lost, returned


class SpeedRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="speed"):
    """From now on a processor is so fast while cold, against its profile."""

    node: str
    processor: str
    at_s: float
    speed: float


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="request"):
    """A request or stream began, was declined, or ended (with the `reason` where items are without answer)."""

    request: str
    at_s: float
    change: str  # began, declined, answered, stopped, interrupted, abandoned; of a stream also: shed some
    reason: str = ""


Record = TaskRecord | PlanRecord | StreamPlanRecord | NodeRecord | SpeedRecord | RequestRecord
Recorder = Callable[[Record], None]


def discard(_record: Record) -> None:
    """The recorder of who wants no time line."""
