"""A node, and whoever coordinates request after request, hold after many of them what they held after a few."""

from __future__ import annotations

import asyncio
import gc
import heapq
import platform
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from nodes import real_cluster
from test_live_cluster import save_greys

from equipoise.cli.readiness import hand_out, until_ready
from equipoise.core.family import Family
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.fabric.config import ZenohSettings, settings_of
from equipoise.fabric.zenoh import ZenohFabric
from equipoise.families.identity import identity_of
from equipoise.families.preprocess import pack_array
from equipoise.node.live import LiveNode, LiveSettings
from equipoise.node.log import NodeLog
from equipoise.node.stock import StockSettings
from equipoise.runtime.admission import admit
from equipoise.runtime.execution import Job, execute
from equipoise.runtime.fitting import Fitting
from equipoise.runtime.live import cluster_of, find_nodes, see_for
from tests.held import held_by

REQUESTS = 10  # in each of three rounds
ITEMS = 24
HEAP_BYTES = 64 << 20


class Greys:
    """Item i is of class i % 4."""

    def __len__(self) -> int:
        return ITEMS

    def name(self, index: int) -> str:
        return str(index)

    def payload(self, index: int) -> bytes:
        return pack_array(np.full((8, 8, 3), 32 + 64 * (index % 4), dtype=np.uint8))


@pytest.fixture
async def network(tmp_path: Path, tiny_family: Family) -> AsyncIterator[ZenohSettings]:
    """That of a node in this very process, which has the family and has measured it."""
    network = settings_of(cluster=uuid.uuid4().hex)
    with (tmp_path / "log").open("w") as log:
        settings = LiveSettings(
            name="pi",
            network=network,
            data_folder=tmp_path / "data",
            families=(tiny_family.folder,),
            processors="cpu",
            stock=StockSettings(folder=tmp_path / "stock"),
        )
        node = LiveNode(settings=settings, log=NodeLog(log))
        await node.start()
        yield network
        await node.close()


@asynccontextmanager
async def coordinator(network: ZenohSettings, family: Family) -> AsyncIterator[ZenohFabric]:
    """A client as `equipoise run` is one, which hands out the family while it is there."""
    fabric = await ZenohFabric.open(network)
    handing_out = await hand_out(fabric, family)
    yield fabric
    await handing_out.close()
    await fabric.close()


async def run(fabric: ZenohFabric, family: Family, *, given_up: bool = False) -> None:
    """A request that ends with every answer, or one that is given up at its beginning."""
    items, fitting = Greys(), Fitting.measured(family, [Greys().payload(0)])
    await find_nodes(fabric, within_s=30.0)
    names = await until_ready(fabric, identity_of(family), at_least=1, say=lambda text: None)
    cluster, conditions = cluster_of(await see_for(fabric, names, fitting), fitting)
    request = Request(items=ITEMS, requirement=Requirement(prefer=Prefer.LATENCY))
    plan = admit(request, cluster, conditions=conditions)
    job = Job(request=request, plan=plan, family=family, cluster=cluster, items=items, conditions=conditions)
    running = asyncio.ensure_future(execute(job, fabric, fitting=fitting))
    if given_up:
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running})
    else:
        assert (await running).receipt.answered == ITEMS


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other heaps")
def test_all_threads_of_a_node_share_one_heap(tmp_path: Path, tiny_family: Family):
    save_greys(tmp_path / "grey.npy", ITEMS)
    with real_cluster(tmp_path) as cluster:
        node = cluster.start("pi", "--family", str(tiny_family.folder), "--processors", "cpu")
        node.until("profiled")
        code, _, complaints = cluster.run("run", "grey.npy", "--family", str(tiny_family.folder), "--cluster", "live")
        heaps = heaps_of_threads(node.pid)

    assert (code, complaints) == (0, "")
    assert heaps == []


def heaps_of_threads(pid: int) -> list[str]:
    """The areas of memory that are glibc's heaps besides the first: 64 MiB from a multiple of that on, of which what is
    not yet used is not accessible. Other areas begin there by chance, but do not go on like that.
    """
    areas = Path(f"/proc/{pid}/maps").read_text().splitlines()
    ranges = [tuple(int(end, 16) for end in area.split()[0].split("-")) for area in areas]
    reserved = {begin: end for (begin, end), area in zip(ranges, areas, strict=True) if " ---p " in area}
    return [
        area
        for (begin, end), area in zip(ranges, areas, strict=True)
        if " rw-p " in area and begin % HEAP_BYTES == 0 and reserved.get(end) == begin + HEAP_BYTES
    ]


def everything() -> Counter[str]:
    """What this process has: objects by type, threads, open files.

    Without timers that were cancelled: until a hundred have gathered, the event loop keeps them with all they hold.
    """
    timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    timers[:] = [timer for timer in timers if not timer.cancelled()]
    heapq.heapify(timers)
    gc.collect()
    found = held_by(*gc.get_objects())
    found["threads"] = threading.active_count()
    found["files"] = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return found


async def test_coordinators_that_come_and_go_leave_nothing_behind(network: ZenohSettings, tiny_family: Family):
    rounds = []
    for _ in range(3):
        for number in range(REQUESTS):
            async with coordinator(network, tiny_family) as fabric:
                await run(fabric, tiny_family, given_up=number % 3 == 2)
        rounds.append(everything())

    assert grown(*rounds) == {}


async def test_a_coordinator_that_stays_does_not_grow(network: ZenohSettings, tiny_family: Family):
    rounds = []
    async with coordinator(network, tiny_family) as fabric:
        for _ in range(3):
            for number in range(REQUESTS):
                await run(fabric, tiny_family, given_up=number % 3 == 2)
            rounds.append(everything())

    assert grown(*rounds) == {}


def grown(first: Counter[str], second: Counter[str], third: Counter[str]) -> dict[str, tuple[int, int]]:
    """Of what there is more after every round, by one for each request at least: what only fills up is not among it."""
    steps = {what: (second[what] - first[what], third[what] - second[what]) for what in third}
    return {what: step for what, step in steps.items() if min(step) >= REQUESTS}
