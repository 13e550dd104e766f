"""Random, seeded planning instances with everything on: batch curves, loads, memory, links, an uplink, watts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equipoise.core.cluster import Cluster, Link, Node, Processor, Profile, Variant
from equipoise.core.request import Prefer, Request, Requirement

BATCHES = (1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A cluster and what is asked of it."""

    cluster: Cluster
    request: Request


def random_instance(
    seed: int, *, nodes: int | None = None, variants: int | None = None, processors: int = 3
) -> Instance:
    """2 to 8 nodes of 1 to 3 processors, 3 to 10 variants, unless told otherwise; a request that may be infeasible."""
    rng = np.random.default_rng(seed)
    count = variants or int(rng.integers(3, 11))
    cluster = random_cluster(rng, nodes or int(rng.integers(2, 9)), count, processors)
    items = int(rng.choice([30, 100, 300, 1000]))
    quickest_s = items / sum(
        1 / min(p.latency_s[b] / b for p in processor.profiles for b in p.latency_s)
        for _, processor in cluster.processors()
    )
    accuracies = [variant.accuracy for variant in cluster.variants]
    requirement = Requirement(
        deadline_s=float(quickest_s * rng.uniform(1.2, 6) + 0.5),
        min_accuracy=float(rng.uniform(min(accuracies), max(accuracies))),
        prefer=Prefer.LATENCY if seed % 2 else Prefer.ACCURACY,
    )
    return Instance(cluster=cluster, request=Request(items=items, requirement=requirement))


def random_cluster(rng: np.random.Generator, nodes: int, variants: int, processors: int) -> Cluster:
    """Unequal boards on which better variants mostly cost more."""
    cost_s = 0.02 * np.sort(rng.lognormal(0, 1, variants))
    memory = rng.uniform(10e6, 80e6, variants)
    bytes_by_variant = rng.uniform(5e3, 3e4) * (
        np.ones(variants) if rng.random() < 0.5 else rng.uniform(0.5, 2, variants)
    )
    return Cluster(
        family="random",
        variants=tuple(
            Variant(name=f"v{v}", accuracy=float(a), accuracy_items=750, input_bytes=int(bytes_by_variant[v]))
            for v, a in enumerate(np.sort(rng.uniform(0.3, 0.9, variants)))
        ),
        nodes=tuple(random_node(rng, n, cost_s, memory, int(rng.integers(1, processors + 1))) for n in range(nodes)),
        uplink_bytes_per_s=float(rng.choice([5e6, 12e6, 120e6])),
    )


def random_node(rng: np.random.Generator, number: int, cost_s: np.ndarray, memory: np.ndarray, processors: int) -> Node:
    """A board with 1 to 3 processors behind a link."""
    return Node(
        name=f"n{number}",
        memory_bytes=int(memory.sum() * processors * rng.uniform(0.25, 1.2)),
        link=Link(latency_s=float(rng.uniform(0, 0.01)), bandwidth_bytes_per_s=float(rng.choice([1e6, 4e6, 12e6]))),
        processors=tuple(random_processor(rng, p, cost_s, memory) for p in range(processors)),
    )


def random_processor(rng: np.random.Generator, number: int, cost_s: np.ndarray, memory: np.ndarray) -> Processor:
    """Its speed, its batch curve (calls of b cost c + b d), its loads and watts."""
    count, speed, fixed = len(cost_s), rng.lognormal(0, 0.7), rng.uniform(0, 0.6)
    seconds = cost_s / speed * rng.lognormal(0, 0.2, count)
    loads_s = rng.uniform(0.02, 0.4, count) * (rng.random() < 0.7)
    sizes = BATCHES[: int(rng.integers(1, len(BATCHES) + 1))]
    idle_w = float(rng.uniform(1, 4))
    has = rng.random(count) < 0.9
    has[0] = True
    return Processor(
        name=f"p{number}",
        idle_w=idle_w,
        active_w=idle_w + float(rng.uniform(1, 8)),
        profiles=tuple(
            Profile(
                variant=f"v{v}",
                latency_s={b: float(seconds[v] * (fixed + (1 - fixed) * b)) for b in sizes},
                latency_stddev_s={b: float(0.1 * seconds[v] * (fixed + (1 - fixed) * b)) for b in sizes},
                load_s=float(loads_s[v]),
                memory_bytes=int(memory[v]),
            )
            for v in range(count)
            if has[v]
        ),
    )
