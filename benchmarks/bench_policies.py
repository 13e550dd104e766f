"""How often both promises are kept under every strategy and policy, with and without events.

    python benchmarks/bench_policies.py [CLUSTER.json]

On the cluster (by default the paper's three boards, as published), requests of 512 items are simulated in virtual time:
three floors, each within 1.6 times the shortest time that the planner finds for it, so that there is slack to react
with. `calm`: nothing happens. `drift`: profiles are up to 20 % wrong, and the first board is half as fast from a third
of the deadline on. `loss`: one board leaves at a third of the deadline, each in turn. Policies that decide online
decline nothing, and those that plan run their closest plan. The table says of how many requests both promises were
kept, and medians; out/bench_policies.json has the rest. Its last line is no run but the limit: of how many requests
somebody who knows all that will happen could keep both promises, the best accuracy within the deadline, and the least
time at the floor.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.table import Table

from equipoise.cli.clusters import load_cluster
from equipoise.core.cluster import Cluster
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.lab.paper import paper_boards
from equipoise.planning.planner import plan
from equipoise.planning.strategies import ONLINE, STRATEGIES
from equipoise.simulation import BatchRequest, Scenario, Truth, simulate
from equipoise.simulation.attainment import attainment
from equipoise.simulation.clairvoyant import Limit, limits
from equipoise.simulation.events import Leaves, Load

ITEMS = 512
SLACK = 1.6  # deadlines are this times the shortest that the planner finds at the floor
FLOORS = (0.2, 0.5, 0.8)  # of the way from the least to the most accurate variant
KINDS = ("calm", "drift", "loss")
SEEDS = range(3)  # and as many boards, each of which is lost in turn


def requirements(cluster: Cluster) -> Iterator[Requirement]:
    accuracies = [variant.accuracy for variant in cluster.variants]
    low, high = min(accuracies), max(accuracies)
    for part in FLOORS:
        floor = low + part * (high - low)
        fastest = plan(
            Request(items=ITEMS, requirement=Requirement(min_accuracy=floor, prefer=Prefer.LATENCY)), cluster
        )
        yield Requirement(deadline_s=SLACK * fastest.latency_s, min_accuracy=floor)


def scenario(kind: str, requirement: Requirement, cluster: Cluster, seed: int) -> Scenario:
    asked = BatchRequest(items=ITEMS, requirement=requirement, best_effort=True)
    at_s = requirement.deadline_s / 3
    first, struck = cluster.nodes[0].name, cluster.nodes[seed % len(cluster.nodes)].name
    events = {"calm": (), "drift": (Load(at_s=at_s, node=first, speed=0.5),), "loss": (Leaves(at_s=at_s, node=struck),)}
    truth = Truth(speed_error=0.2) if kind == "drift" else Truth()
    return Scenario(requests=(asked,), events=events[kind], truth=truth)


def measure(cluster: Cluster, strategy: str, kind: str) -> dict[str, object]:
    outcomes = [
        simulate(cluster, scenario(kind, requirement, cluster, seed), strategy, seed)
        for requirement in requirements(cluster)
        for seed in SEEDS
    ]
    return msgspec.to_builtins(attainment(outcomes))


def foresee(cluster: Cluster, kind: str) -> list[Limit]:
    return [
        limit
        for requirement in requirements(cluster)
        for seed in SEEDS
        for limit in limits(cluster, scenario(kind, requirement, cluster, seed), seed).requests
    ]


def limit_row(known: dict[str, list[Limit]]) -> list[str]:
    calm = known["calm"]
    accuracy = median(limit.accuracy for limit in calm if limit.accuracy is not None)
    share = median(limit.of_deadline for limit in calm if limit.of_deadline is not None)
    keepable = [f"{sum(limit.keepable for limit in of_kind)} of {len(of_kind)}" for of_kind in known.values()]
    return ["clairvoyant (limit)", *keepable, f"{100 * accuracy:.1f} %", f"{100 * share:.0f} %"]


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    cluster, called = (load_cluster(path), path.name) if path else (paper_boards(), "the paper's boards")
    names = [*(name for name, known in STRATEGIES.items() if not known.solver), *ONLINE]
    found = {name: {kind: measure(cluster, name, kind) for kind in KINDS} for name in names}
    known = {kind: foresee(cluster, kind) for kind in KINDS}
    table = Table(title=f"Both promises kept, of {len(FLOORS) * len(SEEDS)} requests on {called}", title_justify="left")
    for heading in ("strategy", "calm", "drift", "loss", "accuracy (calm)", "of the deadline (calm)"):
        table.add_column(heading, justify="left" if heading == "strategy" else "right")
    for name, by_kind in found.items():
        kept = [f"{by_kind[kind]['kept']} of {by_kind[kind]['requests']}" for kind in by_kind]
        calm = by_kind["calm"]
        table.add_row(name, *kept, f"{100 * calm['accuracy']:.1f} %", f"{100 * calm['of_deadline']:.0f} %")
    table.add_row(*limit_row(known))
    Console(width=120).print(table)
    Path("out").mkdir(exist_ok=True)
    every = {"cluster": called, "strategies": found, "limits": msgspec.to_builtins(known)}
    Path("out/bench_policies.json").write_text(json.dumps(every, indent=2))


if __name__ == "__main__":
    main()
