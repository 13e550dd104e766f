"""Ten requests on real images, a real ladder of models and three emulated boards: are plans true and receipts honest?

750 images of ../shared run through the variants of imagenet-mobilenet-onnx on the boards of ladder-three-boards.json,
each a process that decodes and infers for real and is paced to the described latency. For every request:

    latency    measured against planned; the goal is within 5 %
    accuracy   measured on the labels; its 95 % Wilson interval should contain the expectation
    receipt    every figure is worked out again from the answers themselves, one per item

    python benchmarks/bench_ladder.py
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from equipoise.cli.clusters import load_cluster
from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.family import Family
from equipoise.core.receipt import Receipt
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.errors import EmulationError
from equipoise.fabric.messages import Answer
from equipoise.families.labels import load_labels
from equipoise.families.manifest import load_family
from equipoise.runtime.admission import admit
from equipoise.runtime.emulation import EmulatedCluster
from equipoise.runtime.execution import Job, execute, truth_of
from equipoise.runtime.inputs import ItemList, find_items
from equipoise.runtime.reach import check_reach, measure_costs, out_of_reach, without

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
IMAGES = SHARED / "images" / "nips17-imagenet-750"
MODELS = SHARED / "models" / "imagenet-mobilenet-onnx"
BOARDS = SHARED / "clusters" / "ladder-three-boards.json"
LATENCY_GOAL = 0.05

REQUIREMENTS = (
    Requirement(deadline_s=6.5, min_accuracy=0.80),
    Requirement(deadline_s=7.0, min_accuracy=0.82),
    Requirement(deadline_s=8.0, min_accuracy=0.83),
    Requirement(deadline_s=9.0, min_accuracy=0.835),
    Requirement(deadline_s=10.0, min_accuracy=0.84),
    Requirement(min_accuracy=0.838, prefer=Prefer.LATENCY),
    Requirement(min_accuracy=0.84, prefer=Prefer.LATENCY),
    Requirement(min_accuracy=0.842, prefer=Prefer.LATENCY),
    Requirement(throughput_per_s=80.0, min_accuracy=0.84),
    Requirement(throughput_per_s=110.0, min_accuracy=0.82),
)


class Witness:
    """Keeps every answer, to check the receipt against."""

    def __init__(self) -> None:
        self.answers: list[tuple[Answer, str]] = []

    def accept(self, answer: Answer, _pid: ProcessorId, variant: str) -> None:
        """Keep it."""
        self.answers.append((answer, variant))

    def dishonest(self, receipt: Receipt, cluster: Cluster, truth: dict[int, int]) -> list[str]:
        """What the receipt says otherwise than the answers do."""
        counts = Counter(answer.item for answer, _ in self.answers)
        good = [(answer, variant) for answer, variant in self.answers if answer.error is None]
        hits = sum(answer.classes[0] == truth[answer.item] for answer, _ in good)
        expected = sum(cluster.variant(variant).accuracy for _, variant in good) / len(good)
        shares = Counter(variant for _, variant in good)
        told = Counter[str]()
        for share in receipt.shares:
            told[share.variant] += share.items
        measured = receipt.accuracy.measured
        deadline_s = Request(items=receipt.items, requirement=receipt.requirement).deadline_s
        checks = {
            "every item once": set(counts.values()) == {1} and len(counts) == receipt.items,
            "answered": receipt.answered == len(good),
            "expected accuracy": abs(receipt.accuracy.expected - expected) < 1e-9,
            "measured accuracy": measured is not None and abs(measured.value - hits / len(good)) < 1e-12,
            "shares": told == shares,
            "performance": receipt.met.performance == ((receipt.latency_s or 0.0) <= deadline_s),
            "floor": receipt.met.accuracy == (expected >= receipt.requirement.min_accuracy - 1e-9),
        }
        return [name for name, holds in checks.items() if not holds]


def words(requirement: Requirement) -> str:
    parts = []
    if requirement.deadline_s is not None:
        parts.append(f"<= {requirement.deadline_s:g} s")
    if requirement.throughput_per_s is not None:
        parts.append(f">= {requirement.throughput_per_s:g}/s")
    return ", ".join([*parts, f">= {100 * requirement.min_accuracy:g} %, {requirement.prefer.value}"])


async def run_all(family: Family, described: Cluster, items: ItemList, truth: dict[int, int]) -> list[dict[str, Any]]:
    samples = [items.payload(index) for index in range(0, len(items), len(items) // 8)]
    unreachable = out_of_reach(described, measure_costs(family, (model.name for model in family.models), samples))
    for pair in unreachable:
        print(f"left out, as this machine cannot play it: {pair}")
    cluster = without(described, unreachable)
    rows = []
    print(f"{'requirement':32} {'planned':>9} {'measured':>9} {'off':>7}  accuracy: expected  measured [95 %]     kept")
    async with EmulatedCluster(family, cluster) as boards:
        for requirement in REQUIREMENTS:
            request = Request(items=len(items), requirement=requirement)
            found = admit(request, cluster, clock=time.perf_counter)
            try:
                check_reach(cluster, family, found, samples)
            except EmulationError as refusal:
                rows.append({"requirement": words(requirement), "refused": str(refusal)})
                print(f"{words(requirement):32} refused: {refusal}")
                continue
            job = Job(
                request=request,
                plan=found,
                family=family,
                cluster=cluster,
                items=items,
                truth=truth,
                emulated=True,
            )
            witness = Witness()
            receipt = (await execute(job, boards.fabric, sink=witness)).receipt
            rows.append(row_of(receipt, witness.dishonest(receipt, cluster, truth)))
            print(line_of(rows[-1]), flush=True)
    return rows


def row_of(receipt: Receipt, dishonest: list[str]) -> dict[str, Any]:
    measured = receipt.accuracy.measured
    assert receipt.latency_s is not None
    assert measured is not None
    return {
        "requirement": words(receipt.requirement),
        "planned_s": receipt.plan.latency_s,
        "measured_s": receipt.latency_s,
        "off": receipt.latency_s / receipt.plan.latency_s - 1,
        "planned_accuracy": receipt.plan.accuracy,
        "expected": receipt.accuracy.expected,
        "measured": measured.value,
        "interval": [measured.low, measured.high],
        "inside": measured.low <= receipt.accuracy.expected <= measured.high,
        "kept": [receipt.met.performance, receipt.met.accuracy],
        "dishonest": dishonest,
    }


def line_of(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    latency = f"{row['planned_s']:7.3f} s {row['measured_s']:7.3f} s {100 * row['off']:+6.2f} %"
    accuracy = f"{100 * row['expected']:18.2f} %  {100 * row['measured']:.2f} [{100 * low:.1f}, {100 * high:.1f}] %"
    kept = " and ".join("kept" if kept else "broken" for kept in row["kept"])
    lies = f"; RECEIPT WRONG: {', '.join(row['dishonest'])}" if row["dishonest"] else ""
    return f"{row['requirement']:32} {latency} {accuracy}  {kept}{'' if row['inside'] else '; OUTSIDE'}{lies}"


def main() -> int:
    if not BOARDS.is_file():
        print(f"skipped: needs the images, models and boards of {SHARED}, which are not part of the repository")
        return 0
    family, items = load_family(MODELS), find_items([str(IMAGES)])
    truth = truth_of(items, load_labels(IMAGES / "labels.csv", family))
    rows = asyncio.run(run_all(family, load_cluster(BOARDS), items, truth))
    ran = [row for row in rows if "refused" not in row]
    print(
        f"\n{len(ran)} of {len(rows)} requests run; "
        f"latency within {100 * LATENCY_GOAL:g} % of the plan: {sum(abs(row['off']) <= LATENCY_GOAL for row in ran)}; "
        f"expectation inside the measured interval: {sum(row['inside'] for row in ran)}; "
        f"receipts that are wrong: {sum(bool(row['dishonest']) for row in ran)}"
    )
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "ladder.json").write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if any(row["dishonest"] for row in ran) else 0


if __name__ == "__main__":
    sys.exit(main())
