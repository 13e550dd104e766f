"""The best plan of a tiny instance by trying them all, judged by the checker. Shares no code with the planner."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.checker import costs
from equipoise.core.cluster import Cluster
from equipoise.core.plan import Plan, Share
from equipoise.core.request import Prefer, Request


def every_split(items: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to divide `items` among so many parts, in order."""
    if parts == 1:
        yield (items,)
        return
    for first in range(items + 1):
        for rest in every_split(items - first, parts - 1):
            yield (first, *rest)


def best_value(request: Request, cluster: Cluster) -> float | None:
    """The best accuracy, latency or energy that keeps both promises within all limits; None if nothing does."""
    cells = [
        (node.name, processor.name, profile)
        for node in cluster.nodes
        for processor in node.processors
        for profile in processor.profiles
    ]
    found = [
        value
        for split in every_split(request.items, len(cells))
        if (value := _value(request, cluster, split, cells)) is not None
    ]
    pick = max if request.requirement.prefer is Prefer.ACCURACY else min
    return pick(found, default=None)


def _value(request: Request, cluster: Cluster, split: tuple[int, ...], cells: list) -> float | None:
    wanted = request.requirement
    shares = tuple(
        Share(
            node=node,
            processor=processor,
            variant=profile.variant,
            batch=min(items, min(sorted(profile.latency_s), key=lambda size: profile.latency_s[size] / size)),
            items=items,
            finish_s=0.0,
        )
        for items, (node, processor, profile) in zip(split, cells, strict=True)
        if items
    )
    plan = Plan(
        feasible=True,
        strategy="exhaustive",
        prefer=wanted.prefer,
        items=request.items,
        latency_s=0.0,
        accuracy=0.0,
        energy_j=None,
        bound=None,
        gap=None,
        solve_s=0.0,
        shares=shares,
    )
    cost = costs(cluster, plan, wanted.confidence)
    within = (
        cost["latency_s"] <= request.deadline_s * (1 + 1e-9)
        and cost["accuracy"] >= wanted.min_accuracy - 1e-9
        and not cost["overfull"]
        and (wanted.max_energy_j is None or cost["energy_j"] <= wanted.max_energy_j * (1 + 1e-9))
        and (wanted.max_power_w is None or cost["power_w"] <= wanted.max_power_w * (1 + 1e-9))
    )
    if not within:
        return None
    return cost[{"accuracy": "accuracy", "latency": "latency_s", "energy": "energy_j"}[wanted.prefer.value]]
