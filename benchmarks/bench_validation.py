"""Is the simulation true? The same scenarios simulated, and run for real on emulated boards.

599 digits on the demo's three boards, each a process that really infers and is paced to the described speed, reached
over the real fabric; undisturbed, with a board that slows down to half its speed, and with one whose plug is pulled.
Compared are latency, who ran how much with which variant, and accuracy. The goal is within 5 % for each.

A machine that is too busy to play the boards on time plays slower ones. `pace` tells: how long calls really took, by
what was described. The simulation is compared as it is, and once more with boards of the pace that was played.

    python benchmarks/bench_validation.py
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from equipoise.cli.clusters import load_cluster
from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.family import Family
from equipoise.core.receipt import Receipt
from equipoise.core.request import Requirement
from equipoise.families.demo import demo_folder
from equipoise.families.labels import load_labels
from equipoise.families.manifest import load_family
from equipoise.runtime.admission import admit
from equipoise.runtime.emulation import EmulatedCluster
from equipoise.runtime.execution import Job, execute, truth_of
from equipoise.runtime.inputs import Items, find_items
from equipoise.simulation import BatchRequest, Leaves, Load, Scenario, simulate

GOAL = 0.05
ROUNDS = 3
Paces = Mapping[ProcessorId, float]

_REQUEST = BatchRequest(items=599, requirement=Requirement(deadline_s=6.0, min_accuracy=0.95))
SCENARIOS = {
    "undisturbed": Scenario(requests=(_REQUEST,)),
    "slowed down": Scenario(requests=(_REQUEST,), events=(Load(at_s=1.5, node="jetson-nano", speed=0.5),)),
    "unplugged": Scenario(requests=(_REQUEST,), events=(Leaves(at_s=2.0, node="odroid-xu4"),)),
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One scenario. `latency` differs relatively; `shares` is the part of the items that went elsewhere."""

    simulated_s: float
    real_s: float
    pace: float  # of the slowest processor: 1.02 took 2 % longer than described
    latency: float
    shares: float
    accuracy: float
    measured_accuracy: float | None

    @property
    def agrees(self) -> bool:
        """True if everything is within the goal."""
        return max(abs(self.latency), self.shares, abs(self.accuracy)) <= GOAL


Round = tuple[Comparison, ...]  # with boards as they are described, and as they were played


def compare(simulated: Receipt, real: Receipt, pace: float) -> Comparison:
    assert simulated.latency_s is not None
    assert real.latency_s is not None
    measured = real.accuracy.measured
    return Comparison(
        simulated_s=simulated.latency_s,
        real_s=real.latency_s,
        pace=pace,
        latency=simulated.latency_s / real.latency_s - 1,
        shares=_moved(simulated, real) / real.items,
        accuracy=simulated.accuracy.expected - real.accuracy.expected,
        measured_accuracy=measured.value if measured is not None else None,
    )


def _moved(one: Receipt, other: Receipt) -> float:
    """How many items went to another (processor, variant)."""
    counts: dict[tuple[str, str, str], int] = {}
    for receipt, sign in ((one, 1), (other, -1)):
        for share in receipt.shares:
            key = (share.node, share.processor, share.variant)
            counts[key] = counts.get(key, 0) + sign * share.items
    return sum(map(abs, counts.values())) / 2


async def play(family: Family, cluster: Cluster, items: Items, scenario: Scenario) -> Receipt:
    """The one request of a scenario for real, while its events happen to the emulated boards."""
    (asked,) = scenario.requests
    truth = truth_of(items, load_labels(demo_folder() / "digits-heldout-labels.csv", family))
    plan = admit(asked.request, cluster, settle_s=0.0)
    async with EmulatedCluster(family, cluster) as boards:
        job = Job(
            request=asked.request, plan=plan, family=family, cluster=cluster, items=items, truth=truth, emulated=True
        )
        meanwhile = [asyncio.create_task(_happen(boards, event)) for event in scenario.events]
        done = await execute(job, boards.fabric)
        for event in meanwhile:
            event.cancel()
        await asyncio.gather(*meanwhile, return_exceptions=True)
    return done.receipt


async def _happen(boards: EmulatedCluster, event: object) -> None:
    match event:
        case Load(at_s=at_s, node=str(node), speed=speed):
            await asyncio.sleep(at_s)
            boards.set_speed(node, speed)
        case Leaves(at_s=at_s, node=str(node)):
            await asyncio.sleep(at_s)
            boards.kill(node)
        case _:
            raise ValueError(f"emulated boards cannot play {event}")


def rehearse(cluster: Cluster, scenario: Scenario, paces: Paces | None = None) -> Receipt:
    """The same simulated; with `paces` on boards that take so much longer than described."""
    (asked,) = simulate(cluster, _paced(scenario, paces or {}), "equipoise", seed=0).requests
    assert asked.receipt is not None
    return asked.receipt


def _paced(scenario: Scenario, paces: Paces) -> Scenario:
    start = [Load(at_s=0.0, node=pid.node, processor=pid.processor, speed=1 / pace) for pid, pace in paces.items()]
    later = [
        msgspec.structs.replace(event, processor=pid.processor, speed=event.speed / pace)
        for event in scenario.events
        if isinstance(event, Load)
        for pid, pace in paces.items()
        if pid.node == event.node
    ]
    others = [event for event in scenario.events if not (paces and isinstance(event, Load))]
    events = sorted([*start, *later, *others], key=lambda event: event.at_s)
    return msgspec.structs.replace(scenario, events=tuple(events))


def paces_of(cluster: Cluster, real: Receipt, simulated: Receipt) -> dict[ProcessorId, float]:
    """How long each processor really took for what it did, by how long the simulated one took."""
    real_s, simulated_s = _seconds_per_work(cluster, real), _seconds_per_work(cluster, simulated)
    return {pid: real_s[pid] / simulated_s[pid] for pid in real_s if pid in simulated_s}


def _seconds_per_work(cluster: Cluster, receipt: Receipt) -> dict[ProcessorId, float]:
    busy_s: Counter[ProcessorId] = Counter()
    described_s: Counter[ProcessorId] = Counter()
    for share in receipt.shares:
        pid = ProcessorId(share.node, share.processor)
        busy_s[pid] += share.busy_s
        described_s[pid] += share.items * cluster.profile(pid, share.variant).item_s
    return {pid: busy_s[pid] / described_s[pid] for pid in busy_s if described_s[pid] > 0}


def rounds_of(family: Family, cluster: Cluster, items: Items, scenario: Scenario, rounds: int) -> list[Round]:
    """So many rounds, each compared with the simulation as it is, and at the pace that was played."""
    as_it_is, found = rehearse(cluster, scenario), []
    for _ in range(rounds):
        real = asyncio.run(play(family, cluster, items, scenario))
        paces = paces_of(cluster, real, as_it_is)
        at_its_pace = rehearse(cluster, scenario, paces)
        found.append(tuple(compare(simulated, real, max(paces.values())) for simulated in (as_it_is, at_its_pace)))
    return found


def of_median(rounds: Sequence[Comparison]) -> Comparison:
    """The round whose latency differs as the median does."""
    return sorted(rounds, key=lambda round_: round_.latency)[len(rounds) // 2]


def line_of(name: str, boards: str, found: Comparison) -> str:
    times = f"{found.simulated_s:8.3f} s {found.real_s:8.3f} s {100 * found.latency:+7.2f} %"
    rest = f"{100 * found.shares:6.2f} % {100 * found.accuracy:+7.2f} % {found.pace:6.3f}"
    return f"{name:12} {boards:13} {times} {rest}{'' if found.agrees else '  APART'}"


def main() -> int:
    family, items = load_family(demo_folder()), find_items([str(demo_folder() / "digits-heldout.npy")])
    cluster = load_cluster(demo_folder() / "boards.json")
    rows = []
    print("scenario     boards         simulated       real   latency   shares  accuracy   pace")
    for name, scenario in SCENARIOS.items():
        rounds = rounds_of(family, cluster, items, scenario, ROUNDS)
        for place, boards in enumerate(("as described", "as played")):
            found = of_median([round_[place] for round_ in rounds])
            rows.append({"scenario": name, "boards": boards} | asdict(found))
            print(line_of(name, boards, found), flush=True)
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "validation.json").write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
