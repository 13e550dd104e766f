"""Who runs a request waits for the nodes that are there to be ready."""

from __future__ import annotations

from typing import Any, cast

from equipoise.cli.readiness import until_ready
from equipoise.errors import NodeUnreachableError
from equipoise.fabric.zenoh import ZenohFabric


class Network:
    """One on which these are there in turn, the last ones for good; they do not answer."""

    def __init__(self, *there: set[str]) -> None:
        self._there = list(there)

    async def look(self) -> frozenset[str]:
        return frozenset(self._there.pop(0) if len(self._there) > 1 else self._there[0])

    async def ask(self, node: str, *_about: Any, **_more: Any) -> bytes:
        raise NodeUnreachableError("it is not on the network", node=node)


async def test_nodes_that_are_out_of_reach_for_a_moment_are_looked_for_again():
    network, said = Network(set(), {"pi"}), []

    names = await until_ready(cast(ZenohFabric, network), "family", at_least=1, say=said.append)

    assert names == ("pi",)
    assert said == ["the nodes are out of reach"]
