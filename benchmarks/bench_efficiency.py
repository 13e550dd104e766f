"""What spreading costs: items/s of two nodes on this machine over what their cores do alone in a bare onnxruntime loop.

    python benchmarks/bench_efficiency.py [--rounds 3] [--only equipoise]

Two processes, each pinned to a core, do the work in four ways: as `equipoise node` under a coordinator, as gRPC servers
that get equal shares, as Ray actors that get equal shares, and as an ActorPool of Ray. Then again with the second core
at half its speed (a cgroup's quota; needs root), where equal shares are wrong. Right before each of them the bare loop
runs on both cores at the same time; what is reported is the ratio. All do the same work: the same items are read,
decoded and inferred, with the same batch and the same engine settings; Ray's workers are as nice as the others.
Coordinators share the two cores with their nodes.

    items/s    over the sum of both bare loops; the goal is 0.95 from 2 ms per item on
    CPU        seconds of processor time per item, coordinator and helpers included, over those of the bare loop:
               what disturbances by others change least

Real images and models come from ../shared; without them the demo family's digits are used alone, which are lighter than
the goal's. `pip install 'equipoise[bench]'` installs gRPC and Ray; what is missing is named. Figures go to
out/efficiency.json, every measurement with the load that the rest of the machine put on it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from bare_cores import BareCores, cases
from other_spreaders import SPREADERS
from plain_worker import Case, Rate
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sigterm import unwound_by_sigterm
from spreaders import REPOSITORY, Core, Spreader, Work

from equipoise.engines.processors import usable_cpus

sys.path.insert(0, str(REPOSITORY))
from tests.network import quota

GOAL, GOAL_FROM_S = 0.95, 0.002
BARE_S, SPREAD_S, CHUNK_S = 1.0, 4.0, 0.05


@dataclass
class Tally:
    """What was measured of one way with one case."""

    ratio: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    others_cores: list[float] = field(default_factory=list)  # that processes which are not ours kept busy


@dataclass(kw_only=True)
class Setting:
    """Two cores, and what was measured on them."""

    name: str
    cores: tuple[Core, ...]
    tallies: dict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))  # by way and variant
    item_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # by variant, on the first core

    def run(self, name: str, todo: Sequence[Case], bare: BareCores, data: Path) -> None:
        """One round of a spreader."""
        with SPREADERS[name][1](self.cores, todo, data / self.name) as spreader:
            for case in todo:
                for way in spreader.ways:
                    self._measure(spreader, way, case, bare)

    def _measure(self, spreader: Spreader, way: str, case: Case, bare: BareCores) -> None:
        rates = bare.rates(case, BARE_S)
        self.item_s[case.variant].append(1 / rates[0].items_per_s)
        together_per_s = sum(rate.items_per_s for rate in rates)
        cpu_item_s = statistics.fmean(rate.cpu_item_s for rate in rates)
        work = work_of(case, rates)
        spreader.ways[way](Work(case, work.chunk * len(self.cores), work.chunk))  # loads the variant and warms it up
        ours_s, everybody_s, began_s = our_cpu_s(bare), all_cpu_s(), time.monotonic()
        seconds = spreader.ways[way](work)
        ours_s, everybody_s, wall_s = our_cpu_s(bare) - ours_s, all_cpu_s() - everybody_s, time.monotonic() - began_s
        tally = self.tallies[way, case.variant]
        tally.ratio.append(work.count / seconds / together_per_s)
        tally.cpu.append(ours_s / work.count / cpu_item_s)
        tally.others_cores.append(max(0.0, everybody_s - ours_s) / wall_s)


def work_of(case: Case, rates: Sequence[Rate]) -> Work:
    """Some seconds of work in chunks of a sensible size, the same number of them for each core."""
    chunk = max(1, round(CHUNK_S * max(rate.items_per_s for rate in rates) / case.batch)) * case.batch
    chunks_per_core = max(1, round(SPREAD_S * statistics.fmean(rate.items_per_s for rate in rates) / chunk))
    return Work(case, chunks_per_core * chunk * len(rates), chunk)


def our_cpu_s(bare: BareCores) -> float:
    """Processor time of this process and of all that it has started, without the bare loops."""
    here = psutil.Process()
    bystanders = {process.pid for process in bare.processes}
    times = [one.cpu_times() for one in (here, *here.children(recursive=True)) if one.pid not in bystanders]
    return sum(one.user + one.system for one in times)


def all_cpu_s() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


@contextmanager
def settings(cpus: Sequence[int]) -> Iterator[list[Setting]]:
    with ExitStack() as groups:
        found = [Setting(name="equal cores", cores=tuple(map(Core, cpus)))]
        if (why_not := quota.missing()) is None:
            half = groups.enter_context(quota.quota())
            half.set(0.5)
            slowed = (Core(cpus[0]), Core(cpus[1], slow=half.add))
            found.append(Setting(name="second core at half speed", cores=slowed))
        else:
            print(f"Only with equal cores: slowing one {why_not}.")
        yield found


def measure(names: Sequence[str], rounds: int, todo: Sequence[Case], folder: Path, setting: Setting) -> None:
    bare = BareCores(setting.cores)
    try:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
            task = progress.add_task("", total=rounds * len(names))
            for number in range(rounds):
                for turn in range(len(names)):
                    name = names[(turn + number) % len(names)]
                    progress.update(task, description=f"{setting.name}, round {number + 1}: {name}")
                    setting.run(name, todo, bare, folder)
                    progress.advance(task)
    finally:
        bare.close()


def show(setting: Setting, console: Console) -> None:
    table = Table(title=setting.name, title_justify="left")
    for column in ("variant", "item", "spread by", "items/s", "low-high", "CPU"):
        table.add_column(column, justify="left" if column in ("variant", "spread by") else "right", no_wrap=True)
    for (way, variant), tally in sorted(setting.tallies.items(), key=lambda entry: item_ms(setting, entry[0][1])):
        table.add_row(
            variant,
            f"{item_ms(setting, variant):.2f} ms",
            way,
            f"{statistics.median(tally.ratio):.3f}",
            f"{min(tally.ratio):.2f}-{max(tally.ratio):.2f}",
            f"{statistics.median(tally.cpu):.2f}",
        )
    console.print(table)


def item_ms(setting: Setting, variant: str) -> float:
    return statistics.median(setting.item_s[variant]) * 1e3


def missed_goals(setting: Setting) -> Iterator[str]:
    for (way, variant), tally in setting.tallies.items():
        ratio = statistics.median(tally.ratio)
        if way == "equipoise" and ratio < GOAL and item_ms(setting, variant) >= GOAL_FROM_S * 1e3:
            yield f"{setting.name}, {variant}: {ratio:.3f} of the bare loops, below {GOAL}"


def written(setting: Setting) -> dict[str, Any]:
    return {
        "setting": setting.name,
        "item_s": {variant: statistics.median(values) for variant, values in setting.item_s.items()},
        "ways": [
            {"way": way, "variant": variant, **vars(tally), "median": median_of(tally)}
            for (way, variant), tally in setting.tallies.items()
        ],
    }


def median_of(tally: Tally) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in vars(tally).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of every way with every case (default 3)")
    parser.add_argument("--only", choices=SPREADERS, help="leave the others alone")
    options = parser.parse_args()
    if len(cpus := usable_cpus()[:2]) < 2:
        print("two cores are needed, and there is one: nothing was measured")
        return
    wanted = [options.only] if options.only else list(SPREADERS)
    names = [name for name in wanted if importlib.util.find_spec(SPREADERS[name][0]) is not None]
    unwound_by_sigterm()
    load_average = os.getloadavg()
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory() as folder, settings(cpus) as found:
        todo = cases(Path(folder))
        for setting in found:
            measure(names, options.rounds, todo, Path(folder), setting)
            show(setting, console)
    for name in set(wanted) - set(names):
        console.print(f"{name} is not installed; pip install 'equipoise\\[bench]' has it")
    busy = statistics.median(value for s in found for tally in s.tallies.values() for value in tally.others_cores)
    console.print(f"Other programs kept {busy:.1f} of {os.cpu_count()} cores busy (median).")
    for miss in (miss for setting in found for miss in missed_goals(setting)):
        console.print(f"Missed: {miss}")
    Path("out").mkdir(exist_ok=True)
    results = {"rounds": options.rounds, "load_average": load_average, "settings": [written(s) for s in found]}
    Path("out/efficiency.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
