"""What travels between a coordinator and a node, as msgpack.

Times travel as durations: the clocks of boards disagree. `request` names the coordinator's request, so that a
node can tell the work of one coordinator from another's. A family is named by its identity, see `families.identity`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from equipoise.core.cluster import Name, Profile, Variant
from equipoise.core.family import Accuracy, InputSpec, OutputSpec, Sha256, Task
from equipoise.core.ranges import refuse_unprintable

CHUNK_BYTES = 1 << 20  # of a model file, at most, in one message
MOST_MODELS = 1000  # of a family that travels
MOST_LABELS = 100_000


class DescribeMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Tell what you are, and of families only this one if one is named.

    With `samples`, items as they would be sent, its profiles are made for such items. If whoever asks `fits` items to
    the variants' inputs (`families.preprocess.fitted`), a sample that is larger than a fitted one stands for one of
    these, and `left_out` more, which would be fitted for every variant, were not worth sending.
    """

    family: str | None = None
    samples: tuple[bytes, ...] = ()
    fits: bool = False
    left_out: Annotated[int, Meta(ge=0, le=1000)] = 0


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What a processor has done since its node started; tasks are dropped if they are abandoned or come too late.

    `busy_s` is what all of them took, `load_s` how much of that was loading models.
    """

    tasks_done: int = 0
    tasks_failed: int = 0
    tasks_dropped: int = 0
    busy_s: float = 0.0
    loads: int = 0
    load_s: float = 0.0


class ProcessorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One processor now. `queue_s` is how long it should need for all that it was sent, `resident` what is loaded.

    `speed` is measured against its profiles: 0.5 takes twice as long.
    """

    name: str
    threads: int = 1
    cpus: tuple[int, ...] | None = None
    provider: str = ""
    queue_tasks: int = 0
    queue_s: float = 0.0
    speed: float = 1.0
    items_done: int = 0
    tally: Tally = Tally()
    resident: tuple[tuple[str, str], ...] = ()  # family and variant


class FamilyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a node has of a family: its evaluated variants, and what each costs on each processor, as far as known.

    `missing` counts the pairs of processor and variant that are being measured now or soon, `to_fetch` the model files
    that have to be fetched from others before theirs can be.
    """

    identity: str
    name: str
    variants: tuple[Variant, ...]
    profiles: dict[str, tuple[Profile, ...]]  # by processor
    missing: int = 0
    to_fetch: int = 0


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is, has and does at this moment. What the system does not tell is None.

    `models_bytes` is what loaded models take of `memory_bytes`, `coordinators` counts those whose tasks are here, and
    `tasks_refused` those that were sent and not taken since the node started. `fetches`: it fetches and offers families
    that others have.
    """

    name: str
    version: str
    emulated: bool
    insecure: bool = False
    fetches: bool = False
    memory_bytes: int | None = None
    temperature_c: float | None = None
    throttled: bool | None = None
    draining: bool = False
    models_bytes: int = 0
    coordinators: int = 0
    tasks_refused: int = 0
    processors: tuple[ProcessorStatus, ...] = ()
    families: tuple[FamilyStatus, ...] = ()


class TaskMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Items to infer. `payloads` are encoded images or tensor bytes, one per item.

    `coordinator` is who asks; when it is gone, its work is forgotten. Whatever is due first has its turn first; work
    without a deadline has None.
    """

    coordinator: str
    request: str
    task: int
    family: str
    processor: str
    variant: str
    batch: int
    expire_in_s: float | None
    due_in_s: float | None = None
    items: tuple[int, ...]
    payloads: tuple[bytes, ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one item came out as: the best classes with their scores, best first, or why there is none."""

    item: int
    classes: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    error: str | None = None


class TaskReply(msgspec.Struct, frozen=True, kw_only=True):
    """A task's answers, one per item; or `failure` if the task as a whole was not done.

    `busy_s` is how long the processor worked on it, `load_s` how much of that was loading; `others_s` is how long
    it waited, first of its request's tasks in the queue, for the work of other requests. `held_s` runs from the
    arrival of the task to this reply.
    """

    request: str
    task: int
    answers: tuple[Answer, ...] = ()
    busy_s: float = 0.0
    load_s: float = 0.0
    others_s: float = 0.0
    held_s: float = 0.0
    failure: str | None = None
    leaving: bool = False  # the node takes no more tasks


class AbandonMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Forget one task of a request, or all of them."""

    request: str
    task: int | None = None


class ChunkMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Send so many bytes of a model file, from an offset on; there are fewer where the file ends."""

    sha256: Sha256
    offset_bytes: Annotated[int, Meta(ge=0, le=1 << 50)]
    size_bytes: Annotated[int, Meta(ge=1, le=CHUNK_BYTES)]


class HoldingsReply(msgspec.Struct, frozen=True, kw_only=True):
    """What a holder has: families by identity, and the SHA-256 of every model file that it can send."""

    families: tuple[Sha256, ...] = ()
    files: tuple[Sha256, ...] = ()


class FamilyMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Describe the family of this identity; the answer is a `FamilyDescription`."""

    identity: Sha256


class ModelDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A variant as it travels: all that its manifest says, except where its file lies. `suffix` tells the engine."""

    name: Name
    sha256: Sha256
    suffix: Literal[".onnx", ".tflite"]
    size_bytes: Annotated[int, Meta(ge=1, le=1 << 50)]
    precision: Name
    input: InputSpec
    output: OutputSpec
    accuracy: Accuracy | None = None

    def __post_init__(self) -> None:
        refuse_unprintable("variant", self.name)


class FamilyDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A family as it travels."""

    name: Name
    task: Task
    labels: Annotated[tuple[str, ...], Meta(min_length=1, max_length=MOST_LABELS)]
    first_class: int
    models: Annotated[tuple[ModelDescription, ...], Meta(min_length=1, max_length=MOST_MODELS)]

    def __post_init__(self) -> None:
        refuse_unprintable("family", self.name)
        if len({model.name for model in self.models}) < len(self.models):
            raise ValueError(f"family {self.name!r} has two variants of one name")
