"""How long planning takes by size of the cluster, beside HiGHS and a formulation in the manner of Proteus.

    python benchmarks/bench_speed.py [--limit-s 10]

Everything is measured in one run, warm: the description is compiled once, as a coordinator does. `equipoise` is asked
as in re-planning (`settle_s=0`: its own method, no solver). The two solvers get `--limit-s` seconds each and are asked
up to 1000 processors; beyond that their programs are too large for that time. Then requests that cannot be kept: how
long saying no takes, with what would do instead, by the fast method alone and with two seconds of the exact solver.
Writes out/bench_speed.json and out/bench_speed.svg (growth beside n log n).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from bench_planner import paper_boards, random_cluster
from instances import random_instance
from rich.console import Console
from rich.table import Table

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Condition, Plan
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.planning import exact, proteus
from equipoise.planning.fleet import Fleet
from equipoise.planning.planner import plan
from equipoise.planning.problem import Problem

MOST_FOR_SOLVERS = 1000  # processors
INSTANCES = 8  # with everything on
SIZES = (100, 1000, 10_000, 100_000)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request on one cluster, how long planning it may take, and how often it is measured."""

    name: str
    fleet: Fleet
    request: Request
    goal_ms: float | None
    calls: int


def main() -> None:
    """Measure, print tables, write the figures and the plot."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--limit-s", type=float, default=10.0, help="seconds for each solver on each instance")
    limit_s = options.parse_args().limit_s
    console = Console(width=130)
    rows = [beside(case, limit_s) for case in cases()]
    report(console, rows, limit_s)
    again = replanning()
    console.print(f"re-plan with one changed speed, 8 nodes x 10 variants: {again['ms']:.3f} ms (goal: 0.1)")
    refused = [declined(name, request, cluster) for name, request, cluster in impossible()]
    report_declined(console, refused)
    out = Path("out")
    out.mkdir(exist_ok=True)
    figures = {"sizes": rows, "replanning": again, "declined": refused}
    (out / "bench_speed.json").write_text(json.dumps(figures, indent=2))
    draw([row for row in rows if row["processors"] in SIZES], out / "bench_speed.svg")
    console.print(f"figures in {out / 'bench_speed.json'} and {out / 'bench_speed.svg'}")


def cases() -> list[Case]:
    """The sizes that are compared."""
    some = [simple("3 x 14", paper_boards(), 0.2, 300)]
    some += [everything_on(seed) for seed in range(INSTANCES)]
    goals = {1000: 10.0, 100_000: 1000.0}
    for nodes in SIZES:
        cluster = random_cluster(np.random.default_rng(1), nodes=nodes, variants=10)
        some.append(simple(f"{nodes:,} x 10", cluster, goals.get(nodes), 20 if nodes < 10_000 else 3))
    return some


def simple(name: str, cluster: Cluster, goal_ms: float | None, calls: int) -> Case:
    """The most accuracy in a second, for three fifths of the items that the cluster could do at most."""
    fleet = Fleet.of(cluster)
    items = int(0.6 * float((1 / fleet.item_s.min(axis=1)).sum()))
    return Case(
        name=name,
        fleet=fleet,
        request=Request(items=items, requirement=Requirement(deadline_s=1.0)),
        goal_ms=goal_ms,
        calls=calls,
    )


def everything_on(seed: int) -> Case:
    """8 nodes of 1 to 3 processors with batch curves, loads, memory, links and an uplink; no floor, so that some
    plan is there to be found wherever there is time.
    """
    instance = random_instance(2 * seed, nodes=8, variants=10)
    requirement = msgspec.structs.replace(instance.request.requirement, min_accuracy=0.0, prefer=Prefer.ACCURACY)
    request = msgspec.structs.replace(instance.request, requirement=requirement)
    return Case(
        name=f"8 x 10, everything on, {seed}", fleet=Fleet.of(instance.cluster), request=request, goal_ms=2.0, calls=15
    )


def beside(case: Case, limit_s: float) -> dict[str, Any]:
    """Time, accuracy and throughput of the planner and of both solvers."""
    problem = Problem(request=case.request, fleet=case.fleet, conditions={})
    processors = len(case.fleet.pids)
    ways: dict[str, Callable[[], Plan | None]] = {"equipoise": lambda: plan(case.request, case.fleet, settle_s=0.0)}
    if processors <= MOST_FOR_SOLVERS:
        ways["milp"] = lambda: exact.solve(problem, time_limit_s=limit_s)
        ways["proteus"] = lambda: proteus.solve(problem, time_limit_s=limit_s)
    row: dict[str, Any] = {"instance": case.name, "processors": processors, "goal_ms": case.goal_ms}
    for name, way in ways.items():
        row[name] = outcome(way, case.calls if name == "equipoise" else 1)
    return row


def outcome(way: Callable[[], Plan | None], calls: int) -> dict[str, Any]:
    """Median milliseconds, and what the plan promises; nothing promised where there is none."""
    found = way() if calls > 1 else None  # the first call fills caches
    times_s = []
    for _ in range(calls):
        began_s = time.perf_counter()
        found = way()
        times_s.append(time.perf_counter() - began_s)
    figures: dict[str, Any] = {
        "ms": 1e3 * statistics.median(times_s),
        "accuracy": None,
        "items_per_s": None,
        "gap": None,
    }
    if found is not None and found.feasible:
        figures |= {"accuracy": found.accuracy, "items_per_s": found.throughput_per_s, "gap": found.gap}
    return figures


def replanning() -> dict[str, Any]:
    """Milliseconds of a whole plan when one of eight processors has another speed each time, none of them twice."""
    case = simple("8 x 10", random_cluster(np.random.default_rng(1), nodes=8, variants=10), 0.1, 200)
    speeds = iter(np.random.default_rng(3).uniform(0.5, 1.1, 2 * case.calls).tolist())
    changed = case.fleet.pids[3]

    def again() -> Plan:
        return plan(case.request, case.fleet, {changed: Condition(speed=next(speeds))}, settle_s=0.0)

    return {"instance": case.name, "goal_ms": case.goal_ms, **outcome(again, case.calls)}


def impossible() -> Iterator[tuple[str, Request, Cluster]]:
    """Requests that are declined: by limits, by whole items, by time, by far, and among thousands of variants."""
    limits = Requirement(deadline_s=10.0, min_accuracy=0.5, confidence=0.95, max_energy_j=20.0, max_power_w=30.0)
    boards = random_instance(3, nodes=2, variants=3, processors=1).cluster
    yield "2 x 3, energy and power", Request(items=100, requirement=limits), boards
    for seed in (0, 6, 8, 16):
        instance = random_instance(seed)
        yield f"everything on, {seed}", instance.request, instance.cluster
    for seed in (1, 3, 5):
        instance = random_instance(seed)
        deadline_s = 0.1 * instance.request.requirement.deadline_s
        tight = msgspec.structs.replace(instance.request.requirement, deadline_s=deadline_s)
        yield (
            f"everything on, {seed}, a tenth of the time",
            Request(items=instance.request.items, requirement=tight),
            instance.cluster,
        )
    beyond = Request(items=100, requirement=Requirement(deadline_s=0.5, min_accuracy=0.99))
    for variants in (1000, 10_000):
        yield f"1 x {variants:,}, everything on", beyond, random_instance(1, nodes=1, variants=variants).cluster


def declined(name: str, request: Request, cluster: Cluster) -> dict[str, Any]:
    """Seconds of CPU until a request is declined."""
    fleet, row = Fleet.of(cluster), {"instance": name}
    for way, settle_s in (("alone_s", 0.0), ("with_solver_s", 2.0)):
        began_s = time.process_time()
        found = plan(request, fleet, settle_s=settle_s)
        row[way] = time.process_time() - began_s
        assert not found.feasible, "these are requests that cannot be kept"
    return row


def report_declined(console: Console, rows: list[dict[str, Any]]) -> None:
    """One line per request."""
    table = Table(title="seconds of CPU until a request is declined, with what would do", title_justify="left")
    for heading in ("request", "fast method alone", "with the exact solver"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row["instance"], f"{row['alone_s']:.2f}", f"{row['with_solver_s']:.2f}")
    console.print(table)


def report(console: Console, rows: list[dict[str, Any]], limit_s: float) -> None:
    """One line per instance: milliseconds / accuracy / items per second of each way."""
    table = Table(title=f"ms / accuracy / items per s; solvers have {limit_s:g} s each", title_justify="left")
    for heading in ("nodes x variants", "processors", "goal ms", "equipoise", "gap", "milp", "proteus"):
        table.add_column(heading, justify="right")
    for row in rows:
        gap = row["equipoise"]["gap"]
        table.add_row(
            row["instance"],
            f"{row['processors']:,}",
            f"{row['goal_ms']:g}" if row["goal_ms"] else "-",
            cell(row["equipoise"]),
            "-" if gap is None else f"{100 * gap:.2f} %",
            *(cell(row[name]) if name in row else "not asked" for name in ("milp", "proteus")),
        )
    console.print(table)


def cell(figures: dict[str, Any]) -> str:
    """Milliseconds, and what was promised."""
    if figures["accuracy"] is None:
        return f"{figures['ms']:.2f} / no plan"
    return f"{figures['ms']:.2f} / {figures['accuracy']:.4f} / {figures['items_per_s']:.0f}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Planning time by processors on logarithmic axes, beside n log n through the first point."""
    import matplotlib  # noqa: PLC0415 - only for the plot

    matplotlib.use("svg")
    from matplotlib import pyplot  # noqa: PLC0415

    sizes = np.array([row["processors"] for row in rows])
    ms = np.array([row["equipoise"]["ms"] for row in rows])
    curve = sizes * np.log(sizes)
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.loglog(sizes, ms, "o-", label="equipoise, whole plan")
    axes.loglog(sizes, curve * ms[0] / curve[0], "--", label="n log n")
    axes.set_xlabel("processors (10 variants each)")
    axes.set_ylabel("milliseconds")
    axes.legend()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
