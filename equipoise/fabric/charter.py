"""How a cluster's charter gets around: whoever meets tells the other what it knows, and both keep the newer one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from equipoise.errors import EquipoiseError
from equipoise.fabric.base import Fabric, Verb

if TYPE_CHECKING:
    from equipoise.trust.membership import Membership

_TIMEOUT_S = 5.0


async def exchange(fabric: Fabric, membership: Membership, nodes: Iterable[str]) -> dict[str, str | None]:
    """Tell these nodes this machine's charter and learn theirs; by node, why that failed, or None.

    `membership` has the newest of them all afterwards.
    """
    names = tuple(nodes)
    told = await asyncio.gather(*(_exchange_with(fabric, membership, name) for name in names))
    return dict(zip(names, told, strict=True))


async def _exchange_with(fabric: Fabric, membership: Membership, node: str) -> str | None:
    try:
        mine = await asyncio.to_thread(membership.signed_charter)
        theirs = await fabric.ask(node, Verb.CHARTER, mine, timeout_s=_TIMEOUT_S)
        await asyncio.to_thread(membership.learn, theirs)
    except EquipoiseError as error:
        return str(error)
    return None


async def answer(membership: Membership, theirs: bytes) -> bytes:
    """What a node answers to somebody's charter: the newer of both. Raises TrustError if it is not the authority's."""
    await asyncio.to_thread(membership.learn, theirs)
    return await asyncio.to_thread(membership.signed_charter)
