"""What choosing shares and variants together is worth on published boards, against every other strategy.

    python benchmarks/bench_boards.py

For every three of ten boards, and 20 levels of each requirement, each strategy plans 2000 items. What a gain is, and
which levels are asked for, is defined in equipoise.lab (docs/paper.md). `best other` is the best of all
other strategies at each level, chosen in hindsight.

Latencies and accuracies are published ones, at batch 1, from ../shared/data/boards; nothing is scaled. A set stays
within one runtime; three boards run the variants that were measured on all three. Links, loads and energy are not in
these figures; processors of one board are taken to not disturb each other. Nothing is random.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from equipoise.core.cluster import Cluster, Node, Processor, Profile, Variant
from equipoise.lab.gains import BEST_OTHER, PAPER, Floats, accuracy_gain, best_of, statistics, throughput_gain
from equipoise.lab.grid import EXACT, LEVELS, OURS, Levels, reach
from equipoise.planning.fleet import Fleet
from equipoise.planning.strategies import STRATEGIES

FIGURES = Path(__file__).resolve().parents[2] / "shared" / "data" / "boards"
ITEMS = 2000  # so many that whole items do not matter

Key = tuple[str, str, str, str]  # model, variant, precision, input_px


@dataclass(frozen=True)
class Source:
    """Where the figures of a processor are: columns `processor` and `runtime` of latency.csv."""

    name: str
    processor: str
    runtime: str


Boards = dict[str, tuple[Source, ...]]

# All cores of a CPU or its big ones, with as many threads; GPUs where published.
NCNN: Boards = {
    "Odroid XU4": (
        Source(
            "cpu", "cpu; 4x Cortex-A15 2.0 GHz + 4x Cortex-A7 1.3 GHz; 4 threads on big cores", "ncnn [issue 2022-08]"
        ),
    ),
    "Raspberry Pi 4B": (Source("cpu", "cpu; Cortex-A72 1.8 GHz; 4 threads on all cores", "ncnn [README 2023-06]"),),
    "Jetson Nano": (
        Source("cpu", "cpu; Cortex-A57 1.43 GHz; 4 threads on all cores", "ncnn [README 2022-01]"),
        Source("gpu", "gpu; Maxwell 128 cores 921 MHz", "ncnn Vulkan [README 2022-01]"),
    ),
    "Raspberry Pi 3B+": (Source("cpu", "cpu; Cortex-A53 1.4 GHz; 4 threads on all cores", "ncnn [README 2023-06]"),),
    "Raspberry Pi Zero 2 W": (
        Source("cpu", "cpu; Cortex-A53 1.0 GHz; 4 threads on all cores", "ncnn [README 2022-01]"),
    ),
    "Khadas VIM3": (
        Source(
            "cpu", "cpu; 4x Cortex-A73 2.2 GHz + 2x Cortex-A53 1.8 GHz; 4 threads on big cores", "ncnn [README 2022-01]"
        ),
        Source("gpu", "gpu; Mali-G52 MP4", "ncnn Vulkan [README 2024-12]"),
    ),
    "Orange Pi 4 LTS": (
        Source(
            "big",
            "cpu; 2x Cortex-A72 1.8 GHz + 4x Cortex-A53 1.5 GHz; 2 threads on big cores",
            "ncnn [README 2023-05]",
        ),
        Source(
            "little",
            "cpu; 2x Cortex-A72 1.8 GHz + 4x Cortex-A53 1.5 GHz; 4 threads on little cores",
            "ncnn [README 2023-05]",
        ),
    ),
    "Tinker Board (RK3288-CG.W)": (
        Source("cpu", "cpu; 4x Cortex-A17 1.8 GHz; 4 threads on all cores", "ncnn [README 2022-01]"),
        Source("gpu", "gpu; Mali-T764", "ncnn Vulkan [README 2022-04]"),
    ),
    "Banana Pi M2 Zero": (Source("cpu", "cpu; Cortex-A7 1.2 GHz; 4 threads on all cores", "ncnn [README 2022-01]"),),
    "Radxa Zero 3W": (Source("cpu", "cpu; Cortex-A55 1.4 GHz; 4 threads on all cores", "ncnn [README 2024-01]"),),
}
MLPERF: Boards = {
    "Raspberry Pi 3B": (Source("cpu", "cpu; 4x Cortex-A53 1.2 GHz", "TFLite 2.7.1 ruy [MLPerf v2.0 open]"),),
    "Raspberry Pi 4B": (Source("cpu", "cpu; 4x Cortex-A72 1.8 GHz", "TFLite 2.7.1 ruy [MLPerf v2.0 open]"),),
    "Odroid N2+": (
        Source("cpu", "cpu; 4x Cortex-A73 2.2 GHz + 2x Cortex-A53 1.9 GHz", "TFLite 2.7.1 ruy [MLPerf v2.0 open]"),
    ),
    "Jetson AGX Xavier": (
        Source("cpu", "cpu; 8x Carmel 2.27 GHz power mode 0", "TFLite 2.7.1 ruy [MLPerf v2.0 open]"),
    ),
    "Jetson AGX Orin": (Source("cpu", "cpu; 12x Cortex-A78AE 2.2 GHz", "TFLite 2.7.1 ruy [MLPerf v2.1 open]"),),
}


def main() -> None:
    """Compare on both sets of boards, print tables and write out/bench_boards.json."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    console = Console(width=120)
    if not FIGURES.exists():
        console.print(f"skipped: no published boards at {FIGURES}; they are not part of this repository")
        return
    ncnn = compared(console, "Ten boards, ncnn", NCNN)
    mlperf = compared(console, "Five boards, TFLite 2.7.1, MobileNet and EfficientNet-Lite", MLPERF)
    out = Path("out") / "bench_boards.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(
        json.dumps(
            {"paper": PAPER._asdict(), "items": ITEMS, "levels": LEVELS, "ncnn": ncnn, "mlperf": mlperf}, indent=2
        )
    )
    console.print(f"figures in {out}")


# --- boards --------------------------------------------------------------------------------------------------------


def published() -> tuple[dict[Key, float], dict[tuple[str, Source], dict[Key, float]]]:
    """Accuracy per variant, as a fraction, and seconds per item of each variant by board and source."""
    with (FIGURES / "accuracy.csv").open(encoding="utf-8", newline="") as file:
        accuracy = {key_of(row): float(row["top1_pct"]) / 100 for row in csv.DictReader(file)}
    with (FIGURES / "latency.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["batch"] == "1" and key_of(row) in accuracy]
    wanted = {
        (board, s.processor, s.runtime): s for boards in (NCNN, MLPERF) for board, ss in boards.items() for s in ss
    }
    seconds: dict[tuple[str, Source], dict[Key, float]] = {}
    for row in rows:
        source = wanted.get((row["board"], row["processor"], row["runtime"]))
        if source is not None:
            seconds.setdefault((row["board"], source), {})[key_of(row)] = float(row["latency_ms"]) / 1000
    return accuracy, seconds


def key_of(row: dict[str, str]) -> Key:
    return row["model"], row["variant"], row["precision"], row["input_px"]


def triples(boards: Boards) -> Iterator[Cluster]:
    """Every three of the boards as a cluster, with the variants that were measured on all three."""
    accuracy, seconds = published()
    for three in itertools.combinations(boards, 3):
        measured = [set().union(*(seconds[board, source] for source in boards[board])) for board in three]
        shared = sorted(set.intersection(*measured))
        yield Cluster(
            family="imagenet",
            variants=tuple(Variant(name="-".join(key), accuracy=accuracy[key]) for key in shared),
            nodes=tuple(
                Node(
                    name=board,
                    processors=tuple(processor(s.name, shared, seconds[board, s]) for s in boards[board]),
                )
                for board in three
            ),
        )


def processor(name: str, variants: list[Key], item_s: dict[Key, float]) -> Processor:
    profiles = (Profile(variant="-".join(key), latency_s={1: item_s[key]}) for key in variants if key in item_s)
    return Processor(name=name, profiles=tuple(profiles))


# --- all clusters --------------------------------------------------------------------------------------------------


def compared(console: Console, title: str, boards: Boards) -> dict[str, Any]:
    """Gains over every strategy on every three of the boards, as a table and as figures."""
    started_s = time.perf_counter()
    names = [name for name in STRATEGIES if name != EXACT]
    rates: dict[str, list[Floats]] = {name: [] for name in names}
    accuracies: dict[str, list[Floats]] = {name: [] for name in names}
    clusters = list(triples(boards))
    for cluster in clusters:
        fleet = Fleet.of(cluster)
        levels = Levels.of(fleet, ITEMS)
        for name in names:
            found = reach(fleet, ITEMS, levels, name)
            rates[name].append(found.rates_per_s)
            accuracies[name].append(found.accuracies)
    throughput = gains({name: np.stack(rows) for name, rows in rates.items()}, throughput_gain)
    accuracy = gains({name: np.stack(rows) for name, rows in accuracies.items()}, accuracy_gain)
    variants = [len(cluster.variants) for cluster in clusters]
    console.print(table(f"{title}: {len(clusters)} clusters of three", throughput, accuracy))
    console.print(
        f"{min(variants)} to {max(variants)} variants; {time.perf_counter() - started_s:.0f} s. "
        f"The paper's averages: +{100 * PAPER.throughput:.2f} %, +{100 * PAPER.accuracy:.1f} points.\n"
    )
    return {
        "boards": list(boards),
        "clusters": len(clusters),
        "throughput_gain": throughput,
        "accuracy_gain": accuracy,
    }


def gains(values: dict[str, Floats], gain: Callable[[Floats, Floats], Floats]) -> dict[str, dict[str, Any]]:
    """Statistics of our gain over each other strategy and over the best of them; values are (clusters, LEVELS)."""
    ours, others = values[OURS], {name: theirs for name, theirs in values.items() if name != OURS}
    others[BEST_OTHER] = best_of(others)
    return {
        name: {
            **msgspec.structs.asdict(statistics(ours, theirs, gain(ours, theirs))),
            "ours_has_none": int(np.isnan(ours).sum()),
        }
        for name, theirs in others.items()
    }


def table(title: str, throughput: dict[str, dict[str, Any]], accuracy: dict[str, dict[str, Any]]) -> Table:
    made = Table(title=title, title_justify="left")
    made.add_column("gain over")
    for what, unit in (("throughput", "%"), ("accuracy", "points")):
        for heading in (f"{what}, {unit}\nmean", "\nmedian", "\nworst", "it has\nno plan"):
            made.add_column(heading, justify="right")
    for name, fast in throughput.items():
        cells = [cell for row, digits in ((fast, 2), (accuracy[name], 3)) for cell in cells_of(row, digits)]
        made.add_row(name, *cells)
    return made


def cells_of(row: dict[str, Any], digits: int) -> list[str]:
    shown = [f"{100 * row[key]:+.{digits}f}" if row["levels"] else "-" for key in ("mean", "median", "worst")]
    return [*shown, f"{100 * row['lacking']:.1f} %"]


if __name__ == "__main__":
    main()
