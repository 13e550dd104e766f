"""Boards played by real processes over real Zenoh."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from grey_items import GreyItems, Kept

from equipoise.core.cluster import Cluster, Link, Node, Processor, Profile
from equipoise.core.family import Family
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.dispatch.commands import Outcome
from equipoise.dispatch.coordination import CachingPlanner
from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.errors import ConfigError, EmulationError, NodeUnreachableError
from equipoise.fabric.base import Fabric, Verb
from equipoise.fabric.messages import NodeStatus
from equipoise.families.identity import identity_of
from equipoise.families.manifest import load_family
from equipoise.runtime.coordinator import Hooks, Ran, run_request
from equipoise.runtime.emulation import EmulatedCluster
from equipoise.runtime.inputs import Items, find_items

FAMILY: list[str] = []  # the identity of the tiny family


@pytest.fixture(autouse=True)
def _family(tiny_family: Family) -> None:
    FAMILY.append(identity_of(tiny_family))


def boards(family: Family, item_s: float = 0.004, *, names: str = "abc", link: Link | None = None) -> Cluster:
    profiles = tuple(Profile(variant=variant, latency_s={1: item_s}) for variant in ("small", "large"))
    return Cluster(
        family=family.name,
        variants=family.described_variants(),
        nodes=tuple(
            Node(name=name, link=link or Link(), processors=(Processor(name="cpu", profiles=profiles),))
            for name in names
        ),
    )


async def run(
    cluster: Cluster, fabric: Fabric, items: Items, sink: Kept, hooks: Hooks | None = None, *, family: str = ""
) -> Ran:
    request = Request(items=len(items), requirement=Requirement(prefer=Prefer.LATENCY))
    order = random.Random(7).sample(range(len(items)), len(items))
    return await asyncio.wait_for(
        run_request(
            Dispatcher(request, cluster, order),
            cluster=cluster,
            family=family or FAMILY[-1],
            fabric=fabric,
            items=items,
            sink=sink,
            planner=CachingPlanner(),
            hooks=hooks,
        ),
        60,
    )


async def test_a_node_killed_in_the_middle_costs_no_answer(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family), Kept()
    async with EmulatedCluster(tiny_family, cluster) as emulated:
        killed: list[str] = []

        def kill(*_: object) -> None:
            if not killed and len(sink.answers) >= 60:
                killed.append("b")
                emulated.kill("b")

        ran = await run(cluster, emulated.fabric, GreyItems(300), sink, Hooks(on_step=kill))

    assert ran.finish.outcome is Outcome.ANSWERED
    assert ran.progress.resent > 0
    sink.assert_all_right(300)


async def test_a_node_that_slows_down_gets_less(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, names="ab"), Kept()
    async with EmulatedCluster(tiny_family, cluster) as emulated:
        emulated.set_speed("b", 0.2)
        ran = await run(cluster, emulated.fabric, GreyItems(300), sink)

    items = {
        share.pid.node: sum(s.items for s in ran.progress.shares if s.pid == share.pid) for share in ran.progress.shares
    }
    assert items["a"] > 2 * items["b"]
    sink.assert_all_right(300)


async def test_the_speed_of_a_node_that_is_gone_cannot_be_set(tiny_family: Family) -> None:
    async with EmulatedCluster(tiny_family, boards(tiny_family, names="a")) as emulated:
        emulated.kill("a")

        async def until_refused() -> None:
            while True:  # a process that is killed takes a moment to be gone
                emulated.set_speed("a", 0.5)
                await asyncio.sleep(0.01)

        with pytest.raises(NodeUnreachableError, match="'a'"):
            await asyncio.wait_for(until_refused(), 10)


async def test_a_speed_of_nought_is_refused(tiny_family: Family) -> None:
    async with EmulatedCluster(tiny_family, boards(tiny_family, names="a")) as emulated:
        with pytest.raises(ValueError, match="not 0"):
            emulated.set_speed("a", 0)


async def test_a_node_is_never_faster_than_described(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.01, names="a"), Kept()
    async with EmulatedCluster(tiny_family, cluster) as emulated:
        ran = await run(cluster, emulated.fabric, GreyItems(50), sink)

    progress = ran.progress
    assert progress.last_answer_s is not None
    assert progress.first_sent_s is not None
    assert progress.last_answer_s - progress.first_sent_s >= 50 * 0.01


async def test_a_link_delays(tiny_family: Family) -> None:
    cluster = boards(tiny_family, 0.001, names="a", link=Link(latency_s=0.2))
    async with EmulatedCluster(tiny_family, cluster) as emulated:
        ran = await run(cluster, emulated.fabric, GreyItems(1), Kept())

    assert ran.progress.last_answer_s is not None
    assert ran.progress.last_answer_s >= 0.2


async def test_nodes_describe_themselves_as_emulated(tiny_family: Family) -> None:
    cluster = boards(tiny_family, names="a")
    async with EmulatedCluster(tiny_family, cluster) as emulated:
        reply = await emulated.fabric.ask("a", Verb.DESCRIBE, b"", timeout_s=10)

    status = msgspec.msgpack.decode(reply, type=NodeStatus)
    (processor,) = cluster.node("a").processors
    assert status.families[0].profiles == {"cpu": processor.profiles}
    assert status.emulated


async def test_no_process_thread_or_file_is_left(tiny_family: Family) -> None:
    async def play_once() -> list[int]:
        async with EmulatedCluster(tiny_family, boards(tiny_family)) as emulated:
            await run(emulated.cluster, emulated.fabric, GreyItems(30), Kept())
            emulated.kill("a")
            return list(emulated.pids.values())

    await play_once()  # what libraries keep for the life of a process is made now
    before = _files_and_threads()
    pids = await play_once()

    assert not any(psutil.pid_exists(pid) for pid in pids)
    await asyncio.wait_for(_until_no_more_than(*before), 10)


async def _until_no_more_than(files: int, threads: int) -> None:
    while any(now > then for now, then in zip(_files_and_threads(), (files, threads), strict=True)):
        await asyncio.sleep(0.02)  # the network's own threads end in the background


def _files_and_threads() -> tuple[int, int]:
    ours = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    return psutil.Process().num_fds(), len(ours)


async def test_a_stopped_node_does_not_outlive_the_context(tiny_family: Family) -> None:
    async with EmulatedCluster(tiny_family, boards(tiny_family, names="a")) as emulated:
        pid = emulated.pids["a"]
        os.kill(pid, signal.SIGSTOP)
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            await asyncio.sleep(0.01)

    assert not psutil.pid_exists(pid)


async def test_a_variant_that_the_family_lacks_is_refused_before_anything_starts(tiny_family: Family) -> None:
    cluster = boards(tiny_family)
    strange = msgspec.structs.replace(
        cluster, variants=(*cluster.variants, msgspec.structs.replace(cluster.variants[0], name="huge"))
    )

    with pytest.raises(ConfigError, match="'huge', which family 'tiny' lacks; it has large, small"):
        EmulatedCluster(tiny_family, strange)


async def test_boards_that_are_described_for_another_family_are_not_played(tiny_family: Family) -> None:
    other = msgspec.structs.replace(boards(tiny_family), family="imagenet")

    with pytest.raises(ConfigError, match=r"describes what family 'imagenet' costs, but .* 'tiny'"):
        EmulatedCluster(tiny_family, other)


async def test_a_node_that_cannot_start_says_why(tiny_family: Family, tmp_path: Path) -> None:
    gone = msgspec.structs.replace(tiny_family, folder=tmp_path / "moved")

    with pytest.raises(EmulationError, match=r"node 'a' did not start: .*family\.toml"):
        async with EmulatedCluster(gone, boards(tiny_family, names="a")):
            pass


LADDER = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not LADDER.is_dir(), reason="needs the models and images of ../shared")
async def test_real_images_through_real_models_on_three_boards() -> None:
    family = load_family(LADDER / "models" / "imagenet-mobilenet-onnx")
    cluster = msgspec.json.decode((LADDER / "clusters" / "ladder-three-boards.json").read_bytes(), type=Cluster)
    images = sorted((LADDER / "images" / "nips17-imagenet-750" / "images").iterdir())[:64]
    sink = Kept()
    async with EmulatedCluster(family, cluster) as emulated:
        ran = await run(cluster, emulated.fabric, find_items(map(str, images)), sink, family=identity_of(family))

    assert ran.finish.outcome is Outcome.ANSWERED
    assert sorted(sink.answers) == list(range(64))
    assert all(answer.error is None for answer in sink.answers.values())


_ABANDONS_ITS_NODES = """
import asyncio, os, signal, sys
from pathlib import Path
import msgspec
from equipoise.core.cluster import Cluster
from equipoise.families.manifest import load_family
from equipoise.runtime.emulation import EmulatedCluster

async def main():
    cluster = msgspec.msgpack.decode(Path(sys.argv[2]).read_bytes(), type=Cluster)
    async with EmulatedCluster(load_family(Path(sys.argv[1])), cluster) as emulated:
        os.kill(emulated.pids["a"], signal.SIGSTOP)
        print(*emulated.pids.values(), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def test_nodes_do_not_outlive_a_coordinator_that_is_killed(tiny_family: Family, tmp_path: Path) -> None:
    description = tmp_path / "cluster.msgpack"
    description.write_bytes(msgspec.msgpack.encode(boards(tiny_family, names="ab")))
    arguments = [sys.executable, "-c", _ABANDONS_ITS_NODES, str(tiny_family.folder), str(description)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as coordinator:
        assert coordinator.stdout is not None
        pids = [int(pid) for pid in coordinator.stdout.readline().split()]
        coordinator.kill()
    give_up_s = time.monotonic() + 20
    while any(_runs(pid) for pid in pids) and time.monotonic() < give_up_s:
        time.sleep(0.02)

    assert len(pids) == 2
    assert not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
