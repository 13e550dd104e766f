"""Who is lost is gone at once, whatever is being sent to him; and found again without waiting to be asked."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from equipoise.errors import NodeUnreachableError
from equipoise.fabric.base import Verb
from equipoise.fabric.config import LOOPBACK_INTERFACE, ZenohSettings
from equipoise.fabric.presence import Presence
from equipoise.fabric.zenoh import ZenohFabric, ZenohHost

NODE = """
import asyncio, sys
from tests.fabric.test_lost_and_found import serve_for_ever

asyncio.run(serve_for_ever(cluster=sys.argv[1], port=int(sys.argv[2]), stays=sys.argv[3] == "stays"))
"""
REPOSITORY = Path(__file__).parents[2]
MANY_BYTES = 30_000_000  # more than what the buffers on the way take
PATIENCE_S = 12  # with what cannot be sent

Start = Callable[[str], subprocess.Popen[bytes]]


@dataclass(frozen=True, kw_only=True)
class Settings(ZenohSettings):
    """Of a session that is patient with what it cannot send, and asks on a port of its own who is there."""

    port: int
    dials: bool = True  # whom it finds by multicast

    def config(self) -> Any:
        config = super().config()
        config.insert_json5("transport/link/tx/queue/congestion_control/block/wait_before_close", f"{PATIENCE_S}000000")
        config.insert_json5("scouting/multicast/address", f'"224.0.0.224:{self.port}"')
        if not self.dials:
            config.insert_json5("scouting/multicast/autoconnect", "[]")
        return config


def settings(cluster: str, port: int, *, dials: bool = True, stays: bool = False) -> Settings:
    return Settings(
        cluster=cluster,
        port=port,
        dials=dials,
        stays=stays,
        listen=("tcp/127.0.0.1:0",),
        scouting=LOOPBACK_INTERFACE,
        gossip=True,
        lease_s=1.0,
    )


async def serve_for_ever(cluster: str, port: int, *, stays: bool) -> None:
    async def answer(_payload: bytes) -> bytes:
        return b"here"

    host = await ZenohHost.open(settings(cluster, port, stays=stays))
    await host.serve("pi", {Verb.PING: answer})
    await asyncio.Event().wait()


@pytest.fixture
def cluster() -> str:
    """A name that no other test run uses."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def port() -> int:
    """For multicast; nobody else listens there."""
    return random.SystemRandom().randint(20_000, 30_000)


@pytest.fixture
def start(cluster: str, port: int) -> Iterator[Start]:
    """Starts a node, which is gone afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def start_node(kind: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", NODE, cluster, str(port), kind]
        started.append(subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}))
        return started[-1]

    yield start_node
    for node in started:
        node.kill()
        node.wait()


async def until_there(fabric: ZenohFabric) -> None:
    there = asyncio.Event()
    stop = fabric.watch(lambda name, here: there.set() if here else None)
    await asyncio.wait_for(there.wait(), 60)
    stop()


async def until_gone(fabric: ZenohFabric) -> None:
    gone = asyncio.Event()
    stop = fabric.watch(lambda name, here: None if here else gone.set())
    await asyncio.wait_for(gone.wait(), 60)
    stop()


async def test_a_frozen_node_is_gone_although_what_it_is_sent_is_stuck_on_the_way(
    cluster: str, port: int, start: Start
) -> None:
    fabric = await ZenohFabric.open(settings(cluster, port))
    node = start("comes and goes")
    await until_there(fabric)

    node.send_signal(signal.SIGSTOP)
    ask = asyncio.create_task(fabric.ask("pi", Verb.PING, bytes(MANY_BYTES), timeout_s=600))
    await asyncio.wait_for(until_gone(fabric), PATIENCE_S / 2)

    with pytest.raises(NodeUnreachableError):
        await asyncio.wait_for(ask, 10)
    node.kill()
    await fabric.close()


async def test_a_node_that_is_there_again_is_found_without_waiting_for_either_to_ask(
    cluster: str, port: int, start: Start
) -> None:
    fabric = await ZenohFabric.open(settings(cluster, port, dials=False))
    node = start("comes and goes")  # which is why it dials
    await until_there(fabric)
    node.kill()
    await until_gone(fabric)

    start("stays")  # and waits to be dialled

    await until_there(fabric)
    assert await fabric.ask("pi", Verb.PING, b"", timeout_s=60) == b"here"
    await fabric.close()


def test_who_is_out_of_reach_is_missing_until_he_is_back():
    presence, seen = Presence(), []
    presence.watch(lambda *change: seen.append(change))
    presence.change_instance("pi", "1-a", True)
    presence.change_instance("nano", "2-b", True)

    presence.lose(lambda instance: instance.endswith("-a"))

    assert presence.is_anybody_missing()
    presence.change_instance("pi", "1-a", False)  # its token goes later
    presence.change_instance("pi", "1-a", True)
    assert not presence.is_anybody_missing()
    assert seen == [("pi", True), ("nano", True), ("pi", False), ("pi", True)]


def test_who_leaves_is_not_missing():
    presence = Presence()
    presence.change_instance("pi", "1-a", True)

    presence.change_instance("pi", "1-a", False)
    presence.lose(lambda instance: True)

    assert not presence.is_anybody_missing()
