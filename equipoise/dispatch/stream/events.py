"""What can happen to a stream beside what can happen to any request (dispatch/events.py), and what is done about it.

Items are named by numbers of the shell's choice; each arrives once.
"""

from __future__ import annotations

from dataclasses import dataclass

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions
from equipoise.core.stream import StreamPlan, StreamRequest
from equipoise.dispatch.commands import AbandonTask, AcceptAnswers, SendTask, WakeAt
from equipoise.dispatch.events import Interrupted, NodeLost, NodeReturned, TaskDone, TaskFailed, Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemArrived:
    """An item is to be answered from now on."""

    now_s: float
    item: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalsEnded:
    """No more items will come; the stream is over when those that came are settled."""

    now_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlanReady:
    """The answer to AskForStreamPlan."""

    now_s: float
    plan: StreamPlan


StreamEvent = (
    ItemArrived | ArrivalsEnded | StreamPlanReady | TaskDone | TaskFailed | NodeLost | NodeReturned | Tick | Interrupted
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskForStreamPlan:
    """Plan the stream for the rate, the nodes and the speeds of now. `cluster` is as in AskForPlan."""

    request: StreamRequest
    cluster: Cluster
    conditions: Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedItems:
    """These items will not be answered, for this reason; whoever brought them should be told at once."""

    items: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndStream:
    """The stream is over: every item that arrived is answered or was shed. Always the last command."""


StreamCommand = SendTask | AbandonTask | AcceptAnswers | ShedItems | AskForStreamPlan | WakeAt | EndStream
