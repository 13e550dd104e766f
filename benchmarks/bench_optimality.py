"""How far plans are from the proven optimum with everything on: batch curves, loads, memory, links, an uplink.

    python benchmarks/bench_optimality.py [--instances 1000] [--limit-s 2]

Every instance is planned by the fast method alone and by the MILP (HiGHS, so many seconds at most), both are checked by
the independent checker, and the shortfall is measured against the better of the MILP's plan and its proof: where HiGHS
has not proven its plan optimal, the instance counts as unproven and is left out of the shortfall. `equipoise plan` asks
the exact solver itself where the fast method's gap is loose: its answers are the rows `planned`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from checker import complaints
from instances import Instance, random_instance
from rich.console import Console
from rich.progress import track
from rich.table import Table

from equipoise.core.plan import Plan
from equipoise.core.request import Prefer
from equipoise.errors import PlanningError
from equipoise.planning import exact, joint
from equipoise.planning.fleet import Fleet
from equipoise.planning.planner import plan
from equipoise.planning.problem import Problem

PROVEN = 1e-5  # relative gap up to which the MILP's plan counts as proven optimal


def main() -> None:
    """Measure, print a table and write out/bench_optimality.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--instances", type=int, default=120, help="random instances (1000 take an hour)")
    options.add_argument("--limit-s", type=float, default=2.0, help="seconds for HiGHS, each")
    asked = options.parse_args()
    rows = [measure(random_instance(seed), seed, asked.limit_s) for seed in track(range(asked.instances))]
    report(Console(width=120), rows)
    out = Path("out") / "bench_optimality.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(rows, indent=2))
    print(f"figures in {out}")


def measure(instance: Instance, seed: int, limit_s: float) -> dict[str, Any]:
    """Both plans of one instance."""
    fleet = Fleet.of(instance.cluster)
    problem = Problem(request=instance.request, fleet=fleet, conditions={})
    ours, ours_s = timed(lambda: joint.solve(problem))
    planned, planned_s = timed(lambda: plan(instance.request, fleet))
    planned = planned if planned is not None and planned.feasible else None
    try:
        best, best_s = timed(lambda: exact.solve(problem, time_limit_s=limit_s))
    except PlanningError:
        best, best_s = None, limit_s
    best = best if best is not None and best.feasible else None
    wrong = [
        c for plan in (ours, best) if plan is not None for c in complaints(instance.request, instance.cluster, plan)
    ]
    return {
        "seed": seed,
        "prefer": instance.request.requirement.prefer.value,
        "processors": len(fleet.pids),
        "variants": len(fleet.names),
        "items": instance.request.items,
        "ours_feasible": ours is not None,
        "milp_feasible": best is not None,
        "proven": best is not None and best.gap is not None and best.gap <= PROVEN,
        "shortfall": None if ours is None or best is None else shortfall(ours, best),
        "planned_feasible": planned is not None,
        "planned_shortfall": None if planned is None or best is None else shortfall(planned, best),
        "planned_ms": 1e3 * planned_s,
        "own_gap": None if ours is None else ours.gap,
        "ours_ms": 1e3 * ours_s,
        "milp_ms": 1e3 * best_s,
        "complaints": wrong,
    }


def shortfall(ours: Plan, best: Plan) -> float:
    """Relative to the better plan; negative where ours is better."""
    if ours.prefer is Prefer.ACCURACY:
        return (best.accuracy - ours.accuracy) / best.accuracy
    return (ours.latency_s - best.latency_s) / ours.latency_s


def timed(call: Any) -> tuple[Plan | None, float]:
    """What it returns, and the seconds it took."""
    began_s = time.perf_counter()
    found = call()
    return found, time.perf_counter() - began_s


def report(console: Console, rows: list[dict[str, Any]]) -> None:
    """A line per preference and way to plan."""
    table = Table(title=f"{len(rows)} instances with everything on, beside the MILP", title_justify="left")
    for heading in ("prefer", "", "proven", "mean shortfall", "median", "worst", "missed", "ms", "MILP ms", "wrong"):
        table.add_column(heading, justify="right")
    for prefer in ("accuracy", "latency"):
        mine = [row for row in rows if row["prefer"] == prefer]
        table.add_row(prefer, "fast method", *figures(mine, "shortfall", "ours"))
        table.add_row("", "planned", *figures(mine, "planned_shortfall", "planned"))
    console.print(table)


def figures(rows: list[dict[str, Any]], shortfall_key: str, way: str) -> list[str]:
    """The cells of one line."""
    gaps = [row[shortfall_key] for row in rows if row["proven"] and row[shortfall_key] is not None] or [0.0]
    missed = sum(row["milp_feasible"] and not row[f"{way}_feasible"] for row in rows)
    times = (statistics.median(row[key] for row in rows) for key in (f"{way}_ms", "milp_ms"))
    shares = (statistics.fmean(gaps), statistics.median(gaps), max(gaps))
    wrong = sum(bool(row["complaints"]) for row in rows)
    return [
        str(len(gaps)),
        *(f"{100 * share:.3f} %" for share in shares),
        str(missed),
        *(f"{ms:.1f}" for ms in times),
        str(wrong),
    ]


if __name__ == "__main__":
    main()
