"""The live cluster as a description, for commands that plan, compare and simulate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from equipoise.cli.live import reach
from equipoise.cli.network import network_of
from equipoise.core.cluster import Cluster
from equipoise.errors import ClusterError
from equipoise.fabric.config import DEFAULT_CLUSTER, ZenohSettings
from equipoise.runtime.live import Seen, exported, see, usable_for


def live_cluster() -> Cluster:
    """This machine's own cluster as it is now, with items that take no time on the network.

    Raises ClusterError if nobody is there, or not for one family alone.
    """
    seen = asyncio.run(look(network_of(cluster=DEFAULT_CLUSTER), at_least=1))
    return described(seen, family=None, item_bytes=0)


async def look(network: ZenohSettings, at_least: int) -> tuple[Seen, ...]:
    """Who is there. Raises ClusterError if fewer than so many are after a while."""
    fabric, names = await reach(network, at_least=at_least)
    try:
        return await see(fabric, names)
    finally:
        await fabric.close()


def described(seen: Sequence[Seen], *, family: str | None, item_bytes: int) -> Cluster:
    """The nodes that are ready for a family, by its name or the only one, with items of this size on the network.

    Raises ClusterError if there is none, or if there are several.
    """
    found = {
        one.identity: one for node in seen if node.status for one in node.status.families
        if family in (None, one.name) and usable_for(one.identity, seen)
    }  # fmt: skip
    if len(found) != 1:
        names = ", ".join(sorted(one.name for one in found.values()))
        raise ClusterError(
            f"several families could be exported ({names}); choose one: `equipoise nodes --export FILE --family NAME`"
            if found
            else f"no node is ready for {f'family {family!r}' if family else 'any family'}; see `equipoise nodes`"
        )
    (chosen,) = found.values()
    return exported(chosen, seen, item_bytes=item_bytes)
