"""Streams: what the queueing model of `equipoise stream` promises beside what the simulation makes of it.

1. Demo and published boards, at parts of the largest rate: how busy the busiest processor is, and what 95 % of the
   items on the slowest route stay within; planned (M/G/1) and simulated (production's dispatcher, which deals evenly
   and sends elsewhere what would be late).
2. Every strategy at two rates, and with a board that slows down: which part of the items was in time, and how accurate.

    python benchmarks/bench_streams.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from equipoise.cli.clusters import load_cluster
from equipoise.core.cluster import Cluster
from equipoise.core.stream import StreamPlan, StreamRequest
from equipoise.lab.drift import uncertain_boards
from equipoise.planning.stream_baselines import STREAM_BASELINES
from equipoise.planning.streams import plan_stream
from equipoise.policies.registry import STREAM_MAKERS
from equipoise.simulation import Load, Scenario, Stream, StreamOutcome, simulate
from equipoise.simulation.clairvoyant import limits

DEMO = Path(__file__).parent.parent / "equipoise" / "families" / "demo" / "boards.json"
LOADS = (0.5, 0.8, 0.9, 1.0)  # of the largest rate
FOR_S = 120.0
SEEDS = (0, 1)
STRATEGIES = tuple(dict.fromkeys(("equipoise", *STREAM_BASELINES, *STREAM_MAKERS)))


def main() -> int:
    rows = [row for name, cluster, latency_s, floor in _clusters() for row in _model(name, cluster, latency_s, floor)]
    strategies = list(_strategies(load_cluster(DEMO)))
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "streams.json").write_text(json.dumps({"model": rows, "strategies": strategies}, indent=2) + "\n")
    return 0


def _clusters() -> Iterator[tuple[str, Cluster, float, float]]:
    """With the latency and the floor that are asked for."""
    yield "demo", load_cluster(DEMO), 0.2, 0.9
    yield "paper", uncertain_boards(), 1.0, 0.72


def _model(name: str, cluster: Cluster, latency_s: float, floor: float) -> Iterator[dict[str, object]]:
    asked = StreamRequest(arrivals_per_s=1e-3, item_latency_s=latency_s, min_accuracy=floor)
    most_per_s = plan_stream(asked, cluster).max_rate_per_s
    print(f"{name}: at most {most_per_s:.1f}/s with 95 % within {latency_s} s and {100 * floor:g} %")
    headings = ("rate", "busiest", "simulated", "95 % within", "simulated", "in time", "elsewhere")
    print("".join(f"{heading:>13}" for heading in headings), flush=True)
    for load in LOADS:
        stream = Stream(
            arrivals_per_s=load * most_per_s, item_latency_s=latency_s, min_accuracy=floor, for_s=FOR_S, name="stream"
        )
        runs = [simulate(cluster, Scenario(streams=(stream,)), seed=seed).streams[0] for seed in SEEDS]
        plan = runs[0].plan
        assert plan is not None
        row = {"cluster": name, "load": load, "rate_per_s": stream.arrivals_per_s} | _figures(plan, runs)
        parts = (row["planned_busy"], row["busy"], row["planned_s"], row["latency_s"], row["in_time"], row["diverted"])
        units = ("%", "%", "s", "s", "%", "%")
        told = (f"{100 * v:.2f} %" if unit == "%" else f"{v:.3f} s" for v, unit in zip(parts, units, strict=True))
        print("".join(f"{words:>13}" for words in (f"{stream.arrivals_per_s:.1f}/s", *told)), flush=True)
        yield row


def _figures(plan: StreamPlan, runs: list[StreamOutcome]) -> dict[str, float]:
    """Of the processor that is planned to be busiest, and the route that is planned to be slowest; means over runs."""
    busiest = max(plan.routes, key=lambda route: route.utilisation).pid
    slowest = max(plan.routes, key=lambda route: route.item_latency_s)
    where = (slowest.node, slowest.processor, slowest.variant)
    return {
        "planned_busy": plan.utilisation,
        "busy": _mean(sum(r.busy_s for r in one.routes if (r.node, r.processor) == busiest) / FOR_S for one in runs),
        "planned_s": plan.item_latency_s,
        "latency_s": _mean(
            r.latency_s or 0.0 for one in runs for r in one.routes if (r.node, r.processor, r.variant) == where
        ),
        "in_time": _mean(one.in_time / one.arrived for one in runs),
        "diverted": _mean(one.diverted / one.arrived for one in runs),
    }


def _mean(values: Iterator[float]) -> float:
    known = list(values)
    return sum(known) / len(known)


def _strategies(cluster: Cluster) -> Iterator[dict[str, object]]:
    calm = Scenario(streams=(Stream(arrivals_per_s=100, item_latency_s=0.2, min_accuracy=0.9, for_s=60),))
    more = Scenario(streams=(msgspec.structs.replace(calm.streams[0], arrivals_per_s=180.0),))
    slows = msgspec.structs.replace(calm, events=(Load(at_s=10, node="jetson-nano", speed=0.6),))
    cases = {"100/s": calm, "180/s": more, "100/s, the Nano at 60 %": slows}
    print(f"\n{'':22}" + "".join(f"{case:>26}" for case in cases))
    for strategy in STRATEGIES:
        found = {
            case: [simulate(cluster, asked, strategy, s).streams[0] for s in SEEDS] for case, asked in cases.items()
        }
        told = {case: _told(runs) for case, runs in found.items()}
        print(f"{strategy:22}" + "".join(f"{words:>26}" for words in told.values()), flush=True)
        yield {"strategy": strategy} | {case: msgspec.to_builtins(runs) for case, runs in found.items()}
    known = {case: [limits(cluster, asked, seed).streams[0] for seed in SEEDS] for case, asked in cases.items()}
    best = {case: _mean(one.accuracy or 0.0 for one in of_runs) for case, of_runs in known.items()}
    print(f"{'clairvoyant (limit)':22}" + "".join(f"{100 * accuracy:24.1f} %" for accuracy in best.values()))


def _told(runs: list[StreamOutcome]) -> str:
    admitted = [one for one in runs if one.admitted]
    if not admitted:
        return "declined"
    in_time = _mean(one.in_time / one.arrived for one in admitted)
    accuracy = _mean(one.accuracy or 0.0 for one in admitted)
    kept = sum(one.kept for one in admitted)
    return f"{100 * in_time:.1f} %, {100 * accuracy:.1f} %, {kept} of {len(runs)}"


if __name__ == "__main__":
    sys.exit(main())
