"""Small clusters and scenarios for tests of the simulation."""

from __future__ import annotations

from equipoise.core.cluster import Cluster, Link, Node, Processor, Profile, Variant
from equipoise.core.request import Prefer, Requirement
from equipoise.simulation import BatchRequest, Scenario, Truth

ACCURACIES = {"small": 0.6, "medium": 0.7, "large": 0.8}
COSTS = {"small": 1.0, "medium": 3.0, "large": 6.0}  # relative to "small"


def boards(
    *,
    stddev: float = 0.0,
    load_s: float = 0.0,
    link: Link | None = None,
    input_bytes: int = 0,
    uplink: float | None = None,
    **small_item_s: float,
) -> Cluster:
    """One node per keyword with one processor, which needs so many seconds per item with the small variant."""
    variants = tuple(Variant(name=n, accuracy=a, input_bytes=input_bytes) for n, a in ACCURACIES.items())
    nodes = tuple(
        Node(
            name=name,
            link=link or Link(),
            processors=(
                Processor(
                    name="cpu",
                    profiles=tuple(
                        Profile(
                            variant=variant,
                            latency_s={1: cost * item_s},
                            latency_stddev_s={1: stddev * cost * item_s} if stddev else {},
                            load_s=load_s,
                        )
                        for variant, cost in COSTS.items()
                    ),
                ),
            ),
        )
        for name, item_s in small_item_s.items()
    )
    cluster = Cluster(family="test", variants=variants, nodes=nodes)
    if uplink is None:
        return cluster
    return Cluster(family="test", variants=variants, nodes=nodes, uplink_bytes_per_s=uplink)


THREE = boards(a=0.002, b=0.004, c=0.008)


def asking(items: int = 1000, at_s: float = 0.0, **requirement: object) -> BatchRequest:
    defaults: dict[str, object] = {"min_accuracy": 0.65, "prefer": Prefer.LATENCY}
    return BatchRequest(items=items, at_s=at_s, requirement=Requirement(**(defaults | requirement)))  # type: ignore[arg-type]


def scenario(*events: object, requests: tuple[BatchRequest, ...] | None = None, **truth: object) -> Scenario:
    return Scenario(requests=requests or (asking(),), events=events, truth=Truth(**truth))  # type: ignore[arg-type]
