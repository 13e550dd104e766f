"""Described boards in this process: real agents, workers and models, paced to what is described. The network is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from equipoise.core.cluster import Cluster, Node, Processor, Profile
from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.fabric.inprocess import InProcessFabric
from equipoise.families.identity import identity_of
from equipoise.node.agent import NodeAgent, NodeFacts
from equipoise.node.pacing import AsDescribed
from equipoise.node.repertoire import Repertoire
from equipoise.node.worker import Worker


def boards(family: Family, *item_s: float) -> Cluster:
    """Boards "b0", "b1", ... that take so many seconds per item of either variant."""
    return Cluster(
        family=family.name,
        variants=family.described_variants(),
        nodes=tuple(
            Node(name=f"b{number}", processors=(Processor(name="cpu", profiles=_profiles(seconds)),))
            for number, seconds in enumerate(item_s)
        ),
    )


def _profiles(seconds: float) -> tuple[Profile, ...]:
    return tuple(Profile(variant=variant, latency_s={1: seconds, 4: 4 * seconds}) for variant in ("small", "large"))


@asynccontextmanager
async def playing(
    family: Family, cluster: Cluster, agents: dict[str, NodeAgent] | None = None
) -> AsyncIterator[InProcessFabric]:
    """The nodes of a cluster, in this process; `agents` is filled with them."""
    fabric = InProcessFabric()
    agents = {} if agents is None else agents
    for node in cluster.nodes:
        profiles = {profile.variant: profile for profile in node.processors[0].profiles}
        repertoire = Repertoire.of(family, node)
        preload = [(identity_of(family), variant) for variant in profiles]
        worker = Worker(repertoire, LocalProcessor(name="cpu"), pace=AsDescribed(profiles), preload=preload)
        facts = NodeFacts(name=node.name, link=node.link)
        agents[node.name] = NodeAgent(fabric.host(), facts, repertoire, {"cpu": worker})
        await agents[node.name].start()
    try:
        yield fabric
    finally:
        await fabric.close()
        await asyncio.gather(*(agent.close() for agent in agents.values()))
