"""This machine's own processors as a cluster of one node, in this process."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from equipoise.core.cluster import Cluster, Node
from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import ConfigError
from equipoise.fabric.inprocess import InProcessFabric
from equipoise.node.agent import NodeAgent, NodeFacts
from equipoise.node.repertoire import Repertoire
from equipoise.node.worker import Worker, WorkerSettings


class LocalCluster:
    """A context in which the one node of `cluster` can be asked on `fabric`; no thread is left after it.

    `processors` are this machine's, of the names that the node's processors have.
    Raises ConfigError if the description is of another family or node, or names a processor that is not here.
    """

    def __init__(self, family: Family, cluster: Cluster, processors: Iterable[LocalProcessor]) -> None:
        family.refuse_description(cluster)
        self.cluster = cluster
        self.fabric = InProcessFabric()
        self._family = family
        self._node = _only_node(cluster)
        self._here = {processor.name: processor for processor in processors}
        missing = [processor.name for processor in self._node.processors if processor.name not in self._here]
        if missing:
            raise ConfigError(f"this machine has no processor {missing[0]!r}, only {', '.join(self._here)}")

    async def __aenter__(self) -> LocalCluster:
        repertoire = Repertoire.of(self._family, self._node)
        workers = {processor.name: self._worker(repertoire, processor.name) for processor in self._node.processors}
        facts = NodeFacts(name=self._node.name, memory_bytes=self._node.memory_bytes)
        self._agent = NodeAgent(self.fabric.host(), facts, repertoire, workers)
        await self._agent.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.fabric.close()
        await self._agent.close()

    def _worker(self, repertoire: Repertoire, name: str) -> Worker:
        processor = self._here[name]
        return Worker(repertoire, processor, settings=WorkerSettings.of(processor))


def _only_node(cluster: Cluster) -> Node:
    if len(cluster.nodes) != 1:
        names = ", ".join(node.name for node in cluster.nodes)
        raise ConfigError(f"this machine is one node, but the cluster has {len(cluster.nodes)}: {names}")
    return cluster.nodes[0]
