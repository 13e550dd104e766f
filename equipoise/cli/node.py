"""`equipoise node`: this machine becomes a node of the cluster."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from typing import Annotated

import typer

from equipoise.cli.network import (
    ClusterNameOption,
    ConnectOption,
    InsecureOption,
    ListenOption,
    network_of,
    own_membership,
)
from equipoise.cli.options import FAMILY_HELP, family_folder
from equipoise.cli.profile import parse_split
from equipoise.errors import NodeError, UsageError
from equipoise.fabric.config import DEFAULT_CLUSTER
from equipoise.fabric.refusals import log_refusals
from equipoise.node.live import LiveNode, LiveSettings
from equipoise.node.log import NodeLog
from equipoise.profiling.store import default_data_folder

_DRAIN_S = 30.0


def node(
    *,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of this node. Default: as a member its name there, or the host's."),
    ] = None,
    family: Annotated[
        list[str] | None, typer.Option("--family", metavar="DIR", help=f"{FAMILY_HELP} May be repeated.")
    ] = None,
    processors: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Offer only these, as in `cpu,cuda`. Default: all.")
    ] = None,
    split_cpu: Annotated[
        str | None,
        typer.Option(metavar="CPUS", help="Offer the CPU as several processors, as in `0-1,2-3`, pinned to them."),
    ] = None,
    memory_bytes: Annotated[
        int | None, typer.Option(min=1, help="What models may take. Default: 80 % of what is free at the start.")
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(metavar="INVITATION", help="Join a cluster first, if not in it already: the word, or its file."),
    ] = None,
    cluster_name: ClusterNameOption = DEFAULT_CLUSTER,
    listen: ListenOption = None,
    connect: ConnectOption = None,
    insecure: InsecureOption = False,
) -> None:
    """Offer this machine's processors to the cluster until SIGTERM or Ctrl-C.

    Finds the others by itself: as a member of a cluster (see --join) its other members on the local network, otherwise
    whoever is on this machine, or, with --insecure, on the local network. What has not been measured here yet is
    measured first. SIGHUP reads the families again; SIGTERM finishes what was begun. The log goes to standard error,
    a line per event.
    """
    if join is not None:
        _join(join, name, insecure=insecure)
    membership = own_membership(insecure=insecure)
    network = network_of(cluster=cluster_name, listen=listen or (), connect=connect or (), insecure=insecure)
    split = parse_split(split_cpu)
    settings = LiveSettings(
        name=_checked_name(name or (membership.member.name if membership else platform.node()) or "local"),
        network=network,
        membership=membership,
        data_folder=default_data_folder(os.environ),
        families=tuple(family_folder(folder) for folder in family or ()),
        processors=processors,
        split_cpu=tuple(map(tuple, split)) if split is not None else None,
        memory_bytes=memory_bytes,
        insecure=network.open_to_anybody,
    )
    log = NodeLog()
    if membership is not None:
        log_refusals(lambda reason: log("refused", reason=reason))
    asyncio.run(_serve(settings, log))


def _join(invitation: str, name: str | None, *, insecure: bool) -> None:
    from equipoise.cli.membership import as_invitation, join_cluster  # noqa: PLC0415 - takes memory that nodes can save

    if insecure:
        raise UsageError("--join is for a cluster that nobody else gets into, --insecure for an open one: choose")
    join_cluster(as_invitation(invitation), name)


async def _serve(settings: LiveSettings, log: NodeLog) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    node = LiveNode(settings=settings, log=log)
    if not await _started(node, stop):
        return
    reloading: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(signal.SIGHUP, lambda: reloading.add(loop.create_task(node.reload())))
    try:
        if await _until_either(stop, node.superseded) is node.superseded:
            raise NodeError("it was started anew elsewhere, so that this one leaves", node=settings.name)
        await node.drain(_DRAIN_S)
    finally:
        await asyncio.gather(*reloading)
        await node.close()


async def _until_either(*events: asyncio.Event) -> asyncio.Event:
    """The first of these that is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for wait in waiting:
        wait.cancel()
    return next(event for event in events if event.is_set())


async def _started(node: LiveNode, stop: asyncio.Event) -> bool:
    """False if it was told to stop before it had started. Raises what kept it from starting."""
    starting, stopping = asyncio.ensure_future(node.start()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return False
    starting.result()
    return True


def _checked_name(name: str) -> str:
    if not name or "/" in name or "*" in name:
        raise UsageError(f"--name {name!r} must not be empty or contain '/' or '*'")
    return name
