"""Whoever runs a request hands out the family's files meanwhile, and waits for nodes that are getting ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console

from equipoise.core.family import Family
from equipoise.fabric.messages import DescribeMessage, NodeStatus
from equipoise.fabric.zenoh import ZenohFabric, ZenohHost
from equipoise.models.description import describe
from equipoise.models.shelf import Shelf
from equipoise.runtime.live import ask_status, is_ready, status_of

_LOOK_AGAIN_S = 0.3
_HEAR_S = 5.0  # what a node that fetches may take to learn that somebody hands a family out

Say = Callable[[str], None]


async def hand_out(fabric: ZenohFabric, family: Family) -> ZenohHost:
    """Let nodes have the family's files from this process; to be closed before the fabric."""
    shelf = Shelf()
    with suppress(ValueError):  # an ending that no engine has, which nodes could do nothing with
        shelf.put(family, await asyncio.to_thread(describe, family))
    host = fabric.holder_host()
    await host.serve(f"client-{fabric.identity}", shelf.handlers)
    return host


async def until_ready(fabric: ZenohFabric, identity: str, *, at_least: int, say: Say) -> tuple[str, ...]:
    """The names of the nodes that are there, once `at_least` so many have all of a family, or no more will soon.

    `say` is told from time to time what is waited for.
    """
    loop = asyncio.get_running_loop()
    heard_s = loop.time() + _HEAR_S
    while True:
        names = tuple(sorted(await fabric.look()))
        told = [
            s
            for s in await asyncio.gather(
                *(ask_status(fabric, name, DescribeMessage(family=identity)) for name in names)
            )
            if s
        ]
        awaited = [said for status in told if (said := _awaited(status, identity, adopting=loop.time() < heard_s))]
        complete = [s for s in told if is_ready(s, identity) and not s.draining and not getting_ready(s, identity)]
        missed = not names and loop.time() < heard_s  # everybody at once: it is this side that was not reached
        if not missed and (not awaited or len(complete) >= at_least):
            return names
        say("; ".join(awaited) or "the nodes are out of reach")
        await asyncio.sleep(_LOOK_AGAIN_S)


def getting_ready(status: NodeStatus, identity: str) -> str | None:
    """What a node still does before it can work on a family; None if it does nothing to that end."""
    family = status_of(status, identity)
    if family is None or status.draining:
        return None
    if family.to_fetch and not family.missing:
        return f"it still has to fetch and measure {_counted(family.to_fetch, 'model file')}"
    if family.missing:
        return f"it still has to measure {_counted(family.missing, 'pair')} of processor and variant"
    return None


def _awaited(status: NodeStatus, identity: str, *, adopting: bool) -> str | None:
    if status.draining:
        return None
    if adopting and status.fetches and status_of(status, identity) is None:
        return f"node {status.name} gets to know the family"
    reason = getting_ready(status, identity)
    return reason and f"node {status.name}: {reason}"


@contextmanager
def shown(console: Console) -> Iterator[Say]:
    """Shows on a terminal what is waited for; says nothing elsewhere."""
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("Waiting for nodes") as status:
        yield lambda text: status.update(f"Waiting: {text}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"
