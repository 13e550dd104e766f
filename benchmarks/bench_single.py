"""What one item alone costs: milliseconds that it takes longer through a cluster on this machine than a direct call.

    python benchmarks/bench_single.py [--rounds 3] [--only equipoise]

Two processes, each pinned to a core, wait for items: as `equipoise node` under a coordinator, as gRPC servers, as Ray
actors. Over and over, one item is inferred by a direct call on the first core (read, prepared and inferred in a
process that waits for nothing else), twice in a row, and then asked for in each way, twice in a row; reported is how
much longer that takes. Whoever asks shares the two cores with those that answer.

    least, median, p90          of the first of two: others have worked before, so that models and code come from
                                memory, for the direct call, too
    again                       the median of the second of two, when they are in the caches

    equipoise                   from the plan to the receipt; the goal is a median of 2 ms
    equipoise, with planning    what `equipoise run` does once it has seen the nodes
    Zenoh alone                 a question of that size to a process that answers at once: of what `equipoise` takes
                                longer, the part that is the fabric's

Real images and models come from ../shared; without them the demo family's digits are used alone.
`pip install 'equipoise[bench]'` installs gRPC and Ray; what is missing is named. Figures go to out/single.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median

from bare_cores import BareCores, cases
from other_spreaders import SPREADERS
from plain_worker import Case
from rich.console import Console
from rich.table import Table
from sigterm import unwound_by_sigterm
from spreaders import Ask, Core
from zenoh_echo import zenoh_echo

from equipoise.engines.processors import usable_cpus

ALL = SPREADERS | {"Zenoh": ("zenoh", zenoh_echo)}
DIRECT, INFERS_NOTHING = "direct call", ("Zenoh alone",)
GOAL_MS = 2.0
ITEMS = 40  # of a case in a round
WARM_UP = 5  # items beforehand, that are not counted


@dataclass
class Measured:
    """Milliseconds that single items took; for all but the direct call, beyond it."""

    first_ms: list[float] = field(default_factory=list)
    again_ms: list[float] = field(default_factory=list)


Findings = dict[tuple[str, str], Measured]  # by variant and way


def measure(names: Sequence[str], rounds: int, todo: Sequence[Case], folder: Path, cores: Sequence[Core]) -> Findings:
    found: Findings = defaultdict(Measured)
    with closing(BareCores(cores)) as bare:
        for number in range(rounds):
            for turn in range(len(names)):
                name = names[(turn + number) % len(names)]
                with ALL[name][1](cores, todo, folder / name) as spreader:
                    for case, (way, ask) in product(todo, spreader.singles.items()):
                        compare(found, way, ask, case, bare)
    return found


def compare(found: Findings, way: str, ask: Ask, case: Case, bare: BareCores) -> None:
    direct, measured = found[case.variant, DIRECT], found[case.variant, way]
    for index in range(-WARM_UP, ITEMS):
        direct_ms = [bare.one_s(case, index) * 1e3 for _ in range(2)]
        took_ms = [ask(case, index) * 1e3 for _ in range(2)]
        if index < 0:
            continue
        base_ms = [0.0, 0.0] if way in INFERS_NOTHING else direct_ms
        for one, values_ms in ((direct, direct_ms), (measured, [t - b for t, b in zip(took_ms, base_ms, strict=True)])):
            one.first_ms.append(values_ms[0])
            one.again_ms.append(values_ms[1])


def show(found: Findings, console: Console) -> None:
    table = Table()
    for column in ("variant", "one item", "", "least", "median", "p90", "again"):
        table.add_column(column, justify="left" if column in ("variant", "one item") else "right", no_wrap=True)
    for (variant, way), measured in sorted(found.items(), key=lambda entry: direct_ms(found, entry[0][0])):
        first = sorted(measured.first_ms)
        figures = (first[0], median(first), first[int(0.9 * len(first))], median(measured.again_ms))
        sign = "" if way == DIRECT or way in INFERS_NOTHING else "+"
        table.add_row(variant, way, sign, *(f"{value:.2f} ms" for value in figures))
    console.print(table)


def direct_ms(found: Findings, variant: str) -> float:
    return median(found[variant, DIRECT].first_ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of every way with every case (default 3)")
    parser.add_argument("--only", choices=ALL, help="leave the others alone")
    options = parser.parse_args()
    if len(cpus := usable_cpus()[:2]) < 2:
        print("two cores are needed, and there is one: nothing was measured")
        return
    unwound_by_sigterm()
    wanted = [options.only] if options.only else list(ALL)
    names = [name for name in wanted if importlib.util.find_spec(ALL[name][0]) is not None]
    console = Console(width=None if sys.stdout.isatty() else 120)
    load_average = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        todo = cases(Path(folder))
        found = measure(names, options.rounds, todo, Path(folder), tuple(map(Core, cpus)))
    show(found, console)
    for name in set(wanted) - set(names):
        console.print(f"{name} is not installed; pip install 'equipoise\\[bench]' has it")
    for case in todo:
        median_ms = median(found[case.variant, "equipoise"].first_ms or [0.0])
        if median_ms > GOAL_MS:
            console.print(f"Missed: {case.variant} takes {median_ms:.2f} ms longer, more than {GOAL_MS:g} ms")
    Path("out").mkdir(exist_ok=True)
    ways = [{"variant": variant, "way": way, **vars(measured)} for (variant, way), measured in found.items()]
    results = {"rounds": options.rounds, "load_average": load_average, "ways": ways}
    Path("out/single.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
