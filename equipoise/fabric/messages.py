"""What travels between a coordinator and a node, as msgpack.

Times travel as durations: the clocks of boards disagree. `request` names the coordinator's request, so that a
node can tell the work of one coordinator from another's.
"""

from __future__ import annotations

import msgspec

from equipoise.core.cluster import Node


class NodeDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What a node offers: itself as it stands in a cluster description, for one family."""

    node: Node
    family: str
    family_sha256: str  # of the manifest, so that both sides mean the same variants
    emulated: bool


class TaskMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Items to infer. `payloads` are encoded images or tensor bytes, one per item."""

    request: str
    task: int
    processor: str
    variant: str
    batch: int
    expire_in_s: float | None
    items: tuple[int, ...]
    payloads: tuple[bytes, ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one item came out as: the best classes with their scores, best first, or why there is none."""

    item: int
    classes: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    error: str | None = None


class TaskReply(msgspec.Struct, frozen=True, kw_only=True):
    """A task's answers, one per item; or `failure` if the task as a whole was not done."""

    request: str
    task: int
    answers: tuple[Answer, ...] = ()
    busy_s: float = 0.0
    load_s: float = 0.0
    failure: str | None = None


class AbandonMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Forget one task of a request, or all of them."""

    request: str
    task: int | None = None
