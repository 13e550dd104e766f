"""The cluster that is there: whoever is on the network, described by themselves, over links that were measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

import msgspec

from equipoise.core.cluster import Cluster, Link, Node, Processor, ProcessorId, Variant
from equipoise.core.family import Family
from equipoise.core.plan import Condition, Conditions
from equipoise.errors import NodeError
from equipoise.fabric.base import Fabric, Verb
from equipoise.fabric.messages import DescribeMessage, FamilyStatus, NodeStatus
from equipoise.families.identity import identity_of
from equipoise.runtime.links import measure_link

_LOOK_AGAIN_S = 0.1
_SETTLE_S = 0.3  # nodes that one node knows of tell that they are there soon after it
_DESCRIBE_S = 10.0
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
    fabric: Fabric, node: str, *, family: str | None = None, samples: Sequence[bytes] = ()
) -> NodeStatus | None:
    """What a node tells of itself; None if it does not answer, or not in words that this version understands."""
    message = DescribeMessage(family=family, samples=tuple(samples))
    try:
        reply = await fabric.ask(node, Verb.DESCRIBE, _encode(message), timeout_s=_DESCRIBE_S)
        return _decode_status(reply)
    except (NodeError, msgspec.DecodeError):
        return None


async def see(
    fabric: Fabric, nodes: Iterable[str], *, family: str | None = None, samples: Sequence[bytes] = ()
) -> tuple[Seen, ...]:
    """Every node with what it tells of itself, and the links to those that answer, one after the other."""
    names = tuple(nodes)
    told = await asyncio.gather(*(ask_status(fabric, name, family=family, samples=samples) for name in names))
    return tuple([await _measured(fabric, name, status) for name, status in zip(names, told, strict=True)])


async def _measured(fabric: Fabric, name: str, status: NodeStatus | None) -> Seen:
    if status is None:
        return Seen(name=name, status=None)
    try:
        return Seen(name=name, status=status, link=await measure_link(fabric, name))
    except NodeError:
        return Seen(name=name, status=None)


async def survey(
    fabric: Fabric, name: str, family: Family, samples: Sequence[bytes], *, link: Link | None = None
) -> tuple[Node, Conditions] | None:
    """What a node is that has come just now, once it is ready for the family, however long that takes.

    Its link is measured unless it is known. None if it goes away meanwhile, or does not answer.
    """
    identity = identity_of(family)
    while True:
        status = await ask_status(fabric, name, family=identity)
        if status is None or status.draining:
            return None
        if is_ready(status, identity):
            break
        await asyncio.sleep(_SURVEY_AGAIN_S)
    told = await ask_status(fabric, name, family=identity, samples=samples)
    seen = Seen(name=name, status=told, link=link) if link is not None else await _measured(fabric, name, told)
    try:
        cluster, conditions = cluster_of(family, [seen], item_bytes=mean_bytes(samples))
    except ValueError:  # it can no longer be used, or what it tells of itself makes no sense
        return None
    return cluster.nodes[0], conditions


def mean_bytes(samples: Sequence[bytes]) -> int:
    """What an item takes on the network, as far as these tell."""
    return round(fmean(map(len, samples))) if samples else 0


def usable_for(identity: str, seen: Iterable[Seen]) -> tuple[Seen, ...]:
    """The nodes that can work on a family now: they have all of its profiles and are not about to leave."""
    return tuple(
        one for one in seen if one.status is not None and not one.status.draining and is_ready(one.status, identity)
    )


def nonsense_in(family: Family, one: Seen) -> str | None:
    """Why what a node that is ready tells of itself cannot be true; None if it can."""
    try:
        cluster_of(family, [one], item_bytes=1)
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


def cluster_of(family: Family, seen: Iterable[Seen], *, item_bytes: int) -> tuple[Cluster, Conditions]:
    """The cluster that these nodes are for a family, and the condition of their processors.

    item_bytes   what one item takes on the network

    Raises ValueError if no node has a profile of an evaluated variant, ConfigError if no variant is evaluated.
    """
    variants = family.described_variants()
    return _cluster(family.name, identity_of(family), variants, tuple(seen), item_bytes)


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
