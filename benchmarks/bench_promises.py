"""Promises under change: how often both are kept when a node is killed or slowed to half, or one of each.

    python benchmarks/bench_promises.py [--runs R] [--strategy S ...] [--cluster three|ten] [--kind K ...]

Requests of 500 items are simulated in virtual time with the production dispatcher, on the paper's three boards and on
all ten published boards that run ncnn. Floors are those of `equipoise lab drift`; the deadline is 1.3 to 3 times the
shortest time at the floor, drawn anew for each request, so that some have hardly any slack; confidence 0.95. `killed`:
a board chosen by chance is unplugged at a random moment between 5 and 90 % of the deadline. `slowed`: one runs at half
its speed from such a moment on. `both`: one each, two boards, two moments. Only requests count that could still be kept
by somebody who knew the events from the start (`clairvoyant`, docs/strategies.md); of these the *roomy* ones are those
that he ends with 10 % of the deadline to spare. What a strategy declines is not kept. `calm`: nothing happens.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from statistics import fmean
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from equipoise.core.accuracy import wilson_interval
from equipoise.core.cluster import Cluster
from equipoise.lab.drift import SLACK, asked, ten_boards, uncertain_boards
from equipoise.planning.strategies import ONLINE, STRATEGIES
from equipoise.simulation import BatchRequest, Leaves, Load, Scenario, simulate
from equipoise.simulation.clairvoyant import limits

CLUSTERS: dict[str, Callable[[], Cluster]] = {"three": uncertain_boards, "ten": ten_boards}
KINDS = ("calm", "killed", "slowed", "both")
RUNS = 100
SLACKS = (1.3, 3.0)  # deadline over the shortest time at the floor
MOMENTS = (0.05, 0.9)  # of the deadline
ROOMY = 0.9  # of the deadline: what the clairvoyant needs at most


class Case(NamedTuple):
    """A request and what befalls it; whether the clairvoyant keeps it with room to spare, and how accurate he is."""

    scenario: Scenario
    seed: int
    roomy: bool
    accuracy: float


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests of how many cases a strategy admitted and kept, in all and of the roomy ones.

    `value` is kept / cases, from `low` to `high` its 95 % Wilson interval; `accuracy` the mean of what was kept.
    """

    cases: int
    admitted: int
    kept: int
    value: float
    low: float
    high: float
    roomy: int
    roomy_kept: int
    accuracy: float | None


def request(cluster: Cluster, seed: int) -> BatchRequest:
    drawn = asked(cluster, seed)
    deadline_s = drawn.requirement.deadline_s * Random(f"{seed}/slack").uniform(*SLACKS) / SLACK
    return msgspec.structs.replace(drawn, requirement=msgspec.structs.replace(drawn.requirement, deadline_s=deadline_s))


def events(cluster: Cluster, kind: str, seed: int, deadline_s: float) -> tuple[Leaves | Load, ...]:
    chance = Random(f"{seed}/{kind}")
    killed, slowed = chance.sample([node.name for node in cluster.nodes], 2)
    kill = Leaves(at_s=deadline_s * chance.uniform(*MOMENTS), node=killed)
    slow = Load(at_s=deadline_s * chance.uniform(*MOMENTS), node=slowed, speed=0.5)
    happening = {"calm": (), "killed": (kill,), "slowed": (slow,), "both": (kill, slow)}[kind]
    return tuple(sorted(happening, key=lambda event: event.at_s))


def cases(cluster: Cluster, kind: str, runs: int) -> Iterator[Case]:
    """The first so many that can be kept."""
    seed = 0
    while runs:
        drawn = request(cluster, seed)
        happening = events(cluster, kind, seed, drawn.requirement.deadline_s)
        scenario = Scenario(requests=(drawn,), events=happening)
        limit = limits(cluster, scenario, seed).requests[0]
        if limit.keepable:
            yield Case(scenario, seed, limit.of_deadline <= ROOMY, limit.accuracy)
            runs -= 1
        seed += 1


def measure(cluster: Cluster, found: list[Case], strategy: str) -> Kept:
    outcomes = [simulate(cluster, case.scenario, strategy, case.seed) for case in found]
    kept = [outcome.kept == 1 for outcome in outcomes]
    accuracies = [o.requests[0].receipt.accuracy.expected for o, good in zip(outcomes, kept, strict=True) if good]
    low, high = wilson_interval(sum(kept), len(kept))
    return Kept(
        cases=len(kept),
        admitted=sum(outcome.admitted for outcome in outcomes),
        kept=sum(kept),
        value=sum(kept) / len(kept),
        low=low,
        high=high,
        roomy=sum(case.roomy for case in found),
        roomy_kept=sum(case.roomy and good for case, good in zip(found, kept, strict=True)),
        accuracy=fmean(accuracies) if accuracies else None,
    )


def table(name: str, found: dict[str, dict[str, Kept]], limits_of: dict[str, float]) -> Table:
    shown = Table(title=f"{name} boards: both promises kept, of those that could be; in brackets of the roomy ones")
    for heading in ("strategy", *limits_of, "accuracy (calm)"):
        shown.add_column(heading, justify="left" if heading == "strategy" else "right")
    for strategy, by_kind in found.items():
        cells = [f"{k.kept} of {k.cases} ({k.roomy_kept} of {k.roomy})" for k in by_kind.values()]
        calm = by_kind["calm"].accuracy if "calm" in by_kind else None
        shown.add_row(strategy, *cells, "-" if calm is None else f"{100 * calm:.2f} %")
    limit = f"{100 * limits_of['calm']:.2f} %" if "calm" in limits_of else "-"
    shown.add_row("clairvoyant (limit)", *("all" for _ in limits_of), limit)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--strategy", action="append", choices=[*STRATEGIES, *ONLINE])
    parser.add_argument("--cluster", action="append", choices=list(CLUSTERS))
    parser.add_argument("--kind", action="append", choices=KINDS)
    chosen = parser.parse_args()
    strategies = chosen.strategy or [*(name for name, known in STRATEGIES.items() if not known.solver), *ONLINE]
    every = {}
    for name in chosen.cluster or CLUSTERS:
        cluster = CLUSTERS[name]()
        drawn = {kind: list(cases(cluster, kind, chosen.runs)) for kind in chosen.kind or KINDS}
        found = {s: {kind: measure(cluster, some, s) for kind, some in drawn.items()} for s in strategies}
        limits_of = {kind: fmean(case.accuracy for case in some) for kind, some in drawn.items()}
        Console(width=140).print(table(name, found, limits_of))
        every[name] = {"strategies": msgspec.to_builtins(found), "limits": limits_of}
    Path("out").mkdir(exist_ok=True)
    Path("out/bench_promises.json").write_text(json.dumps(every, indent=2))


if __name__ == "__main__":
    main()
