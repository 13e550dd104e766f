"""The faults that tests inject into the in-process fabric."""

from __future__ import annotations

import asyncio

import pytest

from equipoise.errors import NodeTimeoutError, NodeUnreachableError
from equipoise.fabric.base import Verb
from equipoise.fabric.inprocess import InProcessFabric


async def echo(payload: bytes) -> bytes:
    return payload


async def network_of(node: str) -> InProcessFabric:
    fabric = InProcessFabric()
    await fabric.host().serve(node, {Verb.INFER: echo})
    return fabric


async def test_a_lost_node_is_unreachable_until_it_is_restored() -> None:
    fabric = await network_of("pi")
    fabric.lose("pi")
    with pytest.raises(NodeUnreachableError):
        await fabric.ask("pi", Verb.INFER, b"x", timeout_s=1)

    fabric.restore("pi")

    assert await fabric.ask("pi", Verb.INFER, b"x", timeout_s=1) == b"x"
    await fabric.close()


async def test_losing_a_node_ends_the_ask_that_a_delay_holds_back() -> None:
    fabric = await network_of("pi")
    fabric.delay("pi", 600)
    ask = asyncio.create_task(fabric.ask("pi", Verb.INFER, b"x", timeout_s=600))
    await asyncio.sleep(0)
    fabric.lose("pi")

    with pytest.raises(NodeUnreachableError):
        await ask
    await fabric.close()


async def test_a_muted_node_is_present_and_silent() -> None:
    fabric = await network_of("pi")
    fabric.mute("pi")

    with pytest.raises(NodeTimeoutError):
        await fabric.ask("pi", Verb.INFER, b"x", timeout_s=0.05)
    await fabric.close()
