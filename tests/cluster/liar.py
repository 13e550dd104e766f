"""A node that is there, says that it is fast, and does not answer as a node should; in the process of the tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec

from equipoise.fabric.base import Handler, Verb
from equipoise.fabric.config import settings_of
from equipoise.fabric.messages import Answer, DescribeMessage, NodeStatus, TaskMessage, TaskReply
from equipoise.fabric.questions import ZenohQuestion
from equipoise.fabric.zenoh import ZenohFabric, ZenohHost

LIES = ("garbage", "unknown classes", "twice", "late", "never")
ABSURD = "absurd speed"
_NAME = "liar"


class Liar:
    """Describes itself as another node does, under its own name, and lies in its answers."""

    def __init__(self, like: str, lie: str, until: Callable[[], bool]) -> None:
        self.asked = 0
        self._like, self._lie, self._until = like, lie, until

    async def infer(self, payload: bytes) -> bytes:
        self.asked += 1
        task = msgspec.msgpack.decode(payload, type=TaskMessage)
        if self._lie == "never":
            await asyncio.Event().wait()
        while self._lie == "late" and not self._until():
            await asyncio.sleep(0.01)
        if self._lie == "garbage":
            return b"\xc1 no message"
        classes = (lambda item: 99) if self._lie == "unknown classes" else (lambda item: item % 4)
        answers = tuple(Answer(item=item, classes=(classes(item),), scores=(1.0,)) for item in task.items)
        reply = TaskReply(request=task.request, task=task.task, answers=answers, busy_s=0.01)
        return msgspec.msgpack.encode(reply)

    async def be_there(self, cluster: str, ready: threading.Event, over: threading.Event) -> None:
        """On the network, from when `ready` is set until `over` is."""
        settings = replace(settings_of(cluster=cluster), stays=True)
        fabric = await ZenohFabric.open(settings)
        await _until_seen(fabric, self._like)

        async def describe(payload: bytes) -> bytes:
            asked = msgspec.msgpack.decode(payload, type=DescribeMessage) if payload else DescribeMessage()
            told = await fabric.ask(self._like, Verb.DESCRIBE, msgspec.msgpack.encode(asked), timeout_s=10)
            status = msgspec.msgpack.decode(told, type=NodeStatus)
            (processor,) = status.processors
            speed = -1.0 if self._lie == ABSURD else processor.speed
            processors = (msgspec.structs.replace(processor, speed=speed),)
            return msgspec.msgpack.encode(msgspec.structs.replace(status, name=_NAME, processors=processors))

        async def nothing(_: bytes) -> bytes:
            return b""

        host = await (TwiceHost if self._lie == "twice" else ZenohHost).open(settings)
        await host.serve(
            _NAME, {Verb.DESCRIBE: describe, Verb.PING: nothing, Verb.INFER: self.infer, Verb.ABANDON: nothing}
        )
        await _until_seen(fabric, _NAME)
        ready.set()
        await asyncio.to_thread(over.wait)
        await host.close()
        await fabric.close()


class TwiceHost(ZenohHost):
    """Gives every answer twice."""

    async def _answer(self, handler: Handler, question: ZenohQuestion) -> None:
        answer = await handler(question.payload)

        def twice() -> None:
            question._reply(answer)
            question._reply(answer)

        question._submit(twice)


async def _until_seen(fabric: ZenohFabric, node: str) -> None:
    while node not in await fabric.look():
        await asyncio.sleep(0.05)


@contextmanager
def lying(cluster: str, *, like: str, lie: str, until: Callable[[], bool]) -> Iterator[Liar]:
    """The liar is there, as a node that is `like` another one of the cluster; late answers come once `until` holds."""
    liar, ready, over = Liar(like, lie, until), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(liar.be_there(cluster, ready, over)))
    thread.start()
    try:
        assert ready.wait(30), "the liar could not join"
        yield liar
    finally:
        over.set()
        thread.join()
