"""The live cluster as the place where a request runs; whoever runs the command coordinates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from rich.console import Console

from equipoise.cli.access import Access, samples_of
from equipoise.cli.loop import Loop
from equipoise.cli.network import up_to_date
from equipoise.cli.readiness import getting_ready, hand_out, shown, until_ready
from equipoise.core.cluster import Cluster, Node
from equipoise.core.family import Family
from equipoise.core.plan import Conditions, Plan
from equipoise.errors import ClusterError, UsageError
from equipoise.fabric.config import LOOPBACK_INTERFACE, ZenohSettings
from equipoise.fabric.zenoh import ZenohFabric
from equipoise.families.identity import identity_of
from equipoise.runtime.fitting import Fitting
from equipoise.runtime.inputs import Items
from equipoise.runtime.live import (
    Seen,
    cluster_of,
    find_nodes,
    is_ready,
    nonsense_in,
    see_for,
    status_of,
    survey,
    usable_for,
)

LIVE = "live"


@dataclass(frozen=True, kw_only=True)
class _Live:
    cluster: Cluster
    fabric: ZenohFabric


@contextmanager
def live_cluster(
    loop: Loop,
    network: ZenohSettings,
    family: Family,
    items: Items,
    *,
    at_least: int,
    notes: Console,
    emulate: bool = False,
) -> Iterator[Access]:
    """The nodes that are on the network now, and ready for the family, which this process hands out meanwhile.

    Raises UsageError for `emulate`, ConfigError if no variant has a measured accuracy, ClusterError if no node is
    there or none is ready.
    """
    if emulate:
        raise UsageError(f"--emulate plays described boards; --cluster {LIVE} has real ones: choose one of them")
    family.described_variants()  # refuses a family that cannot be planned with, before anybody is asked
    fabric, _ = loop.run(reach(network, at_least=at_least))
    handing_out = loop.run(hand_out(fabric, family))
    try:
        if network.open_to_anybody:
            notes.print("This cluster is open: anybody on the network can take part (--insecure).")
        fitting = Fitting.measured(family, samples_of(items))
        seen = loop.run(_seen(fabric, fitting, at_least=at_least, notes=notes))
        access = _access(fabric, fitting, seen, notes=notes)
        yield replace(access, title=f"{access.title} (secured)") if network.credentials else access
    finally:
        loop.run(handing_out.close())
        loop.run(fabric.close())


async def _seen(fabric: ZenohFabric, fitting: Fitting, *, at_least: int, notes: Console) -> tuple[Seen, ...]:
    with shown(notes) as say:
        names = await until_ready(fabric, identity_of(fitting.family), at_least=at_least, say=say)
    return await see_for(fabric, names, fitting)


def _access(fabric: ZenohFabric, fitting: Fitting, seen: Sequence[Seen], *, notes: Console) -> Access:
    family = fitting.family
    identity = identity_of(family)
    usable = tuple(one for one in usable_for(identity, seen) if nonsense_in(family, one) is None)
    for one in seen:
        if one not in usable:
            notes.print(f"Not used: node {one.name}: {_why_not(one, family)}.", markup=False, soft_wrap=True)
    if not usable:
        names = ", ".join(one.name for one in seen)
        raise ClusterError(
            f"none of the nodes that are there ({names}) is ready for family {family.name!r}; "
            f"give it to one with `equipoise node --family {family.folder}`, and see `equipoise nodes`"
        )
    cluster, conditions = cluster_of(usable, fitting)
    _tell_of(fitting, usable, notes)

    @asynccontextmanager
    async def reached(_plan: Plan, _items: Items) -> AsyncIterator[_Live]:
        yield _Live(cluster=cluster, fabric=fabric)

    links = {node.name: node.link for node in cluster.nodes}

    async def survey_it(name: str) -> tuple[Node, Conditions] | None:
        return await survey(fabric, name, fitting, link=links.get(name))

    title = f"Plan for {len(usable)} live node{'s' if len(usable) != 1 else ''}"
    return Access(
        cluster=cluster,
        title=title,
        emulated=False,
        conditions=conditions,
        open=reached,
        survey=survey_it,
        fitting=fitting,
    )


def _tell_of(fitting: Fitting, usable: Sequence[Seen], notes: Console) -> None:
    """That items are not sent as they are."""
    names = ", ".join(one.name for one in usable if one.name in fitting.nodes)
    if names:
        notes.print(
            f"Items are made as small as their variant takes them before they go to {names}: that is quicker than "
            f"sending {fitting.item_bytes:,.0f} bytes each.",
            markup=False,
            soft_wrap=True,
        )


async def reach(network: ZenohSettings, *, at_least: int) -> tuple[ZenohFabric, tuple[str, ...]]:
    """The network, and who is there once charters were compared. Raises ClusterError, with why, if nobody is."""
    fabric = await ZenohFabric.open(network)
    try:
        names = await find_nodes(fabric, at_least=at_least)
        if not names:
            raise _nobody_there(network, await fabric.why_alone() if network.scouting != LOOPBACK_INTERFACE else [])
        current = await up_to_date(fabric, network, names)
    except BaseException:
        await fabric.close()
        raise
    if current == network:
        return fabric, names
    await fabric.close()
    return await reach(current, at_least=at_least)


def _nobody_there(network: ZenohSettings, reasons: Sequence[str]) -> ClusterError:
    """What to say when no node was found."""
    on_loopback = network.scouting == LOOPBACK_INTERFACE
    where = ", ".join(network.connect) or ("this machine" if on_loopback else "the local network")
    remedy = "; other machines are only looked for by members of a cluster, or with --insecure" if on_loopback else ""
    why = "".join(f"; {reason}" for reason in reasons)
    return ClusterError(
        f"no node of cluster {network.cluster!r} was found on {where}; start one with `equipoise node`{remedy}{why}"
    )


def _why_not(one: Seen, family: Family) -> str:
    identity = identity_of(family)
    if one.status is None:
        return "it does not answer"
    if one.status.draining:
        return "it is about to leave"
    if status_of(one.status, identity) is None:
        return "it does not have the family"
    if is_ready(one.status, identity):
        return f"what it tells of itself makes no sense: {nonsense_in(family, one)}"
    return getting_ready(one.status, identity) or "none of the variants runs there"
