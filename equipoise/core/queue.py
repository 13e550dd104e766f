"""Several requests at once: what waits, what was promised, and what came of asking for one more."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from equipoise.core.cluster import Cluster, Name
from equipoise.core.plan import Plan
from equipoise.core.ranges import ITEMS, refuse_outside, refuse_unprintable
from equipoise.core.request import Prefer, Request, Requirement


class QueuedRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request that shares the processors with others. Its deadline counts from now.

    Raises ValueError without a deadline or throughput, or if `items` is below 1.
    """

    name: Name
    family: Name
    items: int
    requirement: Requirement

    def __post_init__(self) -> None:
        refuse_unprintable("request", self.name)
        refuse_outside(f"items of request {self.name!r}", self.items, ITEMS)
        if self.requirement.time_unbounded:
            raise ValueError(f"request {self.name!r} needs a deadline_s or a throughput_per_s to be queued with others")

    @property
    def request(self) -> Request:
        """The same, as the planner of one request takes it."""
        return Request(items=self.items, requirement=self.requirement)

    @property
    def deadline_s(self) -> float:
        """Seconds from now until its last answer is due."""
        return self.request.deadline_s

    @property
    def wants_accuracy(self) -> bool:
        """True if slack is to be spent on its accuracy; otherwise it takes no more than it was promised."""
        return self.requirement.prefer is Prefer.ACCURACY


class Queue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests in the order in which they are asked for, and what each family costs on the shared nodes.

    Nodes and processors of the same name are the same in every cluster. Raises ValueError if a name occurs twice,
    a family has no cluster, or a node's link or memory differs from one cluster to the next.
    """

    clusters: tuple[Cluster, ...]
    requests: tuple[QueuedRequest, ...]

    def __post_init__(self) -> None:
        check_clusters(self.clusters)
        families = {cluster.family for cluster in self.clusters}
        seen: set[str] = set()
        for request in self.requests:
            if request.name in seen:
                raise ValueError(f"duplicate request: {request.name!r}")
            if request.family not in families:
                raise ValueError(
                    f"request {request.name!r} is of family {request.family!r}, which no cluster describes; "
                    f"described: {', '.join(sorted(families))}"
                )
            seen.add(request.name)


def check_clusters(clusters: Iterable[Cluster]) -> None:
    """Raise ValueError unless there is one cluster per family and they agree about the nodes that they share."""
    families: set[str] = set()
    nodes: dict[str, tuple[str, object]] = {}
    for cluster in clusters:
        if cluster.family in families:
            raise ValueError(f"two clusters describe family {cluster.family!r}; merge them into one")
        families.add(cluster.family)
        for node in cluster.nodes:
            family, known = nodes.setdefault(node.name, (cluster.family, (node.link, node.memory_bytes)))
            if known != (node.link, node.memory_bytes):
                raise ValueError(
                    f"node {node.name!r} has another link or memory_bytes in family {cluster.family!r} than in "
                    f"{family!r}; it is one node, so give it the same in both"
                )
    if not families:
        raise ValueError("a queue needs a cluster for each family, and has none at all")


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was said yes to, and the plan by which it is kept. Times of the plan count from now."""

    request: QueuedRequest
    plan: Plan


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Plans that keep every promise, side by side: each processor runs its shares in the order in which they stand.

    `bound` is the accuracy, as a mean over all items of requests that prefer accuracy, that no schedule of these
    requests can beat; None if it was not computed or no request prefers accuracy.
    """

    promises: tuple[Promise, ...] = ()  # earliest deadline first
    bound: float | None = None

    @property
    def requests(self) -> tuple[QueuedRequest, ...]:
        """Whose promises these are."""
        return tuple(promise.request for promise in self.promises)

    @property
    def accuracy(self) -> float | None:
        """What `bound` bounds: expected, over the items of requests that prefer accuracy; None if there are none."""
        eager = [promise for promise in self.promises if promise.request.wants_accuracy]
        items = sum(promise.request.items for promise in eager)
        return math.fsum(p.plan.accuracy * p.request.items for p in eager) / items if items else None

    @property
    def gap(self) -> float | None:
        """Relative distance of the accuracy to its bound; None without one."""
        if self.bound is None or self.accuracy is None:
            return None
        return max(0.0, 1 - self.accuracy / self.bound) if self.bound > 0 else 0.0


class Counteroffer(msgspec.Struct, frozen=True, kw_only=True):
    """What would be said yes to instead; each was tried, each alone suffices, None where it alone cannot.

    Round figures, so that what is shown is what was tried: the deadline to three figures, the floor to three decimals.
    """

    deadline_s: float | None
    min_accuracy: float | None


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request that wants to join a schedule.

    `schedule` keeps all earlier promises, and this one too if `admitted`. `proven` says of a no that no schedule
    whatsoever could keep all promises.
    """

    request: QueuedRequest
    admitted: bool
    schedule: Schedule
    reason: str
    proven: bool = False
    instead: Counteroffer | None = None
