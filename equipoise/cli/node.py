"""`equipoise node`: this machine becomes a node of the cluster."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
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
from equipoise.cli.options import FAMILY_HELP, SplitCpuOption, family_folder, parse_split
from equipoise.cli.service import Place, install, join_for, lasting, options_given, place_of
from equipoise.cli.service import uninstall as uninstall_from
from equipoise.errors import NodeError, UsageError
from equipoise.fabric.config import DEFAULT_CLUSTER
from equipoise.fabric.refusals import log_refusals
from equipoise.node.live import LiveNode, LiveSettings
from equipoise.node.log import NodeLog
from equipoise.node.notify import Supervisor
from equipoise.node.stock import DEFAULT_CACHE_BYTES, StockSettings
from equipoise.profiling.store import DATA_FOLDER_VARIABLE, default_cache_folder, default_data_folder

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
    split_cpu: SplitCpuOption = None,
    memory_bytes: Annotated[
        int | None, typer.Option(min=1, help="What models may take. Default: 80 % of what is free at the start.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Serve figures for Prometheus there. Default host: 127.0.0.1."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where model files of others are kept. Default: the user's cache directory."),
    ] = None,
    cache_bytes: Annotated[
        int, typer.Option(min=1, metavar="BYTES", help="How much is kept there; what was used longest ago leaves.")
    ] = DEFAULT_CACHE_BYTES,
    fetch: Annotated[
        bool, typer.Option("--fetch/--no-fetch", help="Fetch and offer the families that others have, too.")
    ] = True,
    join: Annotated[
        str | None,
        typer.Option(metavar="INVITATION", help="Join a cluster first, if not in it already: the word, or its file."),
    ] = None,
    cluster_name: ClusterNameOption = DEFAULT_CLUSTER,
    listen: ListenOption = None,
    connect: ConnectOption = None,
    insecure: InsecureOption = False,
    install_service: Annotated[
        bool, typer.Option("--install-service", help="Have systemd run this from now on, with the other options given.")
    ] = False,
    uninstall_service: Annotated[
        bool, typer.Option("--uninstall-service", help="End that, and remove what was installed.")
    ] = False,
    service_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Only write (or remove) the service's unit file, in this folder."),
    ] = None,
) -> None:
    """Offer this machine's processors to the cluster until SIGTERM or Ctrl-C.

    Finds the others by itself: as a member of a cluster (see --join) its other members on the local network, otherwise
    whoever is on this machine, or, with --insecure, on the local network. What has not been measured here yet is
    measured first. Families that others have are fetched, measured and offered as well. SIGHUP reads the families
    again; SIGTERM finishes what was begun, or hands it back if it is sent again. The log goes to standard error, a line
    per event.

    As root, --install-service installs a service of the system (by sudo, one that runs as who called sudo), otherwise
    one of the user's own.
    """
    place = _service_place(install_service, uninstall_service, service_dir)
    if uninstall_service:
        return
    if join is not None:
        _join(join, name, insecure=insecure, place=place)
    membership = own_membership(insecure=insecure)
    network = network_of(cluster=cluster_name, listen=listen or (), connect=connect or (), insecure=insecure)
    split = parse_split(split_cpu)
    metrics_at = _address(metrics) if metrics is not None else None
    settings = LiveSettings(
        name=_checked_name(name or (membership.member.name if membership else platform.node()) or "local"),
        network=network,
        membership=membership,
        data_folder=default_data_folder(os.environ),
        families=tuple(family_folder(folder) for folder in family or ()),
        processors=processors,
        split_cpu=split,
        memory_bytes=memory_bytes,
        insecure=network.open_to_anybody,
        stock=StockSettings(folder=cache or default_cache_folder(os.environ), most_bytes=cache_bytes)
        if fetch
        else None,
    )
    if place is not None:
        options = options_given(
            name=name, processors=processors, split_cpu=split_cpu, memory_bytes=memory_bytes, metrics=metrics,
            cluster_name=cluster_name if cluster_name != DEFAULT_CLUSTER else None, insecure=insecure,
            family=lasting(family or ()), listen=listen, connect=connect,
            cache=str(cache.absolute()) if cache else None, no_fetch=not fetch,
            cache_bytes=cache_bytes if cache_bytes != DEFAULT_CACHE_BYTES else None,
        )  # fmt: skip
        install(place, options, _DRAIN_S, cache)
        return
    log = NodeLog()
    if membership is not None:
        log_refusals(lambda reason: log("refused", reason=reason))
    asyncio.run(_serve(settings, log, Supervisor.taken_from(os.environ), metrics_at))


def _address(text: str) -> tuple[str, int]:
    """The host and port in `[HOST:]PORT`; a host of IPv6 may stand in brackets. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise UsageError(f"--metrics {text!r} must be PORT or HOST:PORT, with a port from 0 to 65535")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def _service_place(install: bool, uninstall: bool, folder: Path | None) -> Place | None:
    """Where a service is to be installed; None where none is. Uninstalls, if that is what is asked for."""
    if install and uninstall:
        raise UsageError("--install-service and --uninstall-service exclude each other")
    if not install and not uninstall:
        if folder is not None:
            raise UsageError("--service-dir says where --install-service or --uninstall-service find the unit file")
        return None
    place = place_of(folder)
    if uninstall:
        uninstall_from(place)
        return None
    os.environ[DATA_FOLDER_VARIABLE] = str(place.data_folder)  # options are checked against what the service will find
    return place


def _join(invitation: str, name: str | None, *, insecure: bool, place: Place | None) -> None:
    if insecure:
        raise UsageError("--join is for a cluster that nobody else gets into, --insecure for an open one: choose")
    if place is not None:
        join_for(place, invitation, name)
        return
    from equipoise.cli.membership import as_invitation, join_cluster  # noqa: PLC0415 - takes memory that nodes can save

    join_cluster(as_invitation(invitation), name)


async def _serve(
    settings: LiveSettings, log: NodeLog, supervisor: Supervisor, metrics_at: tuple[str, int] | None
) -> None:
    loop, stop, hurry = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    node, ready = LiveNode(settings=settings, log=log), asyncio.Event()
    reloading: set[asyncio.Task[None]] = set()
    # From the beginning: SIGHUP ends a process that does not expect it, and a node is ready a moment before it knows.
    loop.add_signal_handler(signal.SIGHUP, lambda: reloading.add(loop.create_task(_reload(node, supervisor, ready))))
    if not await _started(node, stop):
        return
    ready.set()
    try:
        async with _beside(node, supervisor, metrics_at):
            if await _until_either(stop, node.superseded) is node.superseded:
                supervisor.stopping("it was started anew elsewhere")
                raise NodeError("it was started anew elsewhere, so that this one leaves", node=settings.name)
            supervisor.stopping("finishing the tasks that are here")
            await node.drain(_DRAIN_S, hurry)
    finally:
        await asyncio.gather(*reloading)
        await node.close()


@asynccontextmanager
async def _beside(
    node: LiveNode, supervisor: Supervisor, metrics_at: tuple[str, int] | None
) -> AsyncGenerator[None, None]:
    """What runs as long as a node does: signs of life, and figures where somebody wants them."""
    async with AsyncExitStack() as stack:
        if metrics_at is not None:
            from equipoise.node.metrics import metrics_served  # noqa: PLC0415 - takes memory that nodes can save

            address = await stack.enter_async_context(metrics_served(*metrics_at, node.observed))
            node.log("metrics", node=node.settings.name, at=f"http://{address}/metrics")
        living = asyncio.ensure_future(supervisor.live())
        stack.callback(living.cancel)
        supervisor.ready(f"node {node.settings.name}")
        yield


async def _reload(node: LiveNode, supervisor: Supervisor, ready: asyncio.Event) -> None:
    await ready.wait()
    supervisor.reloading()
    await node.reload()
    supervisor.ready(f"node {node.settings.name}")


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
