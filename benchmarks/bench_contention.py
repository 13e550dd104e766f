"""What two processors of one machine cost each other, and whether plans know: predicted against measured latency.

    python benchmarks/bench_contention.py [--rounds 3]

Two cores, each a processor of its own, run a model that reads 134 MB of weights per item, far more than caches hold,
and the demo family's heaviest, which fits into them. In each round they are profiled anew (each alone, then together)
and then run a request; its latency is compared with that of the plan, and with what the plan would have been if each
were as fast as alone. Needs two cores with nothing else to do, and `onnx` to make the model.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from equipoise.core.cluster import Cluster
from equipoise.core.family import Family
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.engines.processors import LocalProcessor, usable_cpus
from equipoise.families.demo import demo_folder
from equipoise.families.manifest import load_family
from equipoise.planning.planner import plan
from equipoise.profiling.local import LocalProfiles, local_cluster, profile_here
from equipoise.profiling.preparation import prepare_times_s
from equipoise.profiling.store import ProfileStore
from equipoise.runtime.execution import Job, execute
from equipoise.runtime.inputs import ItemList, find_items
from equipoise.runtime.local import LocalCluster

WIDTH = 4096  # squared, twice, times four bytes: 134 MB
SECONDS = 3.0  # that a request should take
_WIDE_MANIFEST = """
name = "wide"
task = "classification"
labels = "labels.txt"

[input]
kind = "tensor"
tensor = "x"
dtype = "float32"
shape = [{width}]

[output]
tensor = "y"
kind = "logits"

[[variants]]
name = "wide"
file = "wide.onnx"
sha256 = "{sha256}"
precision = "fp32"
accuracy = {{ metric = "top1", value = 0.9, items = 100, dataset = "made up" }}
"""


def wide_family(folder: Path) -> Family:
    """One item at a time through two square matrices."""
    random = np.random.default_rng(0)
    shapes = {"first": (WIDTH, WIDTH), "second": (WIDTH, WIDTH), "last": (WIDTH, 4)}
    weights = [
        numpy_helper.from_array((random.standard_normal(shape) / 64).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    steps = [("x", "first", "a"), ("a", "second", "b"), ("b", "last", "y")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [left, right], [result]) for left, right, result in steps],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    (folder / "wide.onnx").write_bytes(model)
    (folder / "labels.txt").write_text("a\nb\nc\nd\n")
    manifest = _WIDE_MANIFEST.format(width=WIDTH, sha256=hashlib.sha256(model).hexdigest())
    (folder / "family.toml").write_text(manifest)
    return load_family(folder)


def cases(folder: Path) -> Iterator[tuple[Family, str, ItemList]]:
    """Family, variant and items."""
    np.save(folder / "rows.npy", np.random.default_rng(1).standard_normal((64, WIDTH)).astype(np.float32))
    yield wide_family(folder), "wide", find_items([str(folder / "rows.npy")])
    digits = load_family(demo_folder())
    heaviest = max(digits.models, key=lambda model: digits.path_of(model).stat().st_size)
    yield digits, heaviest.name, find_items([str(demo_folder() / "digits-heldout.npy")])


class Repeated:
    """So many items, the given ones again and again."""

    def __init__(self, items: ItemList, count: int) -> None:
        self._items, self._count = items, count

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        """Its number."""
        return f"{index}"

    def payload(self, index: int) -> bytes:
        """That of the given item."""
        return self._items.payload(index % len(self._items))


def measure(family: Family, variant: str, items: ItemList, processors: list[LocalProcessor]) -> dict[str, Any]:
    """One round."""
    with tempfile.TemporaryDirectory() as folder:
        found = profile_here(family, processors, ProfileStore(Path(folder)), variants=[variant])
    samples = [items.payload(index) for index in range(8)]
    prepare_s = prepare_times_s(family, samples)
    together = local_cluster(family, processors, found, prepare_s)
    alone = {pair: msgspec.structs.replace(one, contention=1.0) for pair, one in found.measured.items()}
    apart = local_cluster(family, processors, LocalProfiles(measured=alone, failures={}), prepare_s)
    item_s = min(profile.item_s for _, one in together.processors() for profile in one.profiles)
    many = Repeated(items, max(32, int(len(processors) * SECONDS / item_s)))
    measured_s = asyncio.run(run(family, together, many, processors))
    return {
        "contention": [found.measured[one.name, variant].contention for one in processors],
        "items": len(many),
        "measured_s": measured_s,
        "planned_over_measured": latency_s(together, len(many)) / measured_s,
        "as_alone_over_measured": latency_s(apart, len(many)) / measured_s,
    }


def request_of(items: int) -> Request:
    return Request(items=items, requirement=Requirement(prefer=Prefer.LATENCY))


def latency_s(cluster: Cluster, items: int) -> float:
    return plan(request_of(items), cluster).latency_s


async def run(family: Family, cluster: Cluster, items: Repeated, processors: list[LocalProcessor]) -> float:
    """Seconds that the request took."""
    request = request_of(len(items))
    job = Job(request=request, plan=plan(request, cluster), family=family, cluster=cluster, items=items)
    async with LocalCluster(family, cluster, processors) as here:
        receipt = (await execute(job, here.fabric)).receipt
    if receipt.answered != len(items) or receipt.latency_s is None:
        raise SystemExit(f"only {receipt.answered} of {len(items)} items were answered")
    return receipt.latency_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds for each model (default 3)")
    rounds = parser.parse_args().rounds
    cpus = usable_cpus()
    if len(cpus) < 2:
        raise SystemExit("this needs two cores")
    processors = [LocalProcessor(name=f"cpu{part}", cpus=(cpu,)) for part, cpu in enumerate((cpus[0], cpus[-1]))]
    results = []
    print(f"Medians of {rounds}.")
    print(f"{'variant':16} {'contention':>13} {'planned / measured':>20} {'as if alone / measured':>24}")
    with tempfile.TemporaryDirectory() as folder:
        for family, variant, items in cases(Path(folder)):
            found = [measure(family, variant, items, processors) for _ in range(rounds)]
            factors = [statistics.median(one["contention"][part] for one in found) for part in range(2)]
            planned, as_alone = (
                statistics.median(one[key] for one in found)
                for key in ("planned_over_measured", "as_alone_over_measured")
            )
            print(f"{variant:16} {factors[0]:6.2f} {factors[1]:6.2f} {planned:20.3f} {as_alone:24.3f}")
            results.append({"variant": variant, "rounds": found})
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "bench_contention.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
