"""Writes equipoise/lab/published/: the few published figures that the laboratory needs, out of the bulk tables.

    python tools/make_catalogue.py            # writes the files
    python tools/make_catalogue.py --check    # fails if the shipped files are not what this writes

The tables are ../shared/data/boards, which are not part of this repository; their README names every source and its
licence. Nothing is scaled or filled in: a pair of processor and variant that nobody published is left out. Two sets:

`ncnn`     all variants that were measured on the Odroid XU4, on ten boards
`tflite`   the MobileNets (v1, v2, v3) that no other one of their family beats in both time and accuracy on at least two
           of five processors, on six boards
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tomlkit
from tomlkit import TOMLDocument

FIGURES = Path(__file__).resolve().parents[2] / "shared" / "data" / "boards"
SHIPPED = Path(__file__).resolve().parents[1] / "equipoise" / "lab" / "published"
MLPERF = "TFLite 2.7.1 ruy [MLPerf v2.0 open]"
LICENCES = {  # of the source, as ../shared/data/boards/README.md has them
    "Tencent/ncnn@": "BSD-3-Clause",
    "Tencent/ncnn issue": "figures quoted from the text of an issue",
    "mlcommons/inference_results": "Apache-2.0",
    "pytorch/vision": "BSD-3-Clause",
    "huggingface/pytorch-image-models": "Apache-2.0",
    "osmr/imgclsmob": "MIT",
    "megvii-model/ShuffleNet-Series": "not stated; a figure quoted from its README",
    "BUG1989/caffe-int8-convert-tools": "BSD-3-Clause",
}

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Published:
    """A processor of a board, and where its figures are: columns `board`, `processor` and `runtime`."""

    board: str
    title: str
    name: str
    processor: str
    runtime: str


def published(board: str, title: str, **processors: tuple[str, str]) -> list[Published]:
    """The processors of one board."""
    return [Published(board, title, name, *where) for name, where in processors.items()]


NCNN = [
    *published(
        "odroid-xu4",
        "Odroid XU4",
        cpu=("cpu; 4x Cortex-A15 2.0 GHz + 4x Cortex-A7 1.3 GHz; 4 threads on big cores", "ncnn [issue 2022-08]"),
    ),
    *published(
        "raspberry-pi-4b",
        "Raspberry Pi 4B",
        cpu=("cpu; Cortex-A72 1.8 GHz; 4 threads on all cores", "ncnn [README 2023-06]"),
    ),
    *published(
        "jetson-nano",
        "Jetson Nano",
        cpu=("cpu; Cortex-A57 1.43 GHz; 4 threads on all cores", "ncnn [README 2022-01]"),
        gpu=("gpu; Maxwell 128 cores 921 MHz", "ncnn Vulkan [README 2022-01]"),
    ),
    *published(
        "raspberry-pi-3b-plus",
        "Raspberry Pi 3B+",
        cpu=("cpu; Cortex-A53 1.4 GHz; 4 threads on all cores", "ncnn [README 2023-06]"),
    ),
    *published(
        "raspberry-pi-zero-2w",
        "Raspberry Pi Zero 2 W",
        cpu=("cpu; Cortex-A53 1.0 GHz; 4 threads on all cores", "ncnn [README 2022-01]"),
    ),
    *published(
        "khadas-vim3",
        "Khadas VIM3",
        cpu=("cpu; 4x Cortex-A73 2.2 GHz + 2x Cortex-A53 1.8 GHz; 4 threads on big cores", "ncnn [README 2022-01]"),
        gpu=("gpu; Mali-G52 MP4", "ncnn Vulkan [README 2024-12]"),
    ),
    *published(
        "orange-pi-4-lts",
        "Orange Pi 4 LTS",
        big=("cpu; 2x Cortex-A72 1.8 GHz + 4x Cortex-A53 1.5 GHz; 2 threads on big cores", "ncnn [README 2023-05]"),
        little=(
            "cpu; 2x Cortex-A72 1.8 GHz + 4x Cortex-A53 1.5 GHz; 4 threads on little cores",
            "ncnn [README 2023-05]",
        ),
    ),
    *published(
        "tinker-board",
        "Tinker Board (RK3288-CG.W)",
        cpu=("cpu; 4x Cortex-A17 1.8 GHz; 4 threads on all cores", "ncnn [README 2022-01]"),
        gpu=("gpu; Mali-T764", "ncnn Vulkan [README 2022-04]"),
    ),
    *published(
        "banana-pi-m2-zero",
        "Banana Pi M2 Zero",
        cpu=("cpu; Cortex-A7 1.2 GHz; 4 threads on all cores", "ncnn [README 2022-01]"),
    ),
    *published(
        "radxa-zero-3w",
        "Radxa Zero 3W",
        cpu=("cpu; Cortex-A55 1.4 GHz; 4 threads on all cores", "ncnn [README 2024-01]"),
    ),
]
TFLITE = [
    *published("raspberry-pi-4b", "Raspberry Pi 4B", cpu=("cpu; 4x Cortex-A72 1.8 GHz", MLPERF)),
    *published(
        "odroid-n2-plus",
        "Odroid N2+",
        cpu=("cpu; 4x Cortex-A73 2.2 GHz + 2x Cortex-A53 1.9 GHz", MLPERF),
        gpu=("gpu; Mali-G52 MP6", "ArmNN 21.11 OpenCL [MLPerf v2.0 open]"),
    ),
    *published(
        "firefly-rk3399",
        "Firefly-RK3399",
        cpu=("cpu; 2x Cortex-A72 1.8 GHz + 4x Cortex-A53 1.4 GHz", "TFLite 2.5.0 ruy [MLPerf v1.1 open]"),
    ),
    *published("jetson-agx-xavier", "Jetson AGX Xavier", cpu=("cpu; 8x Carmel 2.27 GHz power mode 0", MLPERF)),
    *published("raspberry-pi-3b", "Raspberry Pi 3B", cpu=("cpu; 4x Cortex-A53 1.2 GHz", MLPERF)),
    *published(
        "jetson-agx-orin",
        "Jetson AGX Orin",
        cpu=("cpu; 12x Cortex-A78AE 2.2 GHz", "TFLite 2.7.1 ruy [MLPerf v2.1 open]"),
    ),
]
MOBILENETS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3")


def main() -> int:
    """Write the two files, or compare with them. Returns the exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="compare with the shipped files instead of writing them")
    check = options.parse_args().check
    if not FIGURES.exists():
        print(f"no published tables at {FIGURES}; they are not part of this repository", file=sys.stderr)
        return 1
    wrong = 0
    for name, document in catalogues():
        path, text = SHIPPED / f"{name}.toml", tomlkit.dumps(document)
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path} is not what the tables say; run this without --check", file=sys.stderr)
            wrong = 1
    return wrong


def catalogues() -> Iterator[tuple[str, TOMLDocument]]:
    """Both sets, by name."""
    accuracy = {name_of(row): row for row in table("accuracy.csv")}
    times = {source: figures(source) for source in (*NCNN, *TFLITE)}
    on_xu4 = set(times[NCNN[0]]) & set(accuracy)
    yield "ncnn", document("Image classification with ncnn, batch 1", NCNN, on_xu4, accuracy, times)
    ladders = set(on_fronts(accuracy, [times[source] for source in TFLITE[:5]]))
    yield "tflite", document("MobileNets with TensorFlow Lite and Arm NN, batch 1", TFLITE, ladders, accuracy, times)


def table(name: str) -> Rows:
    """The rows of one of the tables."""
    with (FIGURES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def name_of(row: dict[str, str]) -> str:
    """A variant's name; the input size only where the variant does not say it."""
    size = "" if row["input_px"] in row["variant"] or row["input_px"] == "224" else f"-{row['input_px']}"
    return f"{row['model']}-{row['variant']}{size}-{row['precision']}"


LATENCY = table("latency.csv") if FIGURES.exists() else []


def figures(source: Published) -> dict[str, dict[str, str]]:
    """Rows of one processor by variant."""
    wanted = (source.title, source.processor, source.runtime, "1")
    rows = [r for r in LATENCY if (r["board"], r["processor"], r["runtime"], r["batch"]) == wanted]
    return {name_of(row): row for row in rows}


def on_fronts(accuracy: dict[str, dict[str, str]], times: list[dict[str, dict[str, str]]]) -> Iterator[str]:
    """MobileNets that are undominated within their family on at least two of the processors."""
    for family in MOBILENETS:
        rungs = [v for v in accuracy if v.startswith(f"{family}-") and all(v in figures for figures in times)]
        fronts = [set(front(rungs, accuracy, figures)) for figures in times]
        yield from (v for v in rungs if sum(v in found for found in fronts) >= 2)


def front(rungs: Iterable[str], accuracy: dict[str, dict[str, str]], times: dict[str, dict[str, str]]) -> Iterator[str]:
    """Those that no other rung beats in both time and accuracy on one processor, fastest first."""
    best = 0.0
    for v in sorted(rungs, key=lambda v: (float(times[v]["latency_ms"]), -float(accuracy[v]["top1_pct"]))):
        if float(accuracy[v]["top1_pct"]) > best:
            best = float(accuracy[v]["top1_pct"])
            yield v


def document(
    title: str,
    sources: list[Published],
    chosen: set[str],
    accuracy: dict[str, dict[str, str]],
    times: dict[Published, dict[str, dict[str, str]]],
) -> TOMLDocument:
    """One set as it is shipped."""
    made = tomlkit.document()
    made.add(tomlkit.comment("Published figures, each with its source. Written by tools/make_catalogue.py."))
    made["title"], made["family"] = title, "imagenet"
    variants, boards = tomlkit.aot(), tomlkit.aot()
    for name in sorted(chosen, key=lambda v: (float(accuracy[v]["top1_pct"]), v)):
        variants.append(variant(name, accuracy[name]))
    for board in dict.fromkeys(source.board for source in sources):
        mine = [source for source in sources if source.board == board]
        boards.append(board_table(mine, chosen, times))
    made["variants"], made["boards"] = variants, boards
    return made


def variant(name: str, row: dict[str, str]) -> tomlkit.items.Table:
    """A variant with its accuracy and where that was published."""
    made = tomlkit.table()
    made["name"], made["accuracy"] = name, round(float(row["top1_pct"]) / 100, 7)
    made["accuracy_items"] = 50000 if "(50000)" in row["dataset"] else 5000
    source = row["source"].removeprefix("top1: ").split(" ; top5: ")[0]
    made["source"], made["licence"] = source, licence(source)
    return made


def board_table(sources: list[Published], chosen: set[str], times: dict) -> tomlkit.items.Table:
    """A board with the times of the chosen variants on its processors."""
    made, processors = tomlkit.table(), tomlkit.aot()
    made["name"], made["title"] = sources[0].board, sources[0].title
    for source in sources:
        one, item_ms = tomlkit.table(), tomlkit.table()
        rows = {v: row for v, row in times[source].items() if v in chosen}
        where = [row["source"] for row in rows.values()]
        one["name"], one["what"], one["runtime"] = source.name, source.processor, source.runtime
        one["source"], one["licence"] = joined(where), licence(where[0])
        for v in sorted(rows):
            item_ms[v] = float(rows[v]["latency_ms"])
        one["item_ms"] = item_ms
        processors.append(one)
    made["processors"] = processors
    return made


def joined(sources: list[str]) -> str:
    """One text for many figures: what they have in common, with the lines or the folders in which they stand."""
    lines = [re.search(r"^(.* )line (\d+)", source) for source in sources]
    if all(lines):
        numbers = sorted(int(found.group(2)) for found in lines if found)
        return f"{lines[0].group(1)}lines {numbers[0]} to {numbers[-1]}" if lines[0] else ""
    first = sorted(set(sources))
    if len(first) == 1:
        return first[0]
    parts = [source.split("/") for source in first]
    same = [step for step, *others in zip(*parts, strict=False) if all(step == other for other in others)]
    return "/".join([*same, "*"])


def licence(source: str) -> str:
    """Under which a figure was published."""
    return next(text for prefix, text in LICENCES.items() if prefix in source)


if __name__ == "__main__":
    sys.exit(main())
