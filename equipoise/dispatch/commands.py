"""What the dispatcher wants done. The shell performs commands in order; each outcome returns as an event."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.plan import Conditions
from equipoise.core.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class SendTask:
    """Send these items to a processor, to be run with `variant` in calls of `batch`.

    `expire_in_s` travels as time left, never as a wall-clock time: after it the node need not start the task
    any more. None means that the answers count however late they are. `due_in_s` is when they are needed, for nodes
    that are shared; None for no deadline.
    """

    task: int
    pid: ProcessorId
    variant: str
    batch: int
    items: tuple[int, ...]
    expire_in_s: float | None
    due_in_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AbandonTask:
    """Tell the processor to forget a task that is no longer needed, if it has not started it."""

    task: int
    pid: ProcessorId


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptAnswers:
    """Keep the answers to these items of a task just done; drop its others, which already have one.

    Comes back from the very `handle` call that was told of the TaskDone. Bad items are among them when nobody
    answered them before: that they cannot be answered is their answer.
    """

    task: int
    items: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskForPlan:
    """Plan the rest: `request` has the items not yet assigned, the seconds left and the accuracy still owed.

    `cluster` lacks the profiles of pairs that kept failing; it stays the same object while nothing is excluded
    anew, so that what a planner derives from it can be cached by identity.
    """

    request: Request
    cluster: Cluster
    conditions: Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeAt:
    """Send a Tick at this time; a later WakeAt replaces an earlier one."""

    at_s: float


class Outcome(Enum):
    """How a request ended."""

    ANSWERED = "answered"  # every item has exactly one answer
    STOPPED = "stopped"  # the when-late policy gave up the rest
    INTERRUPTED = "interrupted"
    ABANDONED = "abandoned"  # no node is left that could do the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The request is over; `unanswered` items have no answer, for this `reason` ("" if there are none)."""

    outcome: Outcome
    unanswered: tuple[int, ...]
    reason: str = ""


Command = SendTask | AbandonTask | AcceptAnswers | AskForPlan | WakeAt | Finish
