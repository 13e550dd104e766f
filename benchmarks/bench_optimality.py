"""How far plans are from the proven optimum with everything on: batch curves, loads, memory, links, an uplink.

    python benchmarks/bench_optimality.py [--instances 1000] [--limit-s 40] [--optima FILE]

Every instance is planned by the fast method alone, as in re-planning (`fast method`), and as `equipoise plan` does it,
which asks the exact solver where the fast method's gap is loose (`planned`). Every plan is checked by the independent
checker. Optima are proven by HiGHS, so many seconds at most each; they take long and do not change with the planner, so
they are kept in a file and used again. An instance that HiGHS proves neither optimal nor infeasible is counted as
unproven and left out of the shortfall.
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
from optima import Optima, Optimum, Status, value_of
from rich.console import Console
from rich.progress import track
from rich.table import Table

from equipoise.core.plan import Plan
from equipoise.core.request import Prefer
from equipoise.planning import joint
from equipoise.planning.fleet import Fleet
from equipoise.planning.planner import plan
from equipoise.planning.problem import Problem

WORST = 10  # instances that are listed by their seeds, for each preference and way to plan
WAYS = ("fast method", "planned")


def main() -> None:
    """Measure, print tables and write out/bench_optimality.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--instances", type=int, default=120, help="random instances (1000 take an hour)")
    options.add_argument("--limit-s", type=float, default=40.0, help="seconds for HiGHS, each")
    options.add_argument("--optima", type=Path, default=Path("out") / "optima.jsonl", help="proven optima to use again")
    asked = options.parse_args()
    optima = Optima.of(asked.optima)
    rows = []
    for seed in track(range(asked.instances)):
        instance = random_instance(seed)
        rows += measure(instance, seed, optima.find(instance, seed, asked.limit_s))
    report(Console(width=120), rows)
    out = Path("out") / "bench_optimality.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(rows, indent=2))
    print(f"figures in {out}")


def measure(instance: Instance, seed: int, optimum: Optimum) -> list[dict[str, Any]]:
    """A row per way to plan one instance."""
    fleet = Fleet.of(instance.cluster)
    problem = Problem(request=instance.request, fleet=fleet, conditions={})
    ours = dict(
        zip(WAYS, (timed(lambda: joint.solve(problem)), timed(lambda: plan(instance.request, fleet))), strict=True)
    )
    return [
        {
            "seed": seed,
            "prefer": optimum.prefer.value,
            "way": way,
            "status": optimum.status.value,
            "feasible": found is not None and found.feasible,
            "shortfall": shortfall(found, optimum),
            "own_gap": found.gap if found is not None and found.feasible else None,
            "took_s": took_s,
            "milp_s": optimum.took_s,
            "complaints": [
                *optimum.wrong,
                *([] if found is None else complaints(instance.request, instance.cluster, found)),
            ],
        }
        for way, (found, took_s) in ours.items()
    ]


def shortfall(found: Plan | None, optimum: Optimum) -> float | None:
    """Relative to the better of the two; negative where ours is better, within the solver's tolerance."""
    if found is None or not found.feasible or optimum.status is not Status.OPTIMAL or optimum.value is None:
        return None
    ours, best = value_of(found), optimum.value
    return (best - ours) / best if found.prefer is Prefer.ACCURACY else (ours - best) / ours


def timed(call: Any) -> tuple[Plan | None, float]:
    """What it returns, and the seconds it took."""
    began_s = time.perf_counter()
    found = call()
    return found, time.perf_counter() - began_s


def report(console: Console, rows: list[dict[str, Any]]) -> None:
    """A line per preference and way to plan; then the worst."""
    table = Table(title=f"{len(rows) // len(WAYS)} instances with everything on, beside the MILP", title_justify="left")
    for heading in ("prefer", "", "proven", "mean shortfall", "median", "worst", "ms", "MILP ms"):
        table.add_column(heading, justify="right")
    for heading in ("missed", "impossible", "unproven", "wrong"):
        table.add_column(heading, justify="right")
    for prefer in ("accuracy", "latency"):
        for way in WAYS:
            mine = [row for row in rows if row["prefer"] == prefer and row["way"] == way]
            if mine:
                table.add_row(prefer, way, *figures(mine))
    console.print(table)
    for prefer in ("accuracy", "latency"):
        for way in WAYS:
            mine = [row for row in rows if row["prefer"] == prefer and row["way"] == way and row["shortfall"]]
            worst = sorted(mine, key=lambda row: -row["shortfall"])[:WORST]
            told = ", ".join(f"{row['seed']} ({100 * row['shortfall']:.2f} %)" for row in worst)
            console.print(f"worst seeds, {prefer}, {way}: {told or 'none'}")


def figures(rows: list[dict[str, Any]]) -> list[str]:
    """The cells of one line. `impossible` counts plans where HiGHS has proven that there is none."""
    gaps = [row["shortfall"] for row in rows if row["shortfall"] is not None] or [0.0]
    shares = (statistics.fmean(gaps), statistics.median(gaps), max(gaps))
    times_ms = (1e3 * statistics.median(row[key] for row in rows) for key in ("took_s", "milp_s"))
    counts = (
        sum(row["status"] == "optimal" and not row["feasible"] for row in rows),
        sum(row["status"] == "infeasible" and row["feasible"] for row in rows),
        sum(row["status"] == "unproven" for row in rows),
        sum(bool(row["complaints"]) for row in rows),
    )
    return [
        str(len(gaps)),
        *(f"{100 * share:.3f} %" for share in shares),
        *(f"{ms:.1f}" for ms in times_ms),
        *map(str, counts),
    ]


if __name__ == "__main__":
    main()
