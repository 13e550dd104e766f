"""Waiting for invited nodes: the service runs until they have come, or their invitations have expired."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from equipoise.errors import EquipoiseError
from equipoise.trust.authority import Authority
from equipoise.trust.certificates import fingerprint
from equipoise.trust.invitation import secret_hash
from equipoise.trust.joining import serves_at
from equipoise.trust.service import Clock, EnrolmentService

_LOOK_S = 0.2

OnJoined = Callable[[str], None]  # a node's name


async def admit_invited(
    authority: Authority, secrets: Collection[bytes], port: int, clock: Clock, on_joined: OnJoined
) -> int:
    """How many of the invited came before their invitations expired.

    If another process of this machine is the authority's service already, that one admits them. Raises
    EquipoiseError if the port is taken by anything else.
    """
    hashes = {secret_hash(secret) for secret in secrets}
    service = EnrolmentService(authority, clock)
    try:
        await service.start(None, port)
    except EquipoiseError:
        if not await asyncio.to_thread(serves_at, f"127.0.0.1:{port}", fingerprint(authority.certificate)):
            raise
    try:
        return await _until_used(authority, hashes, clock, on_joined)
    finally:
        await service.close()


async def _until_used(authority: Authority, wanted: set[str], clock: Clock, on_joined: OnJoined) -> int:
    came: dict[str, str] = {}
    while True:
        ledger = await asyncio.to_thread(authority.ledger)
        used = {one.secret_sha256: one.used_by for one in ledger.invitations if one.used_by is not None}
        for secret in wanted & used.keys() - came.keys():
            came[secret] = used[secret]
            on_joined(used[secret])
        still_open = {one.secret_sha256 for one in ledger.open_invitations(clock())} & wanted
        if not still_open:
            return len(came)
        await asyncio.sleep(_LOOK_S)
