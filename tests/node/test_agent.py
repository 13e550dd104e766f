"""What a node answers when it is asked, over the in-process fabric."""

from __future__ import annotations

import asyncio
import threading
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
from equipoise.fabric.messages import AbandonMessage, DescribeMessage, NodeStatus, TaskMessage, TaskReply
from equipoise.families.identity import identity_of
from equipoise.families.preprocess import pack_array
from equipoise.node.agent import NodeAgent, NodeFacts
from equipoise.node.pacing import AsFastAsItCan
from equipoise.node.repertoire import Repertoire
from equipoise.node.worker import Worker

NODE = Node(name="pi", processors=(Processor(name="cpu", profiles=(Profile(variant="small", latency_s={1: 0.001}),)),))


FAMILY: list[str] = []  # the identity of the tiny family


class Held(AsFastAsItCan):
    """A pace that ends a call only once it may."""

    def __init__(self, may_end: threading.Event) -> None:
        self._may_end = may_end

    def call(self, variant: str, items: int) -> None:
        self._may_end.wait()


@pytest.fixture
def network() -> InProcessFabric:
    return InProcessFabric()


@pytest.fixture
def held() -> threading.Event:
    """Calls end only while this is set, as it is."""
    event = threading.Event()
    event.set()
    return event


@pytest.fixture(autouse=True)
async def agent(tiny_family: Family, network: InProcessFabric, held: threading.Event) -> AsyncIterator[NodeAgent]:
    FAMILY.append(identity_of(tiny_family))
    repertoire = Repertoire.of(tiny_family, NODE)
    worker = Worker(repertoire, LocalProcessor(name="cpu"), pace=Held(held))
    agent = NodeAgent(network.host(), NodeFacts(name="pi", memory_bytes=10**9), repertoire, {"cpu": worker})
    await agent.start()
    yield agent
    held.set()
    await network.close()
    await agent.close()


async def infer(fabric: InProcessFabric, **changes: object) -> TaskReply:
    grey = pack_array(np.full((8, 8, 3), 200, dtype=np.uint8))
    fields = {
        "coordinator": fabric.identity,
        "family": FAMILY[-1],
        "request": "r",
        "task": 1,
        "processor": "cpu",
        "variant": "small",
        "batch": 1,
        "expire_in_s": None,
    }
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


async def describe(fabric: InProcessFabric, **wanted: object) -> NodeStatus:
    message = msgspec.msgpack.encode(DescribeMessage(**wanted))  # type: ignore[arg-type]
    return msgspec.msgpack.decode(await fabric.ask("pi", Verb.DESCRIBE, message, timeout_s=10), type=NodeStatus)


async def test_it_describes_itself_and_its_families(network: InProcessFabric, tiny_family: Family) -> None:
    status = await describe(network)

    assert (status.name, status.emulated, status.memory_bytes) == ("pi", False, 10**9)
    (family,) = status.families
    assert (family.name, family.identity) == ("tiny", FAMILY[-1])
    assert family.variants == tiny_family.described_variants()
    assert family.profiles == {"cpu": NODE.processors[0].profiles}


async def test_its_queue_and_what_is_loaded_are_part_of_what_it_tells(network: InProcessFabric) -> None:
    await infer(network)

    (processor,) = (await describe(network)).processors
    assert (processor.queue_tasks, processor.items_done) == (0, 1)
    assert processor.resident == ((FAMILY[-1], "small"),)


async def test_asked_for_a_family_that_it_lacks_it_says_that_it_has_none(network: InProcessFabric) -> None:
    assert (await describe(network, family="0" * 64)).families == ()


async def test_a_family_that_it_lacks_fails_the_task(network: InProcessFabric) -> None:
    assert "is not known here" in str((await infer(network, family="0" * 64)).failure)


async def test_a_node_that_drains_takes_no_more_tasks_and_says_that_it_leaves(
    agent: NodeAgent, network: InProcessFabric
):
    assert await agent.drain(10.0)

    reply = await infer(network)

    assert (reply.leaving, "about to leave" in str(reply.failure)) == (True, True)
    status = await describe(network)
    assert (status.draining, status.tasks_refused) == (True, 1)


async def test_what_is_not_done_in_time_is_handed_back(
    agent: NodeAgent, network: InProcessFabric, held: threading.Event
):
    held.clear()
    working = asyncio.ensure_future(infer(network, task=1))
    waiting = asyncio.ensure_future(infer(network, task=2))
    while (await describe(network)).processors[0].queue_tasks < 2:
        await asyncio.sleep(0)

    in_time = await agent.drain(0.01)
    agent.hand_back()
    held.set()

    assert not in_time
    assert (await waiting).failure == "it was abandoned"
    assert (await waiting).leaving
    done = await working  # it was in its last call
    assert (done.failure, len(done.answers), done.leaving) == (None, 1, False)
