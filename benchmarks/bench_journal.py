"""What it costs to keep answers and receipt on the disk while a request runs, by how often they are brought there.

The same digits are inferred on this machine's CPU in several ways that alternate, so that all meet the same
disturbances: nothing is kept; answers are written but left to the operating system; both are brought to the disk once a
second (what `equipoise run --out --receipt` does), twenty times a second, and as often as the disk can. Where other
programs run beside, the CPU time per item tells more than items per second.

    python benchmarks/bench_journal.py [--rounds 5] [--times 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from equipoise.core.cluster import Cluster, Node, Processor, Profile, Variant
from equipoise.core.family import Family
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.engines.processors import whole_cpu
from equipoise.families.demo import demo_folder
from equipoise.families.manifest import load_family
from equipoise.planning.planner import plan
from equipoise.runtime.execution import Job, execute
from equipoise.runtime.inputs import ItemList, find_items
from equipoise.runtime.journal import Journal
from equipoise.runtime.local import LocalCluster
from equipoise.runtime.predictions import PredictionFile

NEVER_S = 3600.0
WAYS: dict[str, float | None] = {
    "nothing kept": None,
    "left to the system": NEVER_S,
    "once a second": 1.0,
    "20 times a second": 0.05,
    "all the time": 0.0,
}


class Repeated:
    """The same items over and over."""

    def __init__(self, items: ItemList, times: int) -> None:
        self._items, self._times = items, times

    def __len__(self) -> int:
        return len(self._items) * self._times

    def name(self, index: int) -> str:
        """What the item is called."""
        return f"{self._items.name(index % len(self._items))} {index}"

    def payload(self, index: int) -> bytes:
        """The item as it travels."""
        return self._items.payload(index % len(self._items))


async def cost_s(
    family: Family, cluster: Cluster, items: Repeated, period_s: float | None, folder: Path
) -> tuple[float, float]:
    """Seconds per item, by the clock and of the CPU."""
    request = Request(items=len(items), requirement=Requirement(prefer=Prefer.LATENCY))
    job = Job(request=request, plan=plan(request, cluster), family=family, cluster=cluster, items=items)
    with ExitStack() as open_files:
        journal = None
        if period_s is not None:
            file = PredictionFile(folder / "p.jsonl", name_of=items.name, label_of=family.label)
            journal = Journal(folder / "r.json", open_files.enter_context(file), period_s=period_s)
        async with LocalCluster(family, cluster, [whole_cpu()]) as here:
            began_s, began_cpu_s = time.perf_counter(), time.process_time()
            receipt = (await execute(job, here.fabric, journal=journal)).receipt
            elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    if receipt.answered != len(items):
        raise SystemExit(f"only {receipt.answered} of {len(items)} items were answered")
    return elapsed_s / len(items), cpu_s / len(items)


def lightest(family: Family) -> Cluster:
    """This machine with the variant that leaves the least time to hide a disk in."""
    model = min(family.models, key=lambda model: family.path_of(model).stat().st_size)
    profile = Profile(variant=model.name, latency_s={8: 0.001})
    node = Node(name="here", processors=(Processor(name=whole_cpu().name, profiles=(profile,)),))
    return Cluster(family=family.name, variants=(Variant(name=model.name, accuracy=1.0),), nodes=(node,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="alternating runs of each way (default 5)")
    parser.add_argument("--times", type=int, default=20, help="how often the 599 digits are inferred (default 20)")
    asked = parser.parse_args()
    family = load_family(demo_folder())
    cluster = lightest(family)
    items = Repeated(find_items([str(demo_folder() / "digits-heldout.npy")]), asked.times)
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(dir=".") as folder:  # a disk, where /tmp may be memory
        for _ in range(asked.rounds):
            for way, period_s in WAYS.items():
                found[way].append(asyncio.run(cost_s(family, cluster, items, period_s, Path(folder))))
    for way, costs in found.items():
        elapsed, cpu = zip(*costs, strict=True)
        ratios = [cost[1] / base[1] for cost, base in zip(costs, found["nothing kept"], strict=True)]
        rate, cpu_us = 1 / statistics.median(elapsed), 1e6 * statistics.median(cpu)
        print(f"{way:20} {rate:7.0f} items/s, CPU per item {cpu_us:4.0f} us, times {statistics.median(ratios):.3f}")
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "journal.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
