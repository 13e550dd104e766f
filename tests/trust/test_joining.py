"""Joining over a real connection: what goes over it, and who is turned away."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from equipoise.errors import TrustError
from equipoise.trust.authority import Authority
from equipoise.trust.invitation import Invitation
from equipoise.trust.joining import join, renew
from equipoise.trust.membership import Membership
from equipoise.trust.service import EnrolmentService
from tests.trust.clusters import authority_in, member_of_cluster


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


@asynccontextmanager
async def listening(authority: Authority) -> AsyncIterator[tuple[str, list[str]]]:
    """The authority's service, its address, and whom it has given certificates to."""
    issued: list[str] = []
    service = EnrolmentService(authority, now, issued.append)
    port = await service.start("127.0.0.1", 0)
    yield f"127.0.0.1:{port}", issued
    await service.close()


def invitation_at(authority: Authority, *addresses: str) -> Invitation:
    return msgspec.structs.replace(authority.invite(now()), addresses=addresses)


async def test_a_node_joins_and_renews_over_the_network(tmp_path: Path):
    authority = authority_in(tmp_path)
    async with listening(authority) as (address, issued):
        invitation = invitation_at(authority, "127.0.0.1:1", address)  # nobody listens at the first

        joined = await asyncio.to_thread(join, invitation, "pi-4", tmp_path / "pi", now())
        joined.addresses = (address,)
        renewed = await asyncio.to_thread(renew, joined, now())

    assert (joined.member.name, joined.cluster, issued) == ("pi-4", "home", ["pi-4", "pi-4"])
    assert renewed.member.common_name == joined.member.common_name
    assert renewed.member.serial != joined.member.serial
    assert renewed.certificate_path.stat().st_mode & 0o077 == 0


async def test_the_authority_must_be_the_one_that_invited(tmp_path: Path):
    inviting, listening_one = authority_in(tmp_path), authority_in(tmp_path, "other")
    async with listening(listening_one) as (address, issued):
        with pytest.raises(TrustError, match="another authority answers there"):
            await asyncio.to_thread(join, invitation_at(inviting, address), "pi", tmp_path / "pi", now())

    assert issued == []
    assert not (tmp_path / "pi").exists()


async def test_a_refusal_arrives_in_the_authoritys_words_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    authority = authority_in(tmp_path)
    async with listening(authority) as (address, _):
        wrong = msgspec.structs.replace(invitation_at(authority, address), secret=bytes(16))
        with caplog.at_level(logging.WARNING), pytest.raises(TrustError, match=r"refuses: .* no such invitation"):
            await asyncio.to_thread(join, wrong, "pi", tmp_path / "pi", now())

    assert "refused 127.0.0.1: this authority knows no such invitation" in caplog.text


async def test_a_revoked_or_foreign_member_cannot_renew(tmp_path: Path):
    authority, other = authority_in(tmp_path), authority_in(tmp_path, "other")
    revoked, foreign = (member_of_cluster(a, tmp_path, n, now()) for a, n in ((authority, "pi"), (other, "nano")))
    authority.revoke("pi", now())
    async with listening(authority) as (address, issued):
        revoked.addresses = foreign.addresses = (address,)
        with pytest.raises(TrustError, match="was revoked"):
            await asyncio.to_thread(renew, revoked, now())
        with pytest.raises(TrustError, match="not the cluster's authority"):
            await asyncio.to_thread(renew, foreign, now())

    assert issued == []


async def test_a_member_cannot_pass_for_the_authority(tmp_path: Path):
    authority = authority_in(tmp_path)
    member = member_of_cluster(authority, tmp_path, "mallory", now())
    victim = member_of_cluster(authority, tmp_path, "pi", now())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(member.certificate_path)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    victim.addresses = (f"127.0.0.1:{server.sockets[0].getsockname()[1]}",)

    with pytest.raises(TrustError, match="not the cluster's authority"):
        await asyncio.to_thread(renew, victim, now())
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("junk", [b"\xff\xff\xff\xff" + bytes(99), b"\0\0\0\x05hello", b"\0\0\0\1\xc1"])
async def test_junk_ends_its_own_connection_and_nothing_else(tmp_path: Path, junk: bytes):
    authority = authority_in(tmp_path)
    async with listening(authority) as (address, issued):
        await asyncio.to_thread(say, address, junk)
        await asyncio.to_thread(say, address, junk, tls=False)

        await asyncio.to_thread(join, invitation_at(authority, address), "pi", tmp_path / "pi", now())

    assert issued == ["pi"]


def say(address: str, junk: bytes, *, tls: bool = True) -> None:
    """Send it and wait until the other side hangs up."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=30) as plain:
        if not tls:
            plain.sendall(junk)
            while plain.recv(4096):
                pass
            return
        with context.wrap_socket(plain) as secured:
            secured.sendall(junk)
            assert secured.recv(4096) == b""


async def test_two_clusters_of_one_name_have_different_networks(tmp_path: Path):
    one = member_of_cluster(authority_in(tmp_path / "1"), tmp_path / "1", "pi", now())
    two = member_of_cluster(authority_in(tmp_path / "2"), tmp_path / "2", "pi", now())

    assert one.cluster == two.cluster
    assert one.network != two.network
    assert isinstance(Membership.load(one.folder, now()), Membership)
