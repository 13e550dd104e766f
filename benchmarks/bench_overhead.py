"""What the whole path costs: items/s of a request on this machine's CPU against a plain onnxruntime loop.

Both do the same work: the same files, preparation, variant, batch size and threads. The plain loop is what one would
write by hand: read, prepare, stack, infer, next. Runs alternate, so that both meet the same disturbances.

    python benchmarks/bench_overhead.py [--rounds 7]

Real images and models come from ../shared; without them, the demo family's digits are used alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from equipoise.core.cluster import Cluster, Node, Processor, Profile, Variant
from equipoise.core.family import Family
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.engines.processors import LocalProcessor, whole_cpu
from equipoise.families.classify import best_classes
from equipoise.families.demo import demo_folder
from equipoise.families.manifest import load_family
from equipoise.families.preprocess import prepare
from equipoise.planning.planner import plan
from equipoise.runtime.execution import Job, execute
from equipoise.runtime.inputs import ItemList, Items, find_items
from equipoise.runtime.local import LocalCluster

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
GOAL = 0.95


@dataclass(frozen=True, kw_only=True)
class Case:
    """What to run."""

    family: Family
    variant: str
    batch: int
    items: ItemList


def cases() -> Iterator[Case]:
    images, models = SHARED / "images" / "nips17-imagenet-750", SHARED / "models" / "imagenet-mobilenet-onnx"
    if images.is_dir() and models.is_dir():
        family, items = load_family(models), find_items([str(images)])
        for variant, batch in (("mobilenet_v1_025_128.int8", 8), ("mobilenet_v2_100_224.int8", 1)):
            yield Case(family=family, variant=variant, batch=batch, items=items)
    else:
        print(f"no real images in {SHARED}: digits alone\n")
    family = load_family(demo_folder())
    digits = find_items([str(demo_folder() / "digits-heldout.npy")])
    heaviest = max(family.models, key=lambda model: family.path_of(model).stat().st_size)
    yield Case(family=family, variant=heaviest.name, batch=8, items=digits)


def plain_items_per_s(case: Case, processor: LocalProcessor) -> float:
    model = case.family.model(case.variant)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processor.threads
    options.add_session_config_entry("session.x64quantprecision", "1")  # or int8 answers would not be the same
    session = onnxruntime.InferenceSession(case.family.path_of(model), options, providers=["CPUExecutionProvider"])
    feed, wanted = session.get_inputs()[0].name, [session.get_outputs()[0].name]
    first = prepare(case.items.payload(0), model.input)
    session.run(wanted, {feed: np.stack([first] * case.batch)})  # warm, like the variant of the request
    began_s = time.perf_counter()
    for start in range(0, len(case.items), case.batch):
        indices = range(start, min(start + case.batch, len(case.items)))
        batch = np.stack([prepare(case.items.payload(index), model.input) for index in indices])
        (scores,) = session.run(wanted, {feed: batch})
        best_classes(scores, model.output, case.family.first_class)
    elapsed_s = time.perf_counter() - began_s
    return len(case.items) / elapsed_s


class FirstOf:
    """The first few items of a list."""

    def __init__(self, items: Items, count: int) -> None:
        self.name, self.payload = items.name, items.payload
        self._count = min(count, len(items))

    def __len__(self) -> int:
        return self._count


async def equipoise_items_per_s(case: Case, processor: LocalProcessor, call_s: float) -> float:
    cluster = cluster_of(case, processor, call_s)

    def job_of(items: Items) -> Job:
        request = Request(items=len(items), requirement=Requirement(prefer=Prefer.LATENCY))
        return Job(request=request, plan=plan(request, cluster), family=case.family, cluster=cluster, items=items)

    async with LocalCluster(case.family, cluster, [processor]) as here:
        await execute(job_of(FirstOf(case.items, case.batch)), here.fabric)  # loads the variant and warms it up
        receipt = (await execute(job_of(case.items), here.fabric)).receipt
    if receipt.answered != len(case.items):
        raise SystemExit(f"only {receipt.answered} of {len(case.items)} items were answered")
    return receipt.throughput_per_s


def cluster_of(case: Case, processor: LocalProcessor, call_s: float) -> Cluster:
    profile = Profile(variant=case.variant, latency_s={case.batch: call_s})
    node = Node(name="here", processors=(Processor(name=processor.name, profiles=(profile,)),))
    return Cluster(family=case.family.name, variants=(Variant(name=case.variant, accuracy=1.0),), nodes=(node,))


def measure(case: Case, rounds: int) -> dict[str, Any]:
    processor = whole_cpu()
    plain, ours = [], []
    for _ in range(rounds):
        plain.append(plain_items_per_s(case, processor))
        ours.append(asyncio.run(equipoise_items_per_s(case, processor, call_s=case.batch / plain[-1])))
    ratios = [o / p for o, p in zip(ours, plain, strict=True)]
    return {
        "variant": case.variant,
        "batch": case.batch,
        "threads": processor.threads,
        "items": len(case.items),
        "plain_items_per_s": statistics.median(plain),
        "equipoise_items_per_s": statistics.median(ours),
        "ratio": statistics.median(ratios),
        "ratio_of_best": max(ours) / max(plain),  # the least disturbed round of each
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="alternating runs of each (default 7)")
    rounds = parser.parse_args().rounds
    results = []
    print(f"{'variant':28} {'batch':>5} {'plain':>10} {'equipoise':>10} {'ratio':>7}  (low-high of {rounds}; of best)")
    for case in cases():
        r = measure(case, rounds)
        results.append(r)
        verdict = "" if r["ratio"] >= GOAL else f"  below the goal of {GOAL}"
        speeds = f"{r['plain_items_per_s']:8.1f}/s {r['equipoise_items_per_s']:8.1f}/s"
        ratio = f"{r['ratio']:7.3f}  ({r['ratio_low']:.3f}-{r['ratio_high']:.3f}; {r['ratio_of_best']:.3f})"
        print(f"{r['variant']:28} {r['batch']:5} {speeds} {ratio}{verdict}", flush=True)
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "overhead.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
