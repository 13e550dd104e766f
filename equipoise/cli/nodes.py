"""`equipoise nodes`: who is there, what they can do and how busy they are."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from equipoise.cli.console import console_for
from equipoise.cli.live_description import described, look
from equipoise.cli.network import ClusterNameOption, ConnectOption, InsecureOption, network_of
from equipoise.cli.options import JsonOption
from equipoise.cli.render import rate, seconds
from equipoise.errors import OutputError, UsageError
from equipoise.fabric.config import DEFAULT_CLUSTER, ZenohSettings
from equipoise.fabric.messages import FamilyStatus, NodeStatus, ProcessorStatus
from equipoise.fabric.zenoh import ZenohFabric
from equipoise.node.allocation import keep_giving_memory_back
from equipoise.runtime.live import Seen, see

_WATCH_S = 1.0


def nodes(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on looking, until Ctrl-C.")] = False,
    at_least: Annotated[
        int, typer.Option("--nodes", min=1, metavar="N", help="Wait a while until so many are there.")
    ] = 1,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a cluster description, as `plan` and `simulate` read it."),
    ] = None,
    family: Annotated[
        str | None, typer.Option(metavar="NAME", help="Export for this family. Default: the only one.")
    ] = None,
    item_bytes: Annotated[
        int, typer.Option(min=0, metavar="BYTES", help="Export with items of this size on the network.")
    ] = 0,
    cluster_name: ClusterNameOption = DEFAULT_CLUSTER,
    connect: ConnectOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the nodes of the live cluster: processors, speeds, what is loaded, queues, heat, and when last seen."""
    if watch and (as_json or export is not None):
        raise UsageError("--watch is for people; leave out --json and --export, or call again and again")
    network = network_of(cluster=cluster_name, connect=connect or (), insecure=insecure)
    if watch:
        asyncio.run(_watch(network, console_for()))
        return
    seen = asyncio.run(look(network, at_least))
    if export is not None:
        _export(export, seen, family, item_bytes)
    if as_json:
        print(msgspec.json.encode([_as_json(one, network) for one in seen]).decode())
    else:
        console_for().print(_listing(seen, {one.name: 0.0 for one in seen}, network))


async def _watch(network: ZenohSettings, console: Console) -> None:
    fabric = await ZenohFabric.open(network)
    last: dict[str, tuple[Seen, float]] = {}
    giving_back = asyncio.ensure_future(keep_giving_memory_back())
    try:
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as view:
            while True:
                for one in await see(fabric, await fabric.look()):
                    if one.status is not None:
                        last[one.name] = (one, time.monotonic())
                ages_s = {name: time.monotonic() - seen_s for name, (_, seen_s) in last.items()}
                view.update(_listing([last[name][0] for name in sorted(last)], ages_s, network), refresh=True)
                await asyncio.sleep(_WATCH_S)
    finally:
        giving_back.cancel()
        await fabric.close()


def _as_json(one: Seen, network: ZenohSettings) -> dict[str, Any]:
    told = msgspec.to_builtins(one.status) if one.status is not None else None
    return {
        "name": one.name,
        "answers": one.status is not None,
        "secured": network.credentials is not None,
        "link": msgspec.to_builtins(one.link),
        "status": told,
    }


def _export(path: Path, seen: Sequence[Seen], family: str | None, item_bytes: int) -> None:
    cluster = described(seen, family=family, item_bytes=item_bytes)
    encoded = msgspec.json.format(msgspec.json.encode(cluster), indent=1)
    try:
        path.write_bytes(encoded + b"\n")
    except OSError as error:
        raise OutputError(f"the cluster description cannot be written: {error.strerror}", path=path) from error
    print(f"equipoise: wrote {path}", file=sys.stderr)


def _listing(seen: Sequence[Seen], ages_s: Mapping[str, float], network: ZenohSettings) -> Group:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("node", "processor", "families: fastest variant", "loaded"):
        table.add_column(heading, overflow="fold")
    for heading in ("queue", "speed", "heat", "link", "last seen"):
        table.add_column(heading, justify="right", overflow="fold")
    for one in seen:
        _add_rows(table, one, ages_s.get(one.name, 0.0))
    return Group(table, *_notes(seen, network))


def _notes(seen: Sequence[Seen], network: ZenohSettings) -> list[str]:
    if network.credentials is not None:
        return [f"Secured cluster {escape(network.cluster)}: only its members take part."]
    is_open = network.open_to_anybody or any(one.status is not None and one.status.insecure for one in seen)
    return ["Open cluster: anybody on the network can take part (--insecure)."] if is_open else []


def _add_rows(table: Table, one: Seen, age_s: float) -> None:
    if one.status is None:
        table.add_row(escape(one.name), "", "", "", "", "", "", "", "does not answer")
        return
    for row, processor in enumerate(one.status.processors):
        first = row == 0
        table.add_row(
            escape(_title(one.status)) if first else "",
            escape(processor.name),
            escape("; ".join(_ability(family, processor) for family in one.status.families)),
            escape(", ".join(variant for _, variant in processor.resident)),
            f"{processor.queue_tasks} ({seconds(processor.queue_s)})" if processor.queue_tasks else "-",
            f"{processor.speed:.2f}",
            _heat(one.status) if first else "",
            f"{seconds(one.link.latency_s)}, {one.link.bandwidth_bytes_per_s / 1e6:.3g} MB/s" if first else "",
            ("now" if age_s < 2 * _WATCH_S else f"{age_s:.0f} s ago") if first else "",
        )


def _title(status: NodeStatus) -> str:
    notes = [note for note, holds in (("emulated", status.emulated), ("leaving", status.draining)) if holds]
    return f"{status.name} ({', '.join(notes)})" if notes else status.name


def _ability(family: FamilyStatus, processor: ProcessorStatus) -> str:
    if family.to_fetch and not family.missing:
        return f"{family.name}: {family.to_fetch} files to fetch"
    if family.missing:
        return f"{family.name}: {family.missing} pairs to measure"
    profiles = family.profiles.get(processor.name, ())
    if not profiles:
        return f"{family.name}: no variant runs"
    fastest = min(profiles, key=lambda profile: profile.item_s)
    return f"{family.name}: {len(profiles)} variants, {fastest.variant} {rate(1 / fastest.item_s)}"


def _heat(status: NodeStatus) -> str:
    temperature = "-" if status.temperature_c is None else f"{status.temperature_c:.0f} °C"
    return f"{temperature}, throttled" if status.throttled else temperature
