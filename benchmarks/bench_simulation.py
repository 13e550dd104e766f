"""How fast the simulation is, and what memory it needs.

One request of more and more items over 100 and 10,000 nodes that scatter: seconds on the wall and of one core, tasks,
and the peak of what Python holds beyond the cluster (tracemalloc, in a run of its own, as tracing slows it down).

    python benchmarks/bench_simulation.py
"""

from __future__ import annotations

import gc
import json
import sys
import time
import tracemalloc
from pathlib import Path
from random import Random

from equipoise.core.cluster import Cluster, Node, Processor, Profile, Variant
from equipoise.core.request import Requirement
from equipoise.simulation import BatchRequest, Scenario, simulate

SIZES = ((100, 10_000), (100, 100_000), (100, 1_000_000), (10_000, 100_000), (10_000, 1_000_000))  # nodes, items
TRACED = ((100, 10_000), (100, 100_000), (10_000, 100_000))
_COSTS = {"small": 1.0, "medium": 3.0, "large": 6.0}
_ACCURACIES = {"small": 0.6, "medium": 0.7, "large": 0.8}


def cluster_of(nodes: int) -> Cluster:
    """Boards that need 2 to 20 ms per item with the small variant, and scatter by 5 % of it."""
    chance = Random(1)
    item_s = [chance.uniform(0.002, 0.02) for _ in range(nodes)]
    return Cluster(
        family="made-up",
        variants=tuple(Variant(name=name, accuracy=accuracy) for name, accuracy in _ACCURACIES.items()),
        nodes=tuple(
            Node(name=f"n{n}", processors=(Processor(name="cpu", profiles=tuple(_profiles(s))),))
            for n, s in enumerate(item_s)
        ),
    )


def _profiles(item_s: float) -> list[Profile]:
    return [
        Profile(variant=name, latency_s={1: cost * item_s}, latency_stddev_s={1: 0.05 * cost * item_s})
        for name, cost in _COSTS.items()
    ]


def scenario_of(cluster: Cluster, items: int) -> Scenario:
    """A request that needs a mix of variants: the deadline is 2.5 times what the small one would take."""
    per_s = sum(1 / node.processors[0].profiles[0].item_s for node in cluster.nodes)
    return Scenario(
        requests=(BatchRequest(items=items, requirement=Requirement(deadline_s=2.5 * items / per_s, min_accuracy=0.6)),)
    )


def main() -> int:
    rows = []
    print(f"{'nodes':>7} {'items':>9} {'wall':>9} {'core':>9} {'tasks':>8} {'re-plans':>9} {'kept':>5} {'peak':>9}")
    for nodes, items in SIZES:
        cluster = cluster_of(nodes)
        scenario = scenario_of(cluster, items)
        started_s, core_started_s = time.perf_counter(), time.process_time()
        outcome = simulate(cluster, scenario)
        wall_s, core_s = time.perf_counter() - started_s, time.process_time() - core_started_s
        receipt = outcome.requests[0].receipt
        assert receipt is not None
        peak_mb = _peak_mb(cluster, scenario) if (nodes, items) in TRACED else None
        figures = {"wall_s": wall_s, "core_s": core_s, "tasks": outcome.tasks, "replanned": receipt.replanned}
        rows.append({"nodes": nodes, "items": items, **figures, "peak_mb": peak_mb})
        told = f"{peak_mb:7.1f} MB" if peak_mb is not None else ""
        kept = "yes" if receipt.met.both else "no"
        seconds = f"{wall_s:7.2f} s {core_s:7.2f} s"
        print(
            f"{nodes:7} {items:9} {seconds} {outcome.tasks:8} {receipt.replanned:9} {kept:>5} {told}",
            flush=True,
        )
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "simulation.json").write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def _peak_mb(cluster: Cluster, scenario: Scenario) -> float:
    gc.collect()
    tracemalloc.start()
    simulate(cluster, scenario)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak_bytes / 1e6


if __name__ == "__main__":
    sys.exit(main())
