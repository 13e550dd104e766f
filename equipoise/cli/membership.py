"""What commands do with this machine's membership of a cluster."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from equipoise.cli.network import network_of, now_utc
from equipoise.errors import TrustError, UsageError, reason_of
from equipoise.fabric.charter import exchange
from equipoise.trust.certificates import checked_name
from equipoise.trust.enrolment import DEFAULT_PORT
from equipoise.trust.folders import default_membership_folder, is_member
from equipoise.trust.invitation import Invitation, from_text
from equipoise.trust.joining import join
from equipoise.trust.membership import Membership

_SPREAD_S = 3.0  # for nodes to be found


def as_invitation(given: str) -> Invitation:
    """The invitation that this word, or the file of that name, is. Raises TrustError."""
    try:
        is_file = Path(given).is_file()
    except OSError:  # too long to be the name of a file
        is_file = False
    if not is_file:
        return from_text(given)
    try:
        return from_text(Path(given).read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise TrustError(f"{given}: cannot be read: {reason_of(error)}") from error


def join_cluster(invitation: Invitation, name: str | None) -> Membership:
    """This machine's membership, new, or as it is if it is in that very cluster already. Raises TrustError."""
    folder = default_membership_folder(os.environ)
    if is_member(folder):
        present = Membership.load(folder, now_utc())
        if present.fingerprint == invitation.fingerprint:
            return present
        raise TrustError(f"this machine is in cluster {present.cluster!r} already; to leave it, remove {folder}")
    return join(invitation, checked_name(name or platform.node()), folder, now_utc())


def listening_addresses(given: Sequence[str]) -> tuple[str, ...]:
    """As invitations name them: HOST:PORT. Without any given, all addresses of this machine but loopback's."""
    if given:
        return tuple(map(_with_port, given))
    found = tuple(f"{host}:{DEFAULT_PORT}" for host in _own_hosts())
    if not found:
        raise UsageError("this machine has no address that others could reach; name one with --address HOST")
    return found


def _with_port(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.endswith("]")):
        return address
    if address.endswith(":") or not address:
        raise UsageError(f"--address {address!r} must be HOST or HOST:PORT")
    return f"[{address}]:{DEFAULT_PORT}" if ":" in address and "[" not in address else f"{address}:{DEFAULT_PORT}"


def _own_hosts() -> Iterator[str]:
    for addresses in psutil.net_if_addrs().values():
        for entry in addresses:
            try:
                address = ipaddress.ip_address(entry.address)
            except ValueError:  # a hardware address, or one that is good on one interface only
                continue
            if not (address.is_loopback or address.is_link_local):
                yield f"[{address}]" if address.version == 6 else str(address)


async def spread(signed: bytes) -> dict[str, str | None]:
    """Tell a new charter to every node that is there; by node, why that failed, or None."""
    from equipoise.fabric.zenoh import ZenohFabric  # noqa: PLC0415 - takes a while to import

    membership = Membership.load(default_membership_folder(os.environ), now_utc())
    membership.learn(signed)
    fabric = await ZenohFabric.open(network_of(cluster=membership.network))
    try:
        present: set[str] = set()
        fabric.watch(lambda node, here: present.add(node) if here else present.discard(node))
        await asyncio.sleep(_SPREAD_S)
        return await exchange(fabric, membership, sorted(present))
    finally:
        await fabric.close()
