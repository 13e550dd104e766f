"""Clusters for the planner's tests: a builder, and random ones of the kinds that real boards make."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from equipoise.core.cluster import Cluster, Link, Node, Processor, Profile, Variant
from equipoise.core.request import Prefer, Request, Requirement


def cluster_of(accuracy: dict[str, float], **item_s: dict[str, float]) -> Cluster:
    """A cluster of single-processor nodes: seconds per item of each variant, at batch 1."""
    return Cluster(
        family="test",
        variants=tuple(Variant(name=name, accuracy=value) for name, value in accuracy.items()),
        nodes=tuple(Node(name=name, processors=(cpu(latencies),)) for name, latencies in item_s.items()),
    )


def cpu(item_s: dict[str, float], **watts: float) -> Processor:
    profiles = tuple(Profile(variant=variant, latency_s={1: seconds}) for variant, seconds in item_s.items())
    return Processor(name="cpu", profiles=profiles, **watts)


def request_of(items: int, prefer: Prefer = Prefer.ACCURACY, **requirement: float) -> Request:
    return Request(items=items, requirement=Requirement(prefer=prefer, **requirement))


def random_cluster(rng: np.random.Generator, *, nodes: int | None = None, variants: int | None = None) -> Cluster:
    """2 to 8 nodes, 1 or 2 processors, 3 to 10 variants; unequal speeds, missing profiles, some useless variants."""
    count = variants or int(rng.integers(3, 11))
    accuracy = np.sort(rng.uniform(0.3, 0.9, count))
    cost_s = 0.02 * np.sort(rng.lognormal(0, 1, count))
    return Cluster(
        family="random",
        variants=tuple(Variant(name=f"v{v}", accuracy=float(a)) for v, a in enumerate(accuracy)),
        nodes=tuple(
            Node(name=f"n{n}", processors=tuple(_random_processor(rng, p, cost_s) for p in range(rng.integers(1, 3))))
            for n in range(nodes or int(rng.integers(2, 9)))
        ),
    )


def _random_processor(rng: np.random.Generator, number: int, cost_s: np.ndarray) -> Processor:
    speed = rng.lognormal(0, 0.7)
    seconds = cost_s / speed * rng.lognormal(0, 0.3, len(cost_s))
    has = rng.random(len(cost_s)) < 0.9
    has[0] = True
    return Processor(
        name=f"p{number}",
        profiles=tuple(Profile(variant=f"v{v}", latency_s={1: float(s)}) for v, s in enumerate(seconds) if has[v]),
    )


@st.composite
def clusters(draw: st.DrawFn, *, charges: bool = False) -> Cluster:
    """Small clusters with awkward figures, for property-based tests; with `charges` also loads, batches and links."""
    count = draw(st.integers(1, 4))
    seconds = st.floats(1e-3, 2.0)
    load_s = st.floats(0.0, 0.5) if charges else st.just(0.0)

    def latency_s() -> dict[int, float]:
        one_s = draw(seconds)
        if not charges or draw(st.booleans()):
            return {1: one_s}
        return {1: one_s, 4: one_s * draw(st.floats(1.0, 4.0))}

    def node(n: int) -> Node:
        profiles = tuple(
            Profile(variant=f"v{v}", latency_s=latency_s(), load_s=draw(load_s))
            for v in sorted(draw(st.sets(st.integers(0, count - 1), min_size=1)))
        )
        link = Link(latency_s=draw(st.floats(0.0, 0.2))) if charges else Link()
        return Node(name=f"n{n}", link=link, processors=(Processor(name="cpu", profiles=profiles),))

    return Cluster(
        family="drawn",
        variants=tuple(Variant(name=f"v{v}", accuracy=draw(st.floats(0.1, 1.0))) for v in range(count)),
        nodes=tuple(node(n) for n in range(draw(st.integers(1, 4)))),
    )
