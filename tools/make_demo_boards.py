"""Writes equipoise/families/demo/boards.json: the boards of the demo, as fast to each other as published figures say.

    pip install 'equipoise[build]'
    python tools/make_demo_boards.py            # writes the file
    python tools/make_demo_boards.py --check    # fails if the shipped file is not what this writes

Nobody has measured the demo's models on these boards. So the lightest of them is described as taking half as long as
ShuffleNet v2 does there, the heaviest half as long as ResNet-18, and those between lie between, on a straight line
through the logarithms of multiply-accumulates and seconds. An int8 variant takes the share of its float sibling's time
that ResNet-18 in int8 takes of ResNet-18 in float; the GPU runs none, as it has no 8-bit arithmetic. Halving keeps the
demo short and leaves the boards' speeds relative to each other as they are. Sources: boards-source.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx

from equipoise.core.cluster import Cluster, Node, Processor, Profile, Variant
from equipoise.core.family import Family, Model
from equipoise.families.demo import demo_folder
from equipoise.families.manifest import load_family
from equipoise.families.preprocess import pack_array

SCALE = 0.5
DIGITS = 3  # of a latency; the published figures are not better than that


@dataclass(frozen=True)
class Published:
    """Milliseconds per image with ncnn at batch 1; `heavy_int8_ms` is None where int8 does not run."""

    light_ms: float  # ShuffleNet v2 1.0
    heavy_ms: float  # ResNet-18
    heavy_int8_ms: float | None = None


BOARDS: dict[str, dict[str, Published]] = {
    "odroid-xu4": {"cpu": Published(21.15, 128.18, 73.58)},
    "raspberry-pi-4": {"cpu": Published(24.56, 123.12, 83.92)},
    "jetson-nano": {"cpu": Published(19.71, 83.44, 60.70), "gpu": Published(19.02, 43.98)},
}


def boards(family: Family) -> Cluster:
    """The demo's cluster; accuracies are those of the manifest."""
    item_bytes = len(pack_array(np.zeros((32, 32), dtype=np.uint8)))
    macs = {model.name: multiply_accumulates(family, model) for model in family.models}
    nodes = tuple(
        Node(
            name=name,
            processors=tuple(
                Processor(name=processor, profiles=profiles(family, macs, published))
                for processor, published in processors.items()
            ),
        )
        for name, processors in BOARDS.items()
    )
    variants = tuple(
        Variant(name=v.name, accuracy=v.accuracy, accuracy_items=v.accuracy_items, input_bytes=item_bytes)
        for v in family.described_variants()
    )
    return Cluster(family=family.name, variants=variants, nodes=nodes)


def profiles(family: Family, macs: dict[str, float], published: Published) -> tuple[Profile, ...]:
    """What each variant costs on a processor that is as fast as published."""
    lightest, heaviest = min(macs.values()), max(macs.values())
    found = []
    for model in family.models:
        position = math.log(macs[model.name] / lightest) / math.log(heaviest / lightest)
        item_s = SCALE / 1000 * published.light_ms ** (1 - position) * published.heavy_ms**position
        if model.precision == "int8":
            if published.heavy_int8_ms is None:
                continue
            item_s *= published.heavy_int8_ms / published.heavy_ms
        found.append(Profile(variant=model.name, latency_s={1: float(f"{item_s:.{DIGITS}g}")}))
    return tuple(found)


def multiply_accumulates(family: Family, model: Model) -> float:
    """Of the convolutions of one item. All of them keep the full size, so each weight is used once per pixel."""
    graph = onnx.load(str(family.path_of(model))).graph
    weights = sum(math.prod(tensor.dims) for tensor in graph.initializer if len(tensor.dims) == 4)
    assert model.size_px is not None
    return float(weights * model.size_px**2)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the shipped file instead of writing it")
    arguments = parser.parse_args()
    target: Path = demo_folder() / "boards.json"
    cluster = boards(load_family(demo_folder()))
    text = msgspec.json.format(msgspec.json.encode(without_defaults(cluster)), indent=1) + b"\n"
    if not arguments.check:
        target.write_bytes(text)
    elif target.read_bytes() != text:
        sys.exit(f"{target} is not what this script writes; run it without --check")


def without_defaults(cluster: Cluster) -> object:
    """The description as a person would write it: what has its default is left out."""
    return {
        "family": cluster.family,
        "variants": cluster.variants,
        "nodes": [
            {
                "name": node.name,
                "processors": [
                    {
                        "name": processor.name,
                        "profiles": [{"variant": p.variant, "latency_s": p.latency_s} for p in processor.profiles],
                    }
                    for processor in node.processors
                ],
            }
            for node in cluster.nodes
        ],
    }


if __name__ == "__main__":
    main()
