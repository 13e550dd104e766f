"""One processor as the dispatcher sees it: what it was sent, what it will be sent, and how fast it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from equipoise.core.cluster import Cluster, Node, ProcessorId, Profile
from equipoise.core.plan import Condition, Conditions
from equipoise.dispatch.uplink import Uplink, Wire
from equipoise.profiling.feedback import SpeedEstimator

_SLOWEST_BELIEVED = 3.0  # times its predicted duration: what a page fault storm or a thermal step can do
_SPREADS_BELIEVED = 6.0
_SPREADS_USUAL = 3.0  # beyond it a task is late rather than within its scatter
_LOST_ROUND_TRIPS = 5
_LEAST_RUN_S = 1e-9  # no clock resolves less, and nothing can be learned from it


@dataclass(slots=True)
class Quota:
    """What is still to be sent of a share; in a pool one quota belongs to several lanes."""

    variant: str
    items: int
    batches: dict[ProcessorId, int]  # batch size on each processor that draws on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Items that were sent at once, and what they should cost."""

    number: int
    pid: ProcessorId
    variant: str
    items: tuple[int, ...]
    run_s: float  # by the profile, at speed 1
    load_s: float  # 0 if the variant is resident
    size_bytes: int  # of its inputs
    travel_s: float  # over an idle link
    arrives_s: float  # when its inputs should be there; absolute
    retried: bool  # some of its items were in a task that failed


@dataclass(slots=True, eq=False)
class Lane:
    """The tasks of a processor run one after the other, in the order in which they were sent.

    `speed` starts from what is believed at the start of the request; a feedback re-scales the profile as a whole.
    """

    pid: ProcessorId
    uplink: Uplink
    neighbours: list[Lane] = field(repr=False)  # all that share its uplink, itself among them
    profiles: dict[str, Profile]
    item_bytes: dict[str, int]
    condition: Condition
    watts: float | None = None  # at work, beyond idling; None where not described
    free_s: float = -math.inf  # until then it does the work of others; absolute
    tasks: dict[int, Task] = field(default_factory=dict)
    items_in_flight: int = 0
    work_in_flight_s: float = 0.0  # of its tasks, by the profile
    quotas: list[Quota] = field(default_factory=list)
    planned_finish_s: float = 0.0
    planned_speed: float = 1.0
    head_since_s: float = 0.0
    variant: str | None = None
    available: bool = True
    suspected: bool = False
    resident: set[str] = field(default_factory=set)
    blame: Counter[str] = field(default_factory=Counter)
    excluded: set[str] = field(default_factory=set)
    estimator: SpeedEstimator = field(default_factory=SpeedEstimator)
    _least_item_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.available = self.condition.available
        self.resident = set(self.condition.resident)
        self._least_item_s = min((profile.item_s for profile in self.profiles.values()), default=math.inf)

    @property
    def usable(self) -> bool:
        """True if it may be sent work."""
        return self.available and not self.suspected and any(self.can_run(variant) for variant in self.profiles)

    @property
    def speed(self) -> float:
        """Measured against the profile: 0.5 takes twice as long."""
        return self.condition.speed * self.estimator.speed

    @property
    def least_item_s(self) -> float:
        """Seconds per item of its quickest variant at its present speed."""
        return self._least_item_s / self.speed

    @property
    def head(self) -> Task | None:
        """The task that it is working on."""
        return next(iter(self.tasks.values()), None)

    def can_run(self, variant: str) -> bool:
        """True if it has a profile of the variant, and the pair does not keep failing."""
        return variant in self.profiles and variant not in self.excluded

    def item_s(self, variant: str, batch: int) -> float:
        """Seconds per item in calls of `batch`, at its present speed and the pace of its link."""
        return max(self._compute_s(variant, batch), self.uplink.transfer_s(self.item_bytes[variant]))

    def _compute_s(self, variant: str, batch: int) -> float:
        return self.profiles[variant].call_s(batch) / batch / self.speed

    def load_s(self, variant: str) -> float:
        """Seconds until the variant could run."""
        return 0.0 if variant in self.resident else self.profiles[variant].load_s

    def describe_task(
        self, variant: str, items: tuple[int, ...], batch: int, now_s: float, *, number: int = 0, retried: bool = False
    ) -> Task:
        """The task that these items would be if they were sent now."""
        size_bytes = len(items) * self.item_bytes[variant]
        return Task(
            number=number,
            pid=self.pid,
            variant=variant,
            items=items,
            run_s=self.profiles[variant].run_s(len(items), batch),
            load_s=self.load_s(variant),
            size_bytes=size_bytes,
            travel_s=self.uplink.link.latency_s + self.uplink.transfer_s(size_bytes),
            arrives_s=self.uplink.arrives_s(size_bytes, now_s),
            retried=retried,
        )

    def work_s(self, task: Task) -> float:
        """Seconds for which the processor works on a task."""
        return task.load_s + task.run_s / self.speed

    def answer_s(self, task: Task, free_s: float) -> float:
        """When a task should be answered if the processor is free at `free_s`."""
        return max(free_s, task.arrives_s) + self.work_s(task)

    def add(self, task: Task, now_s: float) -> None:
        """A task was sent."""
        if not self.tasks:
            self.head_since_s = max(now_s, self.free_s)
        self.uplink.send(task.size_bytes, now_s)
        self.tasks[task.number] = task
        self.items_in_flight += len(task.items)
        self.work_in_flight_s += task.load_s + task.run_s
        self.variant = task.variant
        self.resident.add(task.variant)

    def remove(self, task: Task, now_s: float) -> None:
        """A task is over; if it was the head, the next one has just begun."""
        if task is self.head:
            self.head_since_s = now_s
        del self.tasks[task.number]
        self.items_in_flight -= len(task.items)
        self.work_in_flight_s = self.work_in_flight_s - task.load_s - task.run_s if self.tasks else 0.0

    @property
    def due_s(self) -> float:
        """When the head should be answered; with nothing in flight, when the last one was."""
        return self.answer_s(self.head, self.head_since_s) if self.head else self.head_since_s

    def finishes_s(self, now_s: float) -> Iterator[tuple[float, Task]]:
        """When each task in flight should be answered; an overdue head should need as long again as it is overdue."""
        at_s = now_s + abs(self.due_s - now_s)
        for task in self.tasks.values():
            at_s = at_s if task is self.head else self.answer_s(task, at_s)
            yield at_s, task

    def busy_s(self, now_s: float) -> float:
        """Seconds until it has answered everything in flight."""
        return max((finish_s for finish_s, _ in self.finishes_s(now_s)), default=max(now_s, self.free_s)) - now_s

    def finish_s(self, now_s: float) -> float:
        """When it should have answered everything in flight and everything still planned for it."""
        in_flight_s = now_s + self.busy_s(now_s)
        quotas = [quota for quota in self.quotas if quota.items]
        if not quotas:
            return in_flight_s
        loads_s = sum(self.load_s(variant) for variant in {quota.variant for quota in quotas})
        slower = self.speed / self.speed_at(now_s)
        item_s = {quota.variant: slower * self._compute_s(quota.variant, quota.batches[self.pid]) for quota in quotas}
        computed_s = in_flight_s + loads_s + sum(quota.items * item_s[quota.variant] for quota in quotas)
        arrived_s = self.uplink.arrives_s(sum(lane.planned_bytes for lane in self.neighbours), now_s)
        return max(computed_s, arrived_s + item_s[quotas[-1].variant])

    @property
    def planned_bytes(self) -> int:
        """Inputs still to be sent to it."""
        return sum(quota.items * self.item_bytes[quota.variant] for quota in self.quotas)

    @property
    def covers_travel(self) -> bool:
        """True if what waits behind its head lasts until a task like the last one, sent when the head ends, is there.

        A task lasts as long as processor or link need for it, whichever is slower. A packet that is lost holds up all
        that follow it for some round trips: what waits lasts for these, too.
        """
        in_flight = list(self.tasks.values())
        lasts_s = sum(max(self.work_s(task), self.uplink.transfer_s(task.size_bytes)) for task in in_flight[1:])
        return not in_flight or lasts_s >= in_flight[-1].travel_s + _LOST_ROUND_TRIPS * self.uplink.link.latency_s

    @property
    def turn(self) -> float:
        """How much it sends when its turn comes, for each 1 of the neighbour that has the least to send."""
        least_bytes = min((lane.planned_bytes for lane in self.neighbours if lane.planned_bytes), default=0)
        return self.planned_bytes / least_bytes if least_bytes else 1.0

    def timely_bytes(self, now_s: float) -> float:
        """How much can be sent now and arrive before it is idle."""
        return self.uplink.capacity_bytes(now_s, now_s + self.busy_s(now_s))

    def believable_until_s(self, task: Task, margin_s: float) -> float:
        """How late the head's answer may be before no speed, nor that of its link, explains it any more."""
        factor = max(_SLOWEST_BELIEVED, math.exp(_SPREADS_BELIEVED * self.estimator.spread))
        expected_s = max(task.travel_s, self.answer_s(task, self.head_since_s) - self.head_since_s)
        return self.head_since_s + factor * expected_s + margin_s

    @property
    def scatter_s(self) -> float:
        """By how much more or less than expected its present task may take, as far as tasks usually scatter."""
        return _SPREADS_USUAL * self.estimator.spread * self.work_s(self.head) if self.head else 0.0

    @property
    def late_from_s(self) -> float:
        """From when on the head is later than tasks usually scatter."""
        return self.due_s + self.scatter_s

    def speed_at(self, now_s: float) -> float:
        """The measured speed, or what a head that is late allows at most: it is not over yet."""
        head = self.head
        if head is None or now_s <= self.late_from_s:
            return self.speed
        lasted_s = now_s - max(self.head_since_s, head.arrives_s) - head.load_s
        return min(self.speed, head.run_s / lasted_s)

    def next_quota(self) -> Quota | None:
        """What to send from next, if anything is planned for it."""
        while self.quotas and self.quotas[0].items == 0:
            self.quotas.pop(0)
        return self.quotas[0] if self.quotas else None

    def learn(self, task: Task, run_s: float) -> None:
        """It did a task in so many seconds, loading excluded: how fast is it, and that the pair works."""
        self.blame.pop(task.variant, None)
        if run_s >= _LEAST_RUN_S:
            self.estimator.observe(predicted_s=task.run_s / self.condition.speed, observed_s=run_s)

    def blame_for(self, task: Task, max_failures: int) -> None:
        """A task failed here; exclude its variant if it keeps failing.

        That items fail which failed before says little about the pair: such a failure counts for 1 of
        `max_failures`.
        """
        self.blame[task.variant] += 1 if task.retried else max_failures
        self.resident.discard(task.variant)
        if self.blame[task.variant] >= max_failures**2:
            self.excluded.add(task.variant)
            self.quotas = [quota for quota in self.quotas if quota.variant != task.variant]

    def restart(self) -> None:
        """It is back with empty queues and nothing loaded, and deserves a fresh judgement."""
        self.available, self.suspected = True, False
        self.free_s = -math.inf
        self.condition = Condition()
        self.estimator = SpeedEstimator()
        self.uplink.forget()
        self.variant = None
        self.resident.clear()
        self.blame.clear()
        self.excluded.clear()

    def describe_anew(self, profiles: dict[str, Profile], item_bytes: dict[str, int], condition: Condition) -> None:
        """It was started anew, or is known better now; what it was sent it still has."""
        self.profiles, self.item_bytes = profiles, item_bytes
        self._least_item_s = min((profile.item_s for profile in profiles.values()), default=math.inf)
        self.condition = condition
        self.estimator = SpeedEstimator()
        self.resident = {*condition.resident, *(task.variant for task in self.tasks.values())}
        self.quotas = [quota for quota in self.quotas if quota.variant in profiles]

    def condition_now(self, now_s: float) -> Condition:
        """What the planner has to know of it; it adds the latency of the link, which passes while the lane is busy."""
        return Condition(
            available=self.usable,
            speed=self.speed_at(now_s),
            busy_s=max(0.0, self.busy_s(now_s) - self.uplink.link.latency_s),
            resident=frozenset(self.resident),
        )


def lanes_of(cluster: Cluster, conditions: Conditions) -> dict[ProcessorId, Lane]:
    """One lane per processor, in the order of the description."""
    lanes: dict[ProcessorId, Lane] = {}
    common = Wire(cluster.uplink_bytes_per_s)
    for node in cluster.nodes:
        _add_lanes(lanes, cluster, node, conditions, (Uplink(node.link, common), []))
    return lanes


def renew_lanes(
    lanes: dict[ProcessorId, Lane], cluster: Cluster, node: Node, conditions: Conditions, now_s: float
) -> list[Lane]:
    """Have the lanes of a node say what it is now; of a new one there are none yet. Returns those that it has no more.

    Processors that were known keep their link and what they were sent.
    """
    known = {pid: lane for pid, lane in lanes.items() if pid.node == node.name}
    common = next(iter(lanes.values())).uplink.common
    old = next(iter(known.values()), None)
    way = (old.uplink, old.neighbours) if old is not None else (Uplink(node.link, common), [])
    for lane in _add_lanes(lanes, cluster, node, conditions, way):
        lane.free_s = now_s + lane.condition.busy_s
    here = {processor.name for processor in node.processors}
    return [lane for pid, lane in known.items() if pid.processor not in here]


def _add_lanes(
    lanes: dict[ProcessorId, Lane],
    cluster: Cluster,
    node: Node,
    conditions: Conditions,
    way: tuple[Uplink, list[Lane]],
) -> list[Lane]:
    """Lanes for those processors of a node that have none; the others are described anew. Returns the new ones.

    `way` is how the node is reached, and who else is reached so.
    """
    uplink, neighbours = way
    variants = {variant.name: variant for variant in cluster.variants}
    added = []
    for processor in node.processors:
        pid = ProcessorId(node.name, processor.name)
        profiles = {profile.variant: profile for profile in processor.profiles}
        item_bytes = {name: profile.item_bytes(variants[name]) for name, profile in profiles.items()}
        condition = conditions.get(pid, Condition())
        if pid in lanes:
            lanes[pid].describe_anew(profiles, item_bytes, condition)
            continue
        lane = Lane(
            pid=pid,
            uplink=uplink,
            neighbours=neighbours,
            profiles=profiles,
            item_bytes=item_bytes,
            condition=condition,
            watts=None if processor.active_w is None else processor.active_w - (processor.idle_w or 0.0),
        )
        lanes[pid] = lane
        added.append(lane)
    neighbours += added
    return added
