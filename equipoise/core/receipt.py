"""A receipt: what was promised, what happened, per share and in total; and whether the promises were kept."""

from __future__ import annotations

import msgspec

from equipoise.core.plan import Plan
from equipoise.core.request import Request, Requirement

RUNNING = "running"  # the outcome while there is none yet; a coordinator that is killed leaves it behind

_ROUNDING = 1e-9  # a floor that is met exactly in theory may be missed by this much in floating point


class MeasuredAccuracy(msgspec.Struct, frozen=True, kw_only=True):
    """Top-1 over the answered items that have a label, with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    items: int


class AccuracyResult(msgspec.Struct, frozen=True, kw_only=True):
    """`expected` is the mean accuracy of the variants that answered, by items; `measured` needs labels."""

    expected: float
    measured: MeasuredAccuracy | None = None


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """Whether each promise was kept, and the budget of energy. What was not asked for is kept."""

    performance: bool
    accuracy: bool
    energy: bool = True

    @property
    def both(self) -> bool:
        """True if nothing was broken."""
        return self.performance and self.accuracy and self.energy


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """An item without a class, and why."""

    item: str
    reason: str


class LostNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node that was not there, or no longer, `after_s` seconds into the request; it may have come back."""

    node: str
    reason: str
    after_s: float


class RanShare(msgspec.Struct, frozen=True, kw_only=True):
    """What one processor really did with one variant, beside the items that the plan gave it.

    Times count from the start of the request; None where nothing was run. `items` counts the answers that were
    kept, `busy_s` also the work whose answers came too late to be.
    """

    node: str
    processor: str
    variant: str
    planned_items: int
    items: int
    busy_s: float
    load_s: float
    first_sent_s: float | None
    last_answer_s: float | None


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the predictions file is on the disk: so many lines, the bytes up to there and their SHA-256."""

    lines: int
    bytes: int
    sha256: str


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for besides the requirement: with it, a run that was cut short can go on.

    Paths are as they were given, seen from `folder`. `accuracies` are those that the variants were planned with.
    `predictions` is None until the predictions file was begun, and where there is none.
    """

    folder: str
    inputs: tuple[str, ...]
    inputs_sha256: str  # of the items' names, and of their files' sizes and times of change
    family: str
    family_sha256: str  # of everything that an answer depends on
    labels: str | None = None
    out: str | None = None
    cluster: str | None = None
    emulate: bool = False
    nodes: int = 1
    cluster_name: str
    connect: tuple[str, ...] = ()
    insecure: bool = False
    split_cpu: str | None = None
    started_at: str = ""  # when work began: wall-clock time, the only clock that outlives a process, in UTC
    accuracies: dict[str, float] = {}
    predictions: Acknowledged | None = None


class Resumption(msgspec.Struct, frozen=True, kw_only=True):
    """A run was gone on with, `after_s` seconds after it had begun, when `answered` items had their answer.

    `deadline_s` is what the rest was given then; None if the deadline of the request went on counting.
    """

    after_s: float
    answered: int
    deadline_s: float | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Promised against measured.

    `latency_s` runs from the first task sent to the last answer kept, None if there is no answer. `answered` counts
    items with a class, `bad` names those that nobody can read, `unanswered` those that were given up. Together
    they are `items`, once the run is over: until then `outcome` is "running", and what is open is not named.
    """

    equipoise: str  # the version that wrote it
    family: str
    strategy: str
    emulated: bool
    seed: int
    outcome: str
    requirement: Requirement
    plan: Plan
    items: int
    answered: int
    bad: tuple[Fault, ...]
    unanswered: tuple[Fault, ...]
    latency_s: float | None
    throughput_per_s: float
    accuracy: AccuracyResult
    met: Met
    replanned: int
    resent: int
    duplicated: int
    dropped: int
    shares: tuple[RanShare, ...]
    simulated: bool = False  # nothing was run; times are virtual
    lost: tuple[LostNode, ...] = ()  # in the order of the losses
    resumed: tuple[Resumption, ...] = ()
    energy_j: float | None = None  # added to idling, as far as answers say; None where watts are not described
    origin: Origin | None = None  # None where nobody could go on with it, as in a simulation


def judge(
    request: Request,
    *,
    answered: int,
    unanswered: int,
    latency_s: float | None,
    accuracy: AccuracyResult,
    energy_j: float | None = None,
) -> Met:
    """Say which promises were kept.

    Performance: at least one item has a class, none was given up, and `latency_s` is within the deadline of the
    whole request (items / throughput for a rate; bad items count as items, as they too had to be looked at).
    Accuracy: the promise is statistical, so it is judged on the expectation of what really ran; but a measured
    interval that lies below the floor as a whole refutes the expectation, and the promise is broken.
    Energy: what was spent, as far as it is known, is within the budget.
    """
    in_time = latency_s is not None and latency_s <= request.deadline_s
    floor, budget_j = request.requirement.min_accuracy, request.requirement.max_energy_j
    refuted = accuracy.measured is not None and accuracy.measured.high < floor
    return Met(
        performance=answered > 0 and unanswered == 0 and in_time,
        accuracy=accuracy.expected >= floor - _ROUNDING and not refuted,
        energy=budget_j is None or energy_j is None or energy_j <= budget_j * (1 + _ROUNDING),
    )
