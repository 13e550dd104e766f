"""Who may be reached by whom: the settings that a session of the network is opened with."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from equipoise.errors import UsageError
from equipoise.fabric.base import Verb
from equipoise.fabric.config import Credentials, settings_of
from equipoise.fabric.zenoh import ZenohFabric, ZenohHost


async def test_processes_of_one_machine_find_each_other_without_any_address() -> None:
    settings = settings_of(cluster=f"test-{uuid.uuid4().hex}")
    host = await ZenohHost.open(settings)
    fabric = await ZenohFabric.open(settings)
    seen = asyncio.Event()
    fabric.watch(lambda node, here: seen.set() if (node, here) == ("pi", True) else None)

    async def answer(payload: bytes) -> bytes:
        return payload + b"!"

    await host.serve("pi", {Verb.INFER: answer})
    await asyncio.wait_for(seen.wait(), 30)

    assert await fabric.ask("pi", Verb.INFER, b"hello", timeout_s=10) == b"hello!"
    await fabric.close()
    await host.close()


def test_unless_told_otherwise_a_cluster_stays_on_this_machine() -> None:
    settings = settings_of()

    assert (settings.listen, settings.scouting) == (("tcp/127.0.0.1:0",), "lo")
    assert not settings.open_to_anybody


@pytest.mark.parametrize("addresses", [{"listen": ["tcp/0.0.0.0:7447"]}, {"connect": ["tcp/192.168.1.4:7447"]}])
def test_an_open_cluster_beyond_this_machine_has_to_be_asked_for(addresses: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match="--insecure"):
        settings_of(**addresses)  # type: ignore[arg-type]

    assert settings_of(insecure=True, **addresses).open_to_anybody  # type: ignore[arg-type]


def test_loopback_addresses_need_no_permission() -> None:
    settings = settings_of(listen=["tcp/127.0.0.1:7447", "tcp/[::1]:7447"], connect=["tcp/localhost:7448"])

    assert not settings.open_to_anybody
    assert settings.scouting is None  # of two peers one dials


def test_certificates_close_a_cluster_that_is_on_the_network() -> None:
    mine = Credentials(
        authority=Path("ca.pem"), certificate=Path("pi.pem"), private_key=Path("pi.key"), admitted=("member-000",)
    )

    settings = settings_of(credentials=mine)

    assert settings.listen == ("tls/0.0.0.0:0",)
    assert not settings.open_to_anybody
    assert '"enable_mtls":true' in str(settings.config().get_json("transport/link/tls"))
