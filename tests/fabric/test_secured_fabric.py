"""A network secured by certificates: who is in hears everything of its cluster, who is not hears nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from equipoise.errors import NodeError
from equipoise.fabric.base import Verb
from equipoise.fabric.config import ZenohSettings, credentials_of
from equipoise.fabric.refusals import refusal_in
from equipoise.fabric.zenoh import ZenohFabric, ZenohHost
from equipoise.trust.authority import Authority
from equipoise.trust.membership import Membership
from tests.trust.clusters import DAY, authority_in, member_of_cluster

HEARD_S = 1.0  # how long an outsider listens; whoever is let in hears within milliseconds


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


async def echo(payload: bytes) -> bytes:
    return payload


def settings_for(membership: Membership, endpoint: str, *, dials: bool) -> ZenohSettings:
    return ZenohSettings(
        cluster="home",
        listen=() if dials else (endpoint,),
        connect=(endpoint,) if dials else (),
        credentials=credentials_of(membership, now()),
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return authority_in(tmp_path)


@pytest.fixture
async def endpoint(authority: Authority, tmp_path: Path) -> AsyncIterator[str]:
    """Where the node "pi" of the cluster listens."""
    async with serving(authority, tmp_path) as where:
        yield where


class serving:  # noqa: N801 - used as a context
    """The node "pi" of the cluster, and where it listens."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self._membership = member_of_cluster(authority, folder, "pi", now())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._endpoint = f"tls/127.0.0.1:{probe.getsockname()[1]}"

    async def __aenter__(self) -> str:
        self._host = await ZenohHost.open(settings_for(self._membership, self._endpoint, dials=False))
        await self._host.serve("pi", {Verb.INFER: echo})
        return self._endpoint

    async def __aexit__(self, *_: object) -> None:
        await self._host.close()


async def nodes_seen(settings: ZenohSettings, *, wait_for: int = 1) -> tuple[set[str], list[str]]:
    """The nodes that somebody with these settings gets to see, and why if it is alone."""
    fabric = await ZenohFabric.open(settings)
    seen: set[str] = set()
    enough = asyncio.Event()

    def on_change(node: str, here: bool) -> None:
        seen.add(node)
        if len(seen) >= wait_for:
            enough.set()

    fabric.watch(on_change)
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(enough.wait(), HEARD_S)
    why = await fabric.why_alone()
    await fabric.close()
    return seen, why


async def test_members_see_and_ask_each_other(endpoint: str, authority: Authority, tmp_path: Path):
    laptop = member_of_cluster(authority, tmp_path, "laptop", now())
    fabric = await ZenohFabric.open(settings_for(laptop, endpoint, dials=True))
    seen = asyncio.Event()
    fabric.watch(lambda node, here: seen.set())
    await asyncio.wait_for(seen.wait(), 30)

    assert await fabric.ask("pi", Verb.INFER, b"hello", timeout_s=30) == b"hello"
    assert await fabric.why_alone() == []
    await fabric.close()


async def test_a_member_reaches_only_the_keys_of_its_cluster(endpoint: str, authority: Authority, tmp_path: Path):
    laptop = member_of_cluster(authority, tmp_path, "laptop", now())

    seen, why = await nodes_seen(replace(settings_for(laptop, endpoint, dials=True), cluster="other"))

    assert (seen, why) == (set(), [])


Outsider = Callable[[Authority, Path, str], ZenohSettings]


def without_certificate(_authority: Authority, _folder: Path, endpoint: str) -> ZenohSettings:
    return ZenohSettings(cluster="home", connect=(endpoint,))


def without_encryption(_authority: Authority, _folder: Path, endpoint: str) -> ZenohSettings:
    return ZenohSettings(cluster="home", connect=(endpoint.replace("tls/", "tcp/"),))


def of_another_cluster(_authority: Authority, folder: Path, endpoint: str) -> ZenohSettings:
    foreign = member_of_cluster(authority_in(folder, "foreign"), folder, "mallory", now())
    return settings_for(foreign, endpoint, dials=True)


def foreign_but_trusting(authority: Authority, folder: Path, endpoint: str) -> ZenohSettings:
    """Of another cluster, but believing this one's authority: the handshake fails on the other side only."""
    settings = of_another_cluster(authority, folder, endpoint)
    assert settings.credentials is not None
    credentials = replace(settings.credentials, authority=authority.certificate_path)
    return replace(settings, credentials=credentials)


def expired(authority: Authority, folder: Path, endpoint: str) -> ZenohSettings:
    long_ago = now() - 91 * DAY
    return settings_for(member_of_cluster(authority, folder, "late", long_ago), endpoint, dials=True)


@pytest.mark.parametrize(
    ("outsider", "reason"),
    [
        (without_certificate, "secured cluster is there; join"),
        (without_encryption, "answers, but is of another cluster"),
        (of_another_cluster, "it is of another cluster"),
        (foreign_but_trusting, "it belongs to another one"),
        (expired, "refuses this machine's certificate as expired"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_an_outsider_sees_nothing_and_learns_why(
    endpoint: str, authority: Authority, tmp_path: Path, outsider: Outsider, reason: str
):
    seen, why = await nodes_seen(outsider(authority, tmp_path, endpoint))

    assert seen == set()
    assert len(why) == 1
    assert reason in why[0]


async def test_a_revoked_member_is_out_as_soon_as_others_know(authority: Authority, tmp_path: Path):
    mallory = member_of_cluster(authority, tmp_path, "mallory", now())
    async with serving(authority, tmp_path) as endpoint:
        before, _ = await nodes_seen(settings_for(mallory, endpoint, dials=True))
    authority.revoke("mallory", now())
    async with serving(authority, tmp_path) as endpoint:
        after, _ = await nodes_seen(settings_for(mallory, endpoint, dials=True))

    assert (before, after) == ({"pi"}, set())


async def test_nobody_there_is_told_as_that(authority: Authority, tmp_path: Path):
    laptop = member_of_cluster(authority, tmp_path, "laptop", now())

    _, why = await nodes_seen(settings_for(laptop, "tls/127.0.0.1:1", dials=True))
    assert why == ["tls/127.0.0.1:1: cannot be reached: Connection refused"]
    _, why = await nodes_seen(ZenohSettings(cluster="home", listen=("tcp/127.0.0.1:0",)))
    assert why == ["no other machine was named; on networks without multicast, name one with --connect"]


async def test_refusals_are_logged(authority: Authority, tmp_path: Path):
    pi = member_of_cluster(authority, tmp_path, "pi", now())
    code = (
        "import asyncio, logging, sys\n"
        "from equipoise.fabric.refusals import log_refusals\n"
        "log_refusals()\n"
        "logging.basicConfig(stream=sys.stderr, format='%(message)s')\n"
        "from tests.fabric.test_secured_fabric import serve_until_told\n"
        "asyncio.run(serve_until_told(sys.argv[1]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(pi.folder)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    endpoint = process.stdout.readline().strip()

    await nodes_seen(foreign_but_trusting(authority, tmp_path, endpoint))
    rest, log = process.communicate("")

    assert "refused a connection: invalid peer certificate: UnknownIssuer" in log
    assert (process.returncode, rest) == (0, ""), log


async def serve_until_told(folder: str) -> None:
    membership = Membership.load(Path(folder), now())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tls/127.0.0.1:{probe.getsockname()[1]}"
    host = await ZenohHost.open(settings_for(membership, endpoint, dials=False))
    print(endpoint, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await host.close()


def test_only_lines_about_refused_connections_are_taken_for_that():
    line = "\x1b[33m WARN\x1b[0m acc-0 \x1b[2mzenoh_link_tls::unicast\x1b[0m: received fatal alert: UnknownCA. Hint: x."

    assert refusal_in(line) == "received fatal alert: UnknownCA"
    assert refusal_in("something that the program prints") is None


async def test_a_message_that_is_too_large_is_an_error_of_the_asker(
    endpoint: str, authority: Authority, tmp_path: Path
):
    laptop = member_of_cluster(authority, tmp_path, "laptop", now())
    fabric = await ZenohFabric.open(settings_for(laptop, endpoint, dials=True))
    seen = asyncio.Event()
    fabric.watch(lambda node, here: seen.set())
    await asyncio.wait_for(seen.wait(), 30)

    with pytest.raises(NodeError, match="at most 268 MB"):
        await fabric.ask("pi", Verb.INFER, bytes(300_000_000), timeout_s=30)
    assert await fabric.ask("pi", Verb.INFER, b"hello", timeout_s=30) == b"hello"
    await fabric.close()
