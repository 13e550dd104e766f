"""What a service manager hears, on real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from equipoise.node.notify import Supervisor


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """An address as NOTIFY_SOCKET has it, and the socket where what is told there arrives."""
    name = uuid.uuid4().hex
    address = str(tmp_path / name) if request.param == "path" else f"@{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(address.replace("@", "\0", 1) if request.param == "abstract" else address)
        wire.settimeout(30)
        yield address, wire


def test_it_hears_of_each_step_of_a_life(heard: tuple[str, socket.socket]) -> None:
    address, wire = heard
    supervisor = Supervisor.taken_from({"NOTIFY_SOCKET": address})

    supervisor.ready("node pi")
    supervisor.reloading()
    supervisor.stopping("going")

    assert wire.recv(4096) == b"READY=1\nSTATUS=node pi"
    reloading, since = wire.recv(4096).decode().split("\n")
    assert reloading == "RELOADING=1"
    assert int(since.removeprefix("MONOTONIC_USEC=")) > 0
    assert wire.recv(4096) == b"STOPPING=1\nSTATUS=going"


async def test_it_sees_signs_of_life_as_long_as_the_loop_goes_round(heard: tuple[str, socket.socket]) -> None:
    address, wire = heard
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid())}

    living = asyncio.create_task(Supervisor.taken_from(environment).live())
    signs = [await asyncio.to_thread(wire.recv, 4096) for _ in range(3)]
    living.cancel()

    assert signs == [b"WATCHDOG=1"] * 3
    assert environment == {}  # none of it is for the processes that this one starts


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "30000"}, {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}],
)
async def test_without_anybody_who_looks_no_sign_is_given(environment: dict[str, str]) -> None:
    await Supervisor.taken_from(environment).live()  # returns


async def test_the_watchdog_of_another_process_is_not_this_ones() -> None:
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"}

    assert Supervisor.taken_from(environment).watchdog_s is None


def test_a_service_manager_that_has_gone_does_not_stop_the_node(tmp_path: Path) -> None:
    Supervisor(address=str(tmp_path / "gone")).ready("node pi")
