"""The cluster that is there: whoever is on the network, described by themselves, over links that were measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from equipoise.core.cluster import Cluster, Link, Node, Processor, ProcessorId, Variant
from equipoise.core.family import Family
from equipoise.core.plan import Condition, Conditions
from equipoise.errors import NodeError
from equipoise.fabric.base import Fabric, Verb
from equipoise.fabric.messages import DescribeMessage, FamilyStatus, NodeStatus
from equipoise.families.identity import identity_of
from equipoise.runtime.fitting import Fitting
from equipoise.runtime.links import measure_link

_LOOK_AGAIN_S = 0.1
_SETTLE_S = 0.3  # nodes that one node knows of tell that they are there soon after it
_DESCRIBE_S = 30.0  # a busy board takes long to try what items like these cost it; one that is gone is missed anyway
_SURVEY_AGAIN_S = 0.5

_encode = msgspec.msgpack.encode
_decode_status = msgspec.msgpack.Decoder(NodeStatus).decode


class LookingFabric(Fabric, Protocol):
    """A network that can be asked who is there."""

    async def look(self) -> frozenset[str]:
        """The names of the nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A node as it described itself, or None if it is there but does not answer; over a link, if that was measured."""

    name: str
    status: NodeStatus | None
    link: Link = field(default_factory=Link)


async def find_nodes(fabric: LookingFabric, *, at_least: int = 1, within_s: float = 5.0) -> tuple[str, ...]:
    """The names of the nodes that are there, as soon as there are `at_least` so many, or after `within_s`."""
    give_up_s = time.monotonic() + within_s
    while len(await fabric.look()) < at_least and time.monotonic() < give_up_s:
        await asyncio.sleep(_LOOK_AGAIN_S)
    await asyncio.sleep(_SETTLE_S)
    return tuple(sorted(await fabric.look()))


async def ask_status(
    fabric: Fabric, node: str, asked: DescribeMessage | None = None, link: Link | None = None
) -> NodeStatus | None:
    """What a node tells of itself; None if it does not answer, or not in words that this version understands.

    `link` is the way to it, where that is known: what is asked may take a while to get there.
    """
    payload = _encode(asked or DescribeMessage())
    travel_s = len(payload) / link.bandwidth_bytes_per_s if link is not None else 0.0
    try:
        reply = await fabric.ask(node, Verb.DESCRIBE, payload, timeout_s=_DESCRIBE_S + travel_s)
        return _decode_status(reply)
    except (NodeError, msgspec.DecodeError):
        return None


async def see(fabric: Fabric, nodes: Iterable[str], *, family: str | None = None) -> tuple[Seen, ...]:
    """Every node with what it tells of itself, and the links to those that answer, one after the other."""
    names, asked = tuple(nodes), DescribeMessage(family=family)
    told = await asyncio.gather(*(ask_status(fabric, name, asked) for name in names))
    return tuple([await _measured(fabric, name, status) for name, status in zip(names, told, strict=True)])


async def see_for(fabric: Fabric, nodes: Iterable[str], fitting: Fitting) -> tuple[Seen, ...]:
    """The same for a family's items: which nodes get them fitted is decided, and profiles are for what will be sent."""
    seen = await see(fabric, nodes, family=identity_of(fitting.family))
    links = {one.name: one.link for one in seen if one.status is not None}
    fitting.choose(links)
    asked = (ask_status(fabric, name, fitting.question(name), link) for name, link in links.items())
    now = dict(zip(links, await asyncio.gather(*asked), strict=True))
    return tuple(replace(one, status=now.get(one.name)) for one in seen)


async def _measured(fabric: Fabric, name: str, status: NodeStatus | None) -> Seen:
    if status is None:
        return Seen(name=name, status=None)
    try:
        return Seen(name=name, status=status, link=await measure_link(fabric, name))
    except NodeError:
        return Seen(name=name, status=None)


async def survey(
    fabric: Fabric, name: str, fitting: Fitting, *, link: Link | None = None
) -> tuple[Node, Conditions] | None:
    """What a node is that has come just now, once it is ready for the family, however long that takes.

    Its link is measured unless it is known. None if it goes away meanwhile, or does not answer.
    """
    identity = identity_of(fitting.family)
    while True:
        status = await ask_status(fabric, name, DescribeMessage(family=identity))
        if status is None or status.draining:
            return None
        if is_ready(status, identity):
            break
        await asyncio.sleep(_SURVEY_AGAIN_S)
    seen = Seen(name=name, status=status, link=link) if link is not None else await _measured(fabric, name, status)
    fitting.consider(name, seen.link)
    seen = replace(seen, status=await ask_status(fabric, name, fitting.question(name), seen.link))
    try:
        cluster, conditions = cluster_of([seen], fitting)
    except ValueError:  # it can no longer be used, or what it tells of itself makes no sense
        return None
    return cluster.nodes[0], conditions


def usable_for(identity: str, seen: Iterable[Seen]) -> tuple[Seen, ...]:
    """The nodes that can work on a family now: they have all of its profiles and are not about to leave."""
    return tuple(
        one for one in seen if one.status is not None and not one.status.draining and is_ready(one.status, identity)
    )


def nonsense_in(family: Family, one: Seen) -> str | None:
    """Why what a node that is ready tells of itself cannot be true; None if it can."""
    try:
        cluster_of([one], Fitting(family=family))
    except ValueError as e:
        return str(e)
    return None


def is_ready(status: NodeStatus, identity: str) -> bool:
    """True if a node has all profiles of a family that it is going to have soon."""
    family = status_of(status, identity)
    return family is not None and not family.missing and any(family.profiles.values())


def status_of(status: NodeStatus, identity: str) -> FamilyStatus | None:
    """What a node tells of a family; None if it does not know it."""
    return next((family for family in status.families if family.identity == identity), None)


def cluster_of(seen: Iterable[Seen], fitting: Fitting) -> tuple[Cluster, Conditions]:
    """The cluster that these nodes are for a family's items, and the condition of their processors.

    Raises ValueError if no node has a profile of an evaluated variant, ConfigError if no variant is evaluated.
    """
    family = fitting.family
    cluster, conditions = _cluster(
        family.name, identity_of(family), family.described_variants(), tuple(seen), round(fitting.item_bytes)
    )
    nodes = tuple(_sized(node, fitting.input_bytes(node.name)) for node in cluster.nodes)
    return msgspec.structs.replace(cluster, nodes=nodes), conditions


def exported(status: FamilyStatus, seen: Iterable[Seen], *, item_bytes: int) -> Cluster:
    """The cluster that these nodes are for a family that one of them tells of. Raises ValueError as `cluster_of`."""
    return _cluster(status.name, status.identity, status.variants, tuple(seen), item_bytes)[0]


def _cluster(
    name: str, identity: str, variants: tuple[Variant, ...], seen: tuple[Seen, ...], item_bytes: int
) -> tuple[Cluster, Conditions]:
    sized = tuple(msgspec.structs.replace(variant, input_bytes=item_bytes) for variant in variants)
    known = {variant.name for variant in variants}
    nodes = tuple(_node(one, identity, known) for one in usable_for(identity, seen))
    conditions = {
        ProcessorId(one.name, processor.name): Condition(
            speed=processor.speed,
            busy_s=processor.queue_s,
            resident=frozenset(variant for owner, variant in processor.resident if owner == identity),
        )
        for one in seen
        if one.status is not None
        for processor in one.status.processors
    }
    return Cluster(family=name, variants=sized, nodes=nodes), conditions


def _sized(node: Node, input_bytes: Mapping[str, int]) -> Node:
    """With what items take on their way to the node, where that is not what they take elsewhere."""
    processors = tuple(
        msgspec.structs.replace(
            processor,
            profiles=tuple(
                msgspec.structs.replace(profile, input_bytes=input_bytes.get(profile.variant))
                for profile in processor.profiles
            ),
        )
        for processor in node.processors
    )
    return msgspec.structs.replace(node, processors=processors)


def _node(one: Seen, identity: str, known: set[str]) -> Node:
    assert one.status is not None
    (family,) = (family for family in one.status.families if family.identity == identity)
    processors = tuple(
        Processor(
            name=processor.name,
            profiles=tuple(p for p in family.profiles.get(processor.name, ()) if p.variant in known),
        )
        for processor in one.status.processors
    )
    return Node(name=one.name, processors=processors, link=one.link, memory_bytes=one.status.memory_bytes)
