"""The node agent: what a board answers when it is asked to describe itself, to infer, or to forget a task."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from equipoise.core.cluster import Node
from equipoise.core.family import Family
from equipoise.errors import EquipoiseError
from equipoise.fabric.base import Host, Verb
from equipoise.fabric.messages import AbandonMessage, NodeDescription, TaskMessage, TaskReply
from equipoise.families.manifest import MANIFEST
from equipoise.node.pacing import Wire
from equipoise.node.worker import TaskRefusedError, Worker

M = TypeVar("M")

_encode = msgspec.msgpack.encode
_decode_task = msgspec.msgpack.Decoder(TaskMessage).decode
_decode_abandon = msgspec.msgpack.Decoder(AbandonMessage).decode


class NodeAgent:
    """Serves one family on the processors of one node.

    `workers` by processor name belong to the agent from now on: it closes them. An emulated node is also at the
    end of its described link: tasks arrive when they would have come through it.
    """

    def __init__(
        self, host: Host, node: Node, family: Family, workers: Mapping[str, Worker], *, emulated: bool = False
    ) -> None:
        self._host = host
        self._node = node
        self._family = family
        self._workers = workers
        self._emulated = emulated
        self._wire = Wire(node.link) if emulated else None

    async def start(self) -> None:
        """Be known to the network once every worker is ready. Raises what kept a worker from it."""
        await asyncio.gather(*(asyncio.wrap_future(worker.ready) for worker in self._workers.values()))
        handlers = {Verb.DESCRIBE: self._describe, Verb.INFER: self._infer, Verb.ABANDON: self._abandon}
        await self._host.serve(self._node.name, handlers)

    async def close(self) -> None:
        """Leave the network, then end every worker; no thread is left."""
        await self._host.close()
        await asyncio.gather(*(asyncio.to_thread(worker.close) for worker in self._workers.values()))

    async def _describe(self, _payload: bytes) -> bytes:
        manifest = await asyncio.to_thread((self._family.folder / MANIFEST).read_bytes)
        return _encode(
            NodeDescription(
                node=self._node,
                family=self._family.name,
                family_sha256=hashlib.sha256(manifest).hexdigest(),
                emulated=self._emulated,
            )
        )

    async def _infer(self, payload: bytes) -> bytes:
        message = _decoded(_decode_task, payload)
        arrived_s = await _travel(self._wire, len(payload))
        return _encode(await self._work_on(message, arrived_s))

    async def _abandon(self, payload: bytes) -> bytes:
        message = _decoded(_decode_abandon, payload)
        for worker in self._workers.values():
            worker.abandon(message.request, message.task)
        return b""

    async def _work_on(self, message: TaskMessage, arrived_s: float) -> TaskReply:
        loop = asyncio.get_running_loop()
        replied: asyncio.Future[TaskReply] = loop.create_future()

        def on_reply(reply: TaskReply) -> None:
            loop.call_soon_threadsafe(_resolve, replied, reply)

        try:
            worker = self._workers.get(message.processor)
            if worker is None:
                known = ", ".join(self._workers)
                raise TaskRefusedError(f"node {self._node.name!r} has no processor {message.processor!r}, only {known}")
            worker.submit(message, arrived_s, on_reply)
        except TaskRefusedError as refusal:
            return TaskReply(request=message.request, task=message.task, failure=str(refusal))
        return await replied


def _resolve(replied: asyncio.Future[TaskReply], reply: TaskReply) -> None:
    if not replied.done():  # it is when whoever asked has gone
        replied.set_result(reply)


async def _travel(wire: Wire | None, payload_bytes: int) -> float:
    """Wait until a payload has come through; returns when it had arrived, the wire's time rather than the loop's."""
    now_s = time.monotonic()
    if wire is None:
        return now_s
    arrives_s = wire.arrives_s(now_s, payload_bytes)
    if arrives_s > now_s:
        await asyncio.sleep(arrives_s - now_s)
    return arrives_s


def _decoded(decode: Callable[[bytes], M], payload: bytes) -> M:
    try:
        return decode(payload)
    except msgspec.DecodeError as error:
        raise EquipoiseError(f"not a message that this version understands: {error}") from error
