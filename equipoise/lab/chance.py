"""Random clusters, each the same for the same seed: unequal boards, on which better variants mostly cost more."""

from __future__ import annotations

import numpy as np

from equipoise.core.cluster import Cluster, Node, Processor, Profile, Variant


def random_cluster(seed: int) -> Cluster:
    """2 to 8 boards of 1 or 2 processors, and 3 to 12 variants of accuracies from 0.4 to 0.9.

    Costs of variants, speeds of processors and how well a variant suits a processor are log-normal; a processor lacks
    one in ten pairs. Links, loads and batches are free, as in the published figures.
    """
    rng = np.random.default_rng(seed)
    cost_s = 0.02 * np.sort(rng.lognormal(0, 1, int(rng.integers(3, 13))))
    accuracy = np.sort(rng.uniform(0.4, 0.9, len(cost_s)))
    return Cluster(
        family="random",
        variants=tuple(Variant(name=f"v{v}", accuracy=float(a)) for v, a in enumerate(accuracy)),
        nodes=tuple(_node(rng, number, cost_s) for number in range(int(rng.integers(2, 9)))),
    )


def _node(rng: np.random.Generator, number: int, cost_s: np.ndarray) -> Node:
    names = ("cpu", "gpu")[: int(rng.integers(1, 3))]
    return Node(name=f"n{number}", processors=tuple(_processor(rng, name, cost_s) for name in names))


def _processor(rng: np.random.Generator, name: str, cost_s: np.ndarray) -> Processor:
    item_s = cost_s / rng.lognormal(0, 0.7) * rng.lognormal(0, 0.3, len(cost_s))
    has = rng.random(len(cost_s)) < 0.9
    has[0] = True
    profiles = (Profile(variant=f"v{v}", latency_s={1: float(item_s[v])}) for v in np.flatnonzero(has))
    return Processor(name=name, profiles=tuple(profiles))
