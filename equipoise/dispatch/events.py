"""What can happen to a request, as the dispatcher is told. Every event carries the time at which it happened.

`now_s` is monotonic time from an origin of the shell's choice; wall-clock time never enters the core.
Items are named by their index in the request, 0 to items - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from equipoise.core.cluster import Node
from equipoise.core.plan import Conditions, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReady:
    """The answer to AskForPlan, for the items that were unassigned when it was asked."""

    now_s: float
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Travel:
    """A task's way: when its inputs set out, and when they had arrived and its answer was back, the work left out."""

    sent_s: float
    arrived_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDone:
    """A node answered every item of a task; `bad_items` are those that no node could answer (undecodable).

    `busy_s` is how long the processor worked on it, waiting excluded; `load_s` how much of that was loading
    the variant. `others_s` is how long it waited before that for the work of other requests. `travel` is None if it
    did not travel, or nobody knows.
    """

    now_s: float
    task: int
    busy_s: float
    load_s: float = 0.0
    others_s: float = 0.0
    travel: Travel | None = None
    bad_items: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed:
    """A node says that it did not do a task (engine failure, out of memory, too late); its items are open again."""

    now_s: float
    task: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLost:
    """The fabric no longer sees the node; nothing that it was sent will count on being answered."""

    now_s: float
    node: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReturned:
    """The node is there again, with empty queues."""

    now_s: float
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeJoined:
    """What a node is now: one that was not planned with before, or that was started anew. It is there."""

    now_s: float
    node: Node
    conditions: Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """An empty message to a node, sent at `sent_s`, was answered at once, and the answer is here now."""

    now_s: float
    node: str
    sent_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A time asked for with WakeAt has come."""

    now_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The user wants to stop: keep what is answered, give up the rest."""

    now_s: float


Event = PlanReady | TaskDone | TaskFailed | NodeLost | NodeReturned | NodeJoined | RoundTrip | Tick | Interrupted
