"""What a node answers when it is asked, over the in-process fabric."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import numpy as np
import pytest

from equipoise.core.cluster import Node, Processor, Profile
from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import NodeError
from equipoise.fabric.base import Verb
from equipoise.fabric.inprocess import InProcessFabric
from equipoise.fabric.messages import AbandonMessage, NodeDescription, TaskMessage, TaskReply
from equipoise.families.preprocess import pack_array
from equipoise.node.agent import NodeAgent
from equipoise.node.worker import Worker

NODE = Node(name="pi", processors=(Processor(name="cpu", profiles=(Profile(variant="small", latency_s={1: 0.001}),)),))


@pytest.fixture
async def network(tiny_family: Family) -> AsyncIterator[InProcessFabric]:
    fabric = InProcessFabric()
    agent = NodeAgent(fabric.host(), NODE, tiny_family, {"cpu": Worker(tiny_family, LocalProcessor(name="cpu"))})
    await agent.start()
    yield fabric
    await fabric.close()
    await agent.close()


async def infer(fabric: InProcessFabric, **changes: object) -> TaskReply:
    grey = pack_array(np.full((8, 8, 3), 200, dtype=np.uint8))
    fields = {"request": "r", "task": 1, "processor": "cpu", "variant": "small", "batch": 1, "expire_in_s": None}
    message = TaskMessage(**fields | {"items": (7,), "payloads": (grey,)} | changes)  # type: ignore[arg-type]
    reply = await fabric.ask("pi", Verb.INFER, msgspec.msgpack.encode(message), timeout_s=10)
    return msgspec.msgpack.decode(reply, type=TaskReply)


async def test_a_task_is_answered_under_its_own_numbers(network: InProcessFabric) -> None:
    reply = await infer(network)

    assert (reply.request, reply.task, reply.failure) == ("r", 1, None)
    assert [(answer.item, answer.classes[0]) for answer in reply.answers] == [(7, 3)]


async def test_a_processor_that_it_lacks_fails_the_task(network: InProcessFabric) -> None:
    assert "has no processor 'gpu', only cpu" in str((await infer(network, processor="gpu")).failure)


async def test_a_variant_that_it_lacks_fails_the_task(network: InProcessFabric) -> None:
    assert "'huge' is not known here" in str((await infer(network, variant="huge")).failure)


async def test_bytes_that_are_no_message_are_refused(network: InProcessFabric) -> None:
    for verb in (Verb.INFER, Verb.ABANDON):
        with pytest.raises(NodeError, match="not a message"):
            await network.ask("pi", verb, b"\xff garbage", timeout_s=10)


async def test_forgetting_what_it_never_had_is_no_error(network: InProcessFabric) -> None:
    forget = msgspec.msgpack.encode(AbandonMessage(request="somebody's"))

    assert await network.ask("pi", Verb.ABANDON, forget, timeout_s=10) == b""


async def test_it_describes_itself_and_its_family(network: InProcessFabric, tiny_family: Family) -> None:
    reply = await network.ask("pi", Verb.DESCRIBE, b"", timeout_s=10)
    description = msgspec.msgpack.decode(reply, type=NodeDescription)

    assert (description.node, description.family, description.emulated) == (NODE, "tiny", False)
    assert len(description.family_sha256) == 64
