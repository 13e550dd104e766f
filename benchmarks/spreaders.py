"""What it takes to spread items over the cores of this machine, and equipoise's way to.

For bench_efficiency.py and bench_single.py. Every core has a process of its own that is pinned to it; whoever spreads
runs where the system puts it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from plain_worker import Case

from equipoise.cli.access import samples_of
from equipoise.cli.loop import Loop
from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.fabric.config import settings_of
from equipoise.fabric.zenoh import ZenohFabric
from equipoise.families.identity import identity_of
from equipoise.runtime.admission import admit
from equipoise.runtime.execution import Job, execute
from equipoise.runtime.fitting import Fitting
from equipoise.runtime.live import cluster_of, find_nodes, see_for, usable_for

REPOSITORY = Path(__file__).resolve().parents[1]
READY_S = 300.0  # until a node has measured every variant of the families


@dataclass(frozen=True)
class Core:
    """A CPU, and what slows it: who is told of a process keeps it to a part of the core."""

    cpu: int
    slow: Callable[[int], None] | None = None

    def take(self, pid: int) -> None:
        """Have a process, with all its threads, run here and nowhere else."""
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {self.cpu})
        if self.slow is not None:
            self.slow(pid)


@dataclass(frozen=True)
class Work:
    """So many items of a case; `chunk` is how many go into one call, for those who have to be told."""

    case: Case
    count: int
    chunk: int


Ask = Callable[[Case, int], float]  # for one item on its own, by its index: seconds until it is answered


class Spreader(Protocol):
    """A cluster that is up."""

    @property
    def ways(self) -> Mapping[str, Callable[[Work], float]]:
        """By name: does the work, and returns the seconds that took."""

    @property
    def singles(self) -> Mapping[str, Ask]:
        """By name: how it is asked for one item."""


class Repeated:
    """Some items of a case, over and over."""

    def __init__(self, case: Case, first: int, count: int) -> None:
        self._case, self._first, self._count = case, first, count

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return f"{index}"

    def payload(self, index: int) -> bytes:
        return self._case.payload(self._first + index)


class EquipoiseNodes:
    """`equipoise node` on every core; the coordinator is what `equipoise run --cluster live` has inside."""

    def __init__(self, loop: Loop, fabric: ZenohFabric, nodes: Sequence[str]) -> None:
        self._loop, self._fabric, self._nodes = loop, fabric, nodes
        self._known: dict[Case, tuple[Cluster, Conditions, Fitting]] = {}

    @property
    def ways(self) -> Mapping[str, Callable[[Work], float]]:
        return {"equipoise": lambda work: self._executed(work.case, self._planned(work.case, 0, work.count))}

    @property
    def singles(self) -> Mapping[str, Ask]:
        return {"equipoise": self._one, "equipoise, with planning": self._one_with_planning}

    def _one(self, case: Case, index: int) -> float:
        job = self._planned(case, index, 1)
        return seconds_of(lambda: self._executed(case, job))

    def _one_with_planning(self, case: Case, index: int) -> float:
        return seconds_of(lambda: self._executed(case, self._planned(case, index, 1)))

    def meet(self, case: Case) -> None:
        """Ask the nodes what the case costs them, and wait until they know."""
        items, identity = Repeated(case, 0, len(case.items)), identity_of(case.family)
        fitting, give_up_s = Fitting.measured(case.family, samples_of(items)), time.monotonic() + READY_S
        while True:
            seen = self._loop.run(see_for(self._fabric, self._nodes, fitting))
            if len(usable_for(identity, seen)) == len(self._nodes):
                break
            if time.monotonic() > give_up_s:
                raise SystemExit(f"the nodes have not measured {case.variant} within {READY_S:g} s")
            time.sleep(0.2)
        cluster, conditions = cluster_of(seen, fitting)
        self._known[case] = only(cluster, case), conditions, fitting

    def _planned(self, case: Case, first: int, count: int) -> Job:
        cluster, conditions, _ = self._known[case]
        request = Request(items=count, requirement=Requirement(prefer=Prefer.LATENCY))
        return Job(
            request=request,
            plan=admit(request, cluster, conditions=conditions),
            family=case.family,
            cluster=cluster,
            items=Repeated(case, first, count),
            conditions=conditions,
        )

    def _executed(self, case: Case, job: Job) -> float:
        _, _, fitting = self._known[case]
        receipt = self._loop.run(execute(job, self._fabric, fitting=fitting)).receipt
        if receipt.answered != len(job.items):
            raise SystemExit(f"only {receipt.answered} of {len(job.items)} items were answered")
        return receipt.latency_s


def only(cluster: Cluster, case: Case) -> Cluster:
    """The cluster with nothing to choose: one variant, one batch size."""
    replace = msgspec.structs.replace
    variants = tuple(variant for variant in cluster.variants if variant.name == case.variant)
    nodes = []
    for node in cluster.nodes:
        processors = []
        for processor in node.processors:
            (profile,) = (p for p in processor.profiles if p.variant == case.variant)
            known = min(case.batch, max(profile.latency_s))
            call_s = profile.call_s(known) / known * case.batch  # beyond what was measured an item costs the same
            alone = replace(profile, latency_s={case.batch: call_s}, latency_stddev_s={})
            processors.append(replace(processor, profiles=(alone,)))
        nodes.append(replace(node, processors=tuple(processors)))
    return replace(cluster, variants=variants, nodes=tuple(nodes))


@contextmanager
def equipoise_nodes(cores: Sequence[Core], cases: Sequence[Case], data: Path) -> Iterator[Spreader]:
    cluster = uuid.uuid4().hex
    families = [argument for folder in {case.folder: None for case in cases} for argument in ("--family", str(folder))]
    with ExitStack() as until_done, Loop() as loop:
        for number, core in enumerate(cores):
            command = [sys.executable, "-m", "equipoise", "node", "--name", f"core-{number}", "--processors", "cpu"]
            mine = {"EQUIPOISE_DATA_DIR": str(data / f"core-{number}")}
            until_done.enter_context(running([*command, "--cluster-name", cluster, *families], core, mine))
        fabric = loop.run(ZenohFabric.open(settings_of(cluster=cluster)))
        try:
            nodes = loop.run(find_nodes(fabric, at_least=len(cores), within_s=30.0))
            if len(nodes) != len(cores):
                raise SystemExit(f"of {len(cores)} nodes only these are there: {', '.join(nodes)}")
            spreader = EquipoiseNodes(loop, fabric, nodes)
            for case in cases:
                spreader.meet(case)
            yield spreader
        finally:
            loop.run(fabric.close())


@contextmanager
def running(command: Sequence[str], core: Core, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """A process on a core, until the end of the context; its standard input ends then, too."""
    here = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": here} | (environment or {})
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            core.take(process.pid)
            yield
        finally:
            process.terminate()


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
