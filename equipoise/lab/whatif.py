"""What a cluster would be worth with a board more, a board less, or without a variant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from equipoise.core.cluster import Cluster, Node
from equipoise.core.plan import Plan
from equipoise.core.request import Request
from equipoise.errors import UsageError
from equipoise.lab.catalogue import Catalogue
from equipoise.planning.fleet import Fleet
from equipoise.planning.frontier import frontier
from equipoise.planning.planner import plan
from equipoise.planning.strategies import STRATEGIES


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster promises: a plan for the request, and the ends of its whole frontier."""

    change: str
    plan: Plan
    fastest_per_s: float
    best_accuracy: float


def worth(change: str, cluster: Cluster, request: Request, strategy: str = "equipoise") -> Worth:
    """What the cluster can do with the request. Raises PlanningError if nothing can run."""
    fleet = Fleet.of(cluster)
    ends = frontier(request.items, fleet, strategy=strategy, points=2)
    return Worth(
        change=change,
        plan=plan(request, fleet, strategy=strategy),
        fastest_per_s=ends[0].throughput_per_s,
        best_accuracy=ends[-1].accuracy,
    )


def compared(cluster: Cluster, request: Request, names: Iterable[str] | None = None) -> list[Plan]:
    """The plan of every strategy, or of those named. Raises UnknownStrategyError."""
    fleet = Fleet.of(cluster)
    return [plan(request, fleet, strategy=name) for name in names or STRATEGIES]


def added(cluster: Cluster, name: str, catalogue: Catalogue) -> Cluster:
    """The cluster and a published board beside its own.

    Raises UsageError if the board is unknown, or none of the cluster's variants was published for it.
    """
    board = catalogue.board(name)
    node = board.node(variant.name for variant in cluster.variants)
    if not any(processor.profiles for processor in node.processors):
        raise UsageError(
            f"none of the cluster's variants was published for {name}, so nobody knows what it would add; clusters of "
            "published boards are described by `equipoise lab boards BOARD ...`"
        )
    taken = {node.name for node in cluster.nodes}
    free = next(n for n in _names(name) if n not in taken)
    return msgspec.structs.replace(cluster, nodes=(*cluster.nodes, msgspec.structs.replace(node, name=free)))


def _names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def removed(cluster: Cluster, name: str) -> Cluster:
    """The cluster without a node. Raises UsageError if there is no such node, or no other."""
    left = tuple(node for node in cluster.nodes if node.name != name)
    if len(left) == len(cluster.nodes):
        raise UsageError(f"there is no node {name!r}; the cluster has: {', '.join(n.name for n in cluster.nodes)}")
    if not left:
        raise UsageError(f"{name!r} is the only node of the cluster; without it nothing is left")
    return msgspec.structs.replace(cluster, nodes=left)


def without_variant(cluster: Cluster, name: str) -> Cluster:
    """The cluster without a variant. Raises UsageError if there is no such variant, or no other."""
    left = tuple(variant for variant in cluster.variants if variant.name != name)
    if len(left) == len(cluster.variants):
        known = ", ".join(variant.name for variant in cluster.variants)
        raise UsageError(f"there is no variant {name!r}; the cluster has: {known}")
    if not left:
        raise UsageError(f"{name!r} is the only variant of the cluster; without it nothing is left")
    return msgspec.structs.replace(cluster, variants=left, nodes=tuple(_lacking(node, name) for node in cluster.nodes))


def _lacking(node: Node, variant: str) -> Node:
    processors = (
        msgspec.structs.replace(p, profiles=tuple(profile for profile in p.profiles if profile.variant != variant))
        for p in node.processors
    )
    return msgspec.structs.replace(node, processors=tuple(processors))


def shopping(cluster: Cluster, request: Request, catalogue: Catalogue) -> list[Worth]:
    """Every published board that could be added, the one that is worth most for the request first.

    Plans that keep both promises come before those that do not; then what the request prefers decides.
    """
    variants = {variant.name for variant in cluster.variants}
    known = [b.name for b in catalogue.boards if any(variants & set(p.item_ms) for p in b.processors)]
    found = [worth(name, added(cluster, name, catalogue), request) for name in known]
    better = {"accuracy": _by_accuracy, "latency": _by_latency, "energy": _by_latency}
    return sorted(found, key=better[request.requirement.prefer.value])


def _by_accuracy(one: Worth) -> tuple[bool, float, float]:
    return not one.plan.feasible, -one.plan.accuracy, one.plan.latency_s


def _by_latency(one: Worth) -> tuple[bool, float, float]:
    return not one.plan.feasible, one.plan.latency_s, -one.plan.accuracy


def never_used(cluster: Cluster, items: int) -> list[str]:
    """Variants that no plan of the whole frontier runs, most accurate first."""
    used = {share.variant for one in frontier(items, Fleet.of(cluster)) for share in one.shares}
    order = np.argsort([-variant.accuracy for variant in cluster.variants], kind="stable")
    return [cluster.variants[k].name for k in order if cluster.variants[k].name not in used]
