"""What an idle node costs: memory, seconds until it is there, how often it wakes up; LitServe and Ray Serve beside it.

    python benchmarks/bench_node.py [ROUNDS]

A node without a model is what a board pays for being in a cluster. The others serve over HTTP on this machine, without
a model either, and are there when they answer the first request. They are started in turns, so that all meet the same
disturbances; figures are medians over the rounds. PSS is that of all processes which the start has left; what processes
share counts in equal parts. Wake-ups are those of all their threads; a node that finds others on this machine, of
whatever cluster, has a few more for each of them. `pip install 'equipoise[bench]'` installs the others; those that are
missing are named.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

import psutil
from sigterm import unwound_by_sigterm

BENCHMARKS = Path(__file__).parent
GOALS = {"pss_mib": 100.0, "ready_s": 2.0}
GIVE_UP_S = 120.0
LOOK_S = 0.01
WATCH_S = 5.0  # for wake-ups
SETTLE_S = 1.0  # after the first answer: until what was begun with it has ended, such as the survey of processors


@dataclass(frozen=True)
class Idle:
    """What one start came to."""

    ready_s: float
    pss_mib: float
    processes: int
    wakeups_per_s: float


class NotThereError(Exception):
    """A server ended, or took too long, before it was there."""


def equipoise_node(folder: Path) -> Idle:
    command = [sys.executable, "-m", "equipoise", "node", "--name", "idle", "--cluster-name", uuid.uuid4().hex]
    return measure(command, folder, lambda: b"Z ready" in said_in(folder).read_bytes())


def serving(script: str, path: str) -> Callable[[Path], Idle]:
    def measure_it(folder: Path) -> Idle:
        port = free_port()
        command = [sys.executable, str(BENCHMARKS / script), str(port)]
        return measure(command, folder, lambda: answers(f"http://127.0.0.1:{port}{path}"))

    return measure_it


SUBJECTS: dict[str, tuple[str, Callable[[Path], Idle]]] = {  # by name: the module that it needs, and how to measure it
    "equipoise node": ("equipoise", equipoise_node),
    "LitServe": ("litserve", serving("idle_litserve.py", "/predict")),
    "Ray Serve": ("ray.serve", serving("idle_ray_serve.py", "/")),
}


def measure(command: Sequence[str], folder: Path, is_there: Callable[[], bool]) -> Idle:
    with started(command, folder) as process:
        began_s = time.perf_counter()
        while not is_there():
            if process.poll() is not None or time.perf_counter() > began_s + GIVE_UP_S:
                last_words = said_in(folder).read_text(errors="replace").strip().splitlines()[-1:]
                raise NotThereError(f"{command[1:]} did not start: {''.join(last_words)}")
            time.sleep(LOOK_S)
        ready_s = time.perf_counter() - began_s
        time.sleep(SETTLE_S)
        family = tree_of(process)
        pss_mib = sum(one.memory_full_info().pss for one in family) / 2**20
        before = sum(map(wakeups, family))
        time.sleep(WATCH_S)
        return Idle(ready_s, pss_mib, len(family), (sum(map(wakeups, family)) - before) / WATCH_S)


@contextmanager
def started(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process; afterwards nothing is left of it and of what it has started."""
    environment = {"PYTHONPATH": str(BENCHMARKS.parent), "EQUIPOISE_DATA_DIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
    with said_in(folder).open("wb") as said:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    family = tree_of(process) if process.poll() is None else []
    assert process.stdin is not None
    process.stdin.close()
    process.terminate()
    _, left = psutil.wait_procs(family, timeout=10)
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def tree_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]


def wakeups(process: psutil.Process) -> int:
    """How often its threads have gone to sleep so far."""
    told = (thread.read_text() for thread in Path(f"/proc/{process.pid}/task").glob("*/status"))
    return sum(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in told)


def said_in(folder: Path) -> Path:
    return folder / "said.txt"


def answers(url: str) -> bool:
    request = urllib.request.Request(url, data=b'{"a": 1}', headers={"Content-Type": "application/json"})
    with suppress(OSError), urllib.request.urlopen(request, timeout=5):
        return True
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def median_of(starts: Sequence[Idle]) -> dict[str, float]:
    return {field.name: statistics.median(getattr(one, field.name) for one in starts) for field in fields(Idle)}


def main() -> None:
    unwound_by_sigterm()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    there = {name: measure_it for name, (module, measure_it) in SUBJECTS.items() if installed(module)}
    measured: dict[str, list[Idle]] = {name: [] for name in there}
    load_average = os.getloadavg()[0]
    for _ in range(rounds):
        for name, measure_it in there.items():
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                try:
                    measured[name].append(measure_it(Path(folder)))
                except NotThereError as reason:
                    print(f"{name}: {reason}", file=sys.stderr)
    print(f"idle, without a model, median of {rounds} (load average {load_average:.1f})")
    print(f"{'':16}{'ready':>9}{'PSS':>12}{'processes':>11}{'wake-ups':>12}")
    results = {}
    for name in SUBJECTS:
        if name not in there:
            print(f"{name:16}  not installed; pip install 'equipoise[bench]' has it")
        elif measured[name]:
            results[name] = median_of(measured[name])
            line = "{:16}{ready_s:7.2f} s{pss_mib:8.1f} MiB{processes:11.0f}{wakeups_per_s:10.1f}/s"
            print(line.format(name, **results[name]))
    if "equipoise node" not in results:
        raise SystemExit("the node never started")
    for field, goal in GOALS.items():
        if results["equipoise node"][field] > goal:
            print(f"the node misses the goal of {field} <= {goal:g}")
    Path("out").mkdir(exist_ok=True)
    written = {"rounds": rounds, "load_average": load_average, "results": results}
    Path("out/node.json").write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
