"""Several requests on shared processors: how many are admitted and how accurately they are answered, beside EDF.

    python benchmarks/bench_queue.py [--queues 60] [--exact 12]

Random queues: 2 to 8 nodes of 1 or 2 processors, 2 or 3 families of 3 to 8 variants, 2 to 8 requests that are asked for
one after the other; half of the queues with load times and links. Every method admits a request if it finds a schedule
that keeps all promises so far. EDF is earliest deadline first, each request taking all it likes: for accuracy, or just
its floor as fast as possible. Bounds are the linear program of divisible items and, for some queues, the exact solver.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from equipoise.core.cluster import Cluster, Link, Node, Processor, Profile, Variant
from equipoise.core.queue import QueuedRequest, Schedule
from equipoise.core.request import Prefer, Requirement
from equipoise.planning.admission import admit
from equipoise.planning.allotment import allot
from equipoise.planning.queue import earliest_deadline_first, in_order
from equipoise.planning.queue_exact import exact
from equipoise.planning.sharing import SharedFleet

Method = Callable[[Schedule, QueuedRequest, SharedFleet], Schedule | None]
Drawn = tuple[SharedFleet, list[QueuedRequest], bool]

EXACT_TIME_LIMIT_S = 2.0
LABELS = {False: "no fixed costs", True: "loads and links"}
EDF = {"EDF, for accuracy": Prefer.ACCURACY, "EDF, as fast as possible": Prefer.LATENCY}


def main() -> None:
    """Run all three comparisons, print tables and write out/bench_queue.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--queues", type=int, default=60, help="random queues")
    options.add_argument("--exact", type=int, default=12, help="queues that the exact solver looks at too")
    chosen = options.parse_args()
    console = Console(width=120)
    drawn = draws(chosen.queues)
    results = {
        "admission": admission(console, drawn),
        "same_requests": same_requests(console, drawn),
        "exact": against_exact(console, drawn[: chosen.exact]),
    }
    out = Path("out") / "bench_queue.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=2))
    console.print(f"figures in {out}")


def draws(queues: int) -> list[Drawn]:
    """Every second one with loads and links."""
    rng = np.random.default_rng(7)
    found = []
    for k in range(queues):
        clusters, requests = random_queue(rng, load=float(rng.uniform(0.1, 1.2)), charges=k % 2 == 1)
        found.append((SharedFleet.of(clusters), requests, k % 2 == 1))
    return found


def random_queue(rng: np.random.Generator, *, load: float, charges: bool) -> tuple[list[Cluster], list[QueuedRequest]]:
    """Clusters and requests; `load` is the least work as a part of the time until the last deadline."""
    families, requests = int(rng.integers(2, 4)), int(rng.integers(2, 9))
    nodes = [int(rng.integers(1, 3)) for _ in range(rng.integers(2, 9))]
    speeds = [rng.lognormal(0, 0.7, processors) for processors in nodes]
    links = [Link(latency_s=float(rng.uniform(0, 0.005))) if charges else Link() for _ in nodes]
    clusters = [random_family(rng, f"f{f}", speeds, links, charges=charges) for f in range(families)]
    shared = SharedFleet.of(clusters)
    drawn = [(f"f{rng.integers(families)}", int(rng.choice([20, 50, 200, 500]))) for _ in range(requests)]
    alone_s = [items / (1 / shared.fleets[family].item_s.min(axis=1)).sum() for family, items in drawn]
    horizon_s = sum(alone_s) / load
    queue = []
    for k, ((family, items), least_s) in enumerate(zip(drawn, alone_s, strict=True)):
        reach = shared.fleets[family].accuracy
        requirement = Requirement(
            deadline_s=float(max(1.3 * least_s, horizon_s * rng.uniform(0.1, 1.0))),
            min_accuracy=float(reach.min() + (reach.max() - reach.min()) * rng.uniform(0.0, 0.8)),
        )
        queue.append(QueuedRequest(name=f"r{k}", family=family, items=items, requirement=requirement))
    return clusters, queue


def random_family(
    rng: np.random.Generator, name: str, speeds: Sequence[np.ndarray], links: Sequence[Link], *, charges: bool
) -> Cluster:
    """Unequal processors, the same ones for every family; one in ten cannot run a variant."""
    variants = int(rng.integers(3, 9))
    accuracy = np.sort(rng.uniform(0.3, 0.95, variants))
    cost_s = 0.02 * np.sort(rng.lognormal(0, 1, variants))

    def processor(number: int, speed: float) -> Processor:
        seconds = cost_s / speed * rng.lognormal(0, 0.3, variants)
        kept = [v for v in range(variants) if v == 0 or rng.random() < 0.9]
        load_s = seconds * rng.uniform(0, 5, variants) if charges else np.zeros(variants)
        profiles = (Profile(variant=f"v{v}", latency_s={1: float(seconds[v])}, load_s=float(load_s[v])) for v in kept)
        return Processor(name=f"p{number}", profiles=tuple(profiles))

    return Cluster(
        family=name,
        variants=tuple(Variant(name=f"v{v}", accuracy=float(a)) for v, a in enumerate(accuracy)),
        nodes=tuple(
            Node(name=f"n{n}", link=link, processors=tuple(processor(p, float(s)) for p, s in enumerate(node)))
            for n, (node, link) in enumerate(zip(speeds, links, strict=True))
        ),
    )


def ours(standing: Schedule, request: QueuedRequest, shared: SharedFleet) -> Schedule | None:
    answer = admit(standing, request, shared, settle_s=0.0, counteroffer=False)
    return answer.schedule if answer.admitted else None


def edf(prefer: Prefer) -> Method:
    def method(standing: Schedule, request: QueuedRequest, shared: SharedFleet) -> Schedule | None:
        return earliest_deadline_first([*standing.requests, request], shared, prefer=prefer)

    return method


def admitted_by_program(shared: SharedFleet, requests: Sequence[QueuedRequest]) -> list[QueuedRequest]:
    """Whatever the linear program of divisible items admits, asked for one after the other."""
    kept: list[QueuedRequest] = []
    for request in requests:
        if allot(shared.demand(in_order([*kept, request]))) is not None:
            kept.append(request)
    return kept


def admission(console: Console, drawn: list[Drawn]) -> list[dict[str, Any]]:
    """Requests asked for one after the other; who is admitted by whom."""
    table = Table(title=f"Requests of {len(drawn)} random queues, asked for one after the other", title_justify="left")
    for heading in ("method", *LABELS.values(), "right answers / item", "median ms", "worst ms"):
        table.add_column(heading, justify="right")
    rows = [_asked(name, method, drawn) for name, method in {"equipoise": ours, **_baselines()}.items()]
    for row in rows:
        admitted = (f"{100 * row['admitted'][label]:.1f} %" for label in LABELS.values())
        times = (f"{row['median_ms']:.2f}", f"{row['worst_ms']:.1f}")
        table.add_row(row["method"], *admitted, f"{row['right_answers_per_item_asked_for']:.4f}", *times)
    bound = {label: _share_admitted_by_program(drawn, charges) for charges, label in LABELS.items()}
    rows.append({"method": "linear program, divisible items", "admitted": bound})
    table.add_row("linear program, divisible items", *(f"{100 * share:.1f} %" for share in bound.values()), "", "", "")
    console.print(table)
    return rows


def _baselines() -> dict[str, Method]:
    return {name: edf(prefer) for name, prefer in EDF.items()}


def _asked(name: str, method: Method, drawn: list[Drawn]) -> dict[str, Any]:
    counts = {label: [0, 0] for label in LABELS.values()}
    times_ms: list[float] = []
    right, items = 0.0, 0
    for shared, requests, charges in drawn:
        standing = Schedule()
        for request in requests:
            started_s = time.perf_counter()
            found = method(standing, request, shared)
            times_ms.append(1e3 * (time.perf_counter() - started_s))
            standing = found or standing
        counts[LABELS[charges]][0] += len(standing.promises)
        counts[LABELS[charges]][1] += len(requests)
        right += sum(promise.plan.accuracy * promise.request.items for promise in standing.promises)
        items += sum(request.items for request in requests)
    return {
        "method": name,
        "admitted": {label: kept / asked for label, (kept, asked) in counts.items()},
        "right_answers_per_item_asked_for": right / items,
        "median_ms": statistics.median(times_ms),
        "worst_ms": max(times_ms),
    }


def _share_admitted_by_program(drawn: list[Drawn], charges: bool) -> float:
    mine = [(shared, requests) for shared, requests, has_charges in drawn if has_charges == charges]
    kept = sum(len(admitted_by_program(shared, requests)) for shared, requests in mine)
    return kept / sum(len(requests) for _, requests in mine)


def same_requests(console: Console, drawn: list[Drawn]) -> dict[str, Any]:
    """Schedules of the same sets of requests: those that we admit."""
    shortfalls: dict[str, list[float]] = {label: [] for label in LABELS.values()}
    gains: dict[str, list[float]] = {name: [] for name in EDF}
    none = dict.fromkeys(gains, 0)
    for shared, requests, charges in drawn:
        schedule = _ours_of(shared, requests)
        if not schedule.promises:
            continue
        shortfalls[LABELS[charges]].append(schedule.gap)
        for name, prefer in EDF.items():
            other = earliest_deadline_first(schedule.requests, shared, prefer=prefer)
            if other is None:
                none[name] += 1
            else:
                gains[name].append(schedule.accuracy - other.accuracy)
    table = Table(title="The same sets of requests: those that we admit", title_justify="left")
    for heading in ("accuracy", "schedules", "it finds none", "mean", "worst"):
        table.add_column(heading, justify="right")
    results = {}
    for label, figures in shortfalls.items():
        results[f"shortfall from the bound, {label}"] = _summary(figures, 0, max)
    for name, figures in gains.items():
        results[f"gain over {name}"] = _summary(figures, none[name], min)
    for label, row in results.items():
        unit = "points" if label.startswith("gain") else "%"
        figures = (f"{100 * row['mean']:.3f} {unit}", f"{100 * row['worst']:.3f} {unit}")
        table.add_row(label, str(row["schedules"]), str(row["it_finds_none"]), *figures)
    console.print(table)
    return results


def _ours_of(shared: SharedFleet, requests: Sequence[QueuedRequest]) -> Schedule:
    standing = Schedule()
    for request in requests:
        standing = ours(standing, request, shared) or standing
    return standing


def _summary(figures: list[float], none: int, worst: Callable[[list[float]], float]) -> dict[str, Any]:
    return {
        "schedules": len(figures),
        "it_finds_none": none,
        "mean": statistics.fmean(figures),
        "worst": worst(figures),
    }


def against_exact(console: Console, drawn: list[Drawn]) -> dict[str, Any]:
    """What the exact solver says, within its time limit, of our schedules and of every no that is not proven."""
    shortfalls: list[float] = []
    wrong, right, open_ = 0, 0, 0
    for shared, requests, _ in drawn:
        standing = Schedule()
        for request in requests:
            answer = admit(standing, request, shared, settle_s=0.0, counteroffer=False)
            standing = answer.schedule
            if not answer.admitted and not answer.proven:
                verdict = exact(shared.demand(in_order([*standing.requests, request])), time_limit_s=EXACT_TIME_LIMIT_S)
                wrong += verdict.found is not None
                right += verdict.bound == -math.inf
                open_ += verdict.found is None and verdict.bound > -math.inf
        if standing.promises:
            bound = exact(shared.demand(standing.requests), time_limit_s=EXACT_TIME_LIMIT_S).bound
            items = sum(request.items for request in standing.requests)
            shortfalls.append(max(0.0, 1 - standing.accuracy * items / bound))
    result = {
        **_summary(shortfalls, 0, max),
        "noes_that_are_wrong": wrong,
        "noes_that_are_right": right,
        "noes_left_open": open_,
    }
    console.print(
        f"Exact solver, {EXACT_TIME_LIMIT_S:g} s each, {len(drawn)} queues: accuracy of our last schedules falls short "
        f"of its bound by {100 * result['mean']:.3f} % on average, {100 * result['worst']:.3f} % at worst. "
        f"Of our noes without proof it finds {wrong} wrong and {right} right; {open_} stay open."
    )
    return result


if __name__ == "__main__":
    main()
