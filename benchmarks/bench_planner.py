"""How fast the planner is and how good, beside HiGHS on the same problems in the same run.

    python benchmarks/bench_planner.py [--clusters 200]

Times are medians over many calls; ratios are of medians in the same run. The linear program is the fluid optimum;
the whole plan adds whole items, the cost model and the proof. Cold includes compiling the description and its hulls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highspy
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from equipoise.core.cluster import Cluster, Node, Processor, Profile, Variant
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.planning.fleet import Fleet
from equipoise.planning.fluid import fill
from equipoise.planning.hulls import upper_hulls
from equipoise.planning.planner import plan
from equipoise.planning.strategies import STRATEGIES

PAPER = Path(__file__).resolve().parents[2] / "shared" / "data" / "clusters" / "paper-boards.json"


def main() -> None:
    """Run all three comparisons, print tables and write out/bench_planner.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clusters", type=int, default=200, help="random clusters to compare with the MILP")
    clusters = options.parse_args().clusters
    console = Console(width=120)
    boards = paper_boards()
    results = {
        "speed": speed(console, boards),
        "strategies": strategies(console, boards),
        "milp": milp(console, clusters),
    }
    out = Path("out") / "bench_planner.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=2))
    console.print(f"figures in {out}")


def paper_boards() -> Cluster:
    """The published boards of ../shared, or a random cluster of the same size where they are not there."""
    if PAPER.exists():
        return msgspec.json.decode(PAPER.read_bytes(), type=Cluster)
    print(
        f"no {PAPER}: a random cluster of 3 x 14 stands in, and strategies are not compared with the paper's figures\n"
    )
    return random_cluster(np.random.default_rng(0), nodes=3, variants=14)


def random_cluster(rng: np.random.Generator, *, nodes: int, variants: int) -> Cluster:
    """Unequal boards on which better variants mostly cost more."""
    accuracy = np.sort(rng.uniform(0.3, 0.9, variants))
    cost_s = 0.02 * np.sort(rng.lognormal(0, 1, variants))

    def processor() -> Processor:
        seconds = cost_s / rng.lognormal(0, 0.7) * rng.lognormal(0, 0.3, variants)
        profiles = (Profile(variant=f"v{v}", latency_s={1: float(s)}) for v, s in enumerate(seconds))
        return Processor(name="cpu", profiles=tuple(profiles))

    return Cluster(
        family="random",
        variants=tuple(Variant(name=f"v{v}", accuracy=float(a)) for v, a in enumerate(accuracy)),
        nodes=tuple(Node(name=f"n{n}", processors=(processor(),)) for n in range(nodes)),
    )


def speed(console: Console, boards: Cluster) -> list[dict[str, Any]]:
    """Times of the linear program, ours and HiGHS's, and of whole plans."""
    many = random_cluster(np.random.default_rng(1), nodes=1000, variants=10)
    rows = [times("3 x 14", boards, calls=500), times("1000 x 10", many, calls=20)]
    table = Table(title="Planning time, milliseconds (median)", title_justify="left")
    for heading in (
        "nodes x variants",
        "hulls",
        "fluid optimum",
        "HiGHS, same LP",
        "ratio",
        "difference",
        "whole plan",
        "whole, cold",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        ratio = row["highs_lp_ms"] / row["fluid_ms"]
        figures = (f"{row[key]:.3f}" for key in ("hulls_ms", "fluid_ms", "highs_lp_ms"))
        proof = f"{row['difference']:.1e}"
        table.add_row(
            row["instance"], *figures, f"{ratio:.0f}", proof, f"{row['plan_ms']:.3f}", f"{row['plan_cold_ms']:.3f}"
        )
    console.print(table)
    return rows


def times(instance: str, cluster: Cluster, *, calls: int) -> dict[str, Any]:
    """Medians of one instance, and how far our optimum is from HiGHS's, relatively."""
    fleet = Fleet.of(cluster)
    time_s = np.ones(len(fleet.pids))
    items = 0.6 * float((time_s / fleet.item_s.min(axis=1)).sum())
    whole = Request(items=int(items), requirement=Requirement(deadline_s=1.0))
    ours, theirs = fill(fleet.hulls, time_s, items), linear_program(fleet, time_s, items)
    if ours is None:
        raise SystemExit(f"{instance}: the fleet cannot hold the items that it was given")
    return {
        "instance": instance,
        "hulls_ms": median_ms(lambda: upper_hulls(fleet.ladder.item_s, fleet.ladder.gain), calls),
        "fluid_ms": median_ms(lambda: fill(fleet.hulls, time_s, items), calls),
        "plan_ms": median_ms(lambda: plan(whole, fleet), calls),
        "plan_cold_ms": median_ms(lambda: plan(whole, Fleet.of(cluster)), max(5, calls // 10)),
        "highs_lp_ms": median_ms(lambda: linear_program(fleet, time_s, items), 5),
        "difference": abs(ours.gain - theirs) / theirs,
    }


def median_ms(call: Callable[[], object], calls: int) -> float:
    """Median milliseconds of one call."""
    call()
    times = []
    for _ in range(calls):
        started_s = time.perf_counter()
        call()
        times.append(time.perf_counter() - started_s)
    return 1e3 * statistics.median(times)


def linear_program(fleet: Fleet, time_s: np.ndarray, items: float) -> float:
    """The same optimum by HiGHS: most accuracy in total from divisible items."""
    rows, columns = np.nonzero(np.isfinite(fleet.item_s))
    count, processors = len(rows), len(fleet.pids)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = count, processors + 1
    lp.col_cost_ = fleet.accuracy[columns]
    lp.col_lower_, lp.col_upper_ = np.zeros(count), np.full(count, np.inf)
    lp.row_lower_ = np.append(np.full(processors, -np.inf), items)
    lp.row_upper_ = np.append(time_s, items)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.arange(0, 2 * count + 1, 2)
    lp.a_matrix_.index_ = np.column_stack([rows, np.full(count, processors)]).ravel()
    lp.a_matrix_.value_ = np.column_stack([fleet.item_s[rows, columns], np.ones(count)]).ravel()
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.passModel(lp)
    solver.run()
    return float(solver.getObjectiveValue())


def strategies(console: Console, boards: Cluster) -> list[dict[str, Any]]:
    """What each strategy promises on the paper's boards."""
    fast = Request(items=12_000, requirement=Requirement(min_accuracy=0.76, prefer=Prefer.LATENCY))
    accurate = Request(items=12_000, requirement=Requirement(throughput_per_s=120.0))
    table = Table(title="Odroid XU4, Raspberry Pi 4, Jetson Nano (published figures)", title_justify="left")
    for heading in ("strategy", "items/s at a floor of 76 %", "accuracy at 120 items/s"):
        table.add_column(heading, justify="right")
    rows = []
    for name in STRATEGIES:
        first, second = plan(fast, boards, strategy=name), plan(accurate, boards, strategy=name)
        row = {
            "strategy": name,
            "items_per_s": first.throughput_per_s if first.feasible else None,
            "accuracy": second.accuracy if second.feasible else None,
        }
        rows.append(row)
        rate = f"{row['items_per_s']:.1f}" if row["items_per_s"] else "cannot"
        table.add_row(name, rate, f"{row['accuracy']:.4f}" if row["accuracy"] else "cannot")
    console.print(table)
    return rows


def milp(console: Console, clusters: int) -> dict[str, Any]:
    """Shortfall of whole-item plans against the exact solver, on random clusters of 2 to 8 nodes."""
    rng = np.random.default_rng(2)
    shortfalls: dict[str, list[float]] = {"accuracy": [], "latency": []}
    times_ms: dict[str, list[float]] = {"equipoise": [], "milp": []}
    disagreements = 0
    for k in range(clusters):
        cluster = random_cluster(rng, nodes=int(rng.integers(2, 9)), variants=int(rng.integers(3, 11)))
        fleet = Fleet.of(cluster)
        items = int(rng.choice([20, 50, 200, 1000]))
        deadline_s = float(items / (1 / fleet.item_s.min(axis=1)).sum() * rng.uniform(0.9, 6))
        requirement = Requirement(
            deadline_s=deadline_s,
            min_accuracy=float(rng.uniform(fleet.accuracy.min(), fleet.accuracy.max())),
            prefer=Prefer.LATENCY if k % 2 else Prefer.ACCURACY,
        )
        request = Request(items=items, requirement=requirement)
        ours = plan(request, fleet, clock=time.perf_counter)
        exact = plan(request, fleet, strategy="milp", clock=time.perf_counter)
        disagreements += ours.feasible != exact.feasible
        if ours.feasible and exact.feasible:
            times_ms["equipoise"].append(1e3 * ours.solve_s)
            times_ms["milp"].append(1e3 * exact.solve_s)
            better, worse = (exact.accuracy, ours.accuracy) if k % 2 == 0 else (ours.latency_s, exact.latency_s)
            shortfalls[requirement.prefer.value].append((better - worse) / better)
    result: dict[str, Any] = {"clusters": clusters, "disagreements_on_feasibility": disagreements}
    table = Table(title=f"Whole-item plans against the MILP, {clusters} random clusters", title_justify="left")
    for heading in ("preference", "both feasible", "mean shortfall", "worst"):
        table.add_column(heading, justify="right")
    for prefer, gaps in shortfalls.items():
        mean, worst = statistics.fmean(gaps), max(gaps)
        result[prefer] = {"instances": len(gaps), "mean": mean, "worst": worst}
        table.add_row(prefer, str(len(gaps)), f"{100 * mean:.4f} %", f"{100 * worst:.3f} %")
    console.print(table)
    medians = {name: statistics.median(values) for name, values in times_ms.items()}
    result["median_ms"] = medians
    ratio = medians["milp"] / medians["equipoise"]
    console.print(
        f"feasible or not: {disagreements} disagreements; "
        f"median {medians['equipoise']:.2f} ms against {medians['milp']:.1f} ms of the MILP ({ratio:.0f} times)\n"
    )
    return result


if __name__ == "__main__":
    main()
