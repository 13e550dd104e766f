"""The node agent: what a board answers when it is asked to describe itself, to infer, or to forget a task."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

import equipoise
from equipoise.core.cluster import Link, Profile
from equipoise.errors import EquipoiseError
from equipoise.fabric.base import AtOnce, Host, Question, Served, Verb
from equipoise.fabric.messages import (
    AbandonMessage,
    DescribeMessage,
    FamilyStatus,
    NodeStatus,
    TaskMessage,
    TaskReply,
)
from equipoise.node.health import Health
from equipoise.node.pacing import Wire
from equipoise.node.repertoire import Repertoire
from equipoise.node.worker import TaskRefusedError, Worker

M = TypeVar("M")
Price = Callable[[str, DescribeMessage], Mapping[str, tuple[Profile, ...]]]  # family, what is asked -> by processor

_MOMENT_S = 2.0

_encode = msgspec.msgpack.encode
_decode_task = msgspec.msgpack.Decoder(TaskMessage).decode
_decode_abandon = msgspec.msgpack.Decoder(AbandonMessage).decode
_decode_describe = msgspec.msgpack.Decoder(DescribeMessage).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What does not change of a node. `link` is that of an emulated one, at the end of which it answers."""

    name: str
    memory_bytes: int | None = None
    link: Link | None = None
    insecure: bool = False
    fetches: bool = False
    health: Callable[[], Health] = field(default=Health)
    models_bytes: Callable[[], int] = field(default=int)

    @property
    def emulated(self) -> bool:
        """True if the node is played by another machine."""
        return self.link is not None


class NodeAgent:
    """Serves the families of a repertoire on the processors of one node.

    `workers` belong to the agent from now on: it closes them. `price` makes profiles for the very items that
    somebody is going to send. An emulated node is at the end of its described link: tasks arrive when they would
    have come through it.
    """

    def __init__(
        self,
        host: Host,
        facts: NodeFacts,
        repertoire: Repertoire,
        workers: Mapping[str, Worker],
        *,
        price: Price | None = None,
    ) -> None:
        self._host = host
        self._facts = facts
        self._repertoire = repertoire
        self._workers = workers
        self._price = price
        self._wire = Wire(facts.link) if facts.link is not None else None
        self._draining = False
        self._task_came_s = -math.inf
        self._refused = 0
        self._handlers: Mapping[Verb, Served] = {}

    async def start(self, more: Mapping[Verb, Served] | None = None) -> None:
        """Be known to the network once every worker is ready, and answer `more`. Raises what kept a worker from it."""
        self._loop = asyncio.get_running_loop()
        await asyncio.gather(*(asyncio.wrap_future(worker.ready) for worker in self._workers.values()))
        self._handlers = {
            Verb.DESCRIBE: self._describe,
            Verb.PING: self._ping,
            Verb.INFER: AtOnce(self._infer),
            Verb.ABANDON: self._abandon,
            **(more or {}),
        }
        await self._host.serve(self._facts.name, self._handlers, self._forget_work_of)

    async def pause(self, *, grace_s: float = 0.0) -> None:
        """Leave the network, once answers that are under way are, and forget all tasks; `resume` ends that.

        Coordinators give those tasks to others.
        """
        await self._host.close(grace_s=grace_s)
        for worker in self._workers.values():
            worker.abandon_everything()

    async def resume(self, host: Host) -> None:
        """Be known to the network again, at this place."""
        self._host = host
        await host.serve(self._facts.name, self._handlers, self._forget_work_of)

    @property
    def busy(self) -> bool:
        """True if tasks are here, or came a moment ago: others may be on their way."""
        recently = time.monotonic() < self._task_came_s + _MOMENT_S
        return recently or any(worker.status().queue_tasks for worker in self._workers.values())

    async def drain(self, timeout_s: float) -> bool:
        """Take no more tasks, and wait until those that are here are done; False if some are not in time."""
        self._draining = True
        idle = (asyncio.to_thread(worker.wait_until_idle, timeout_s) for worker in self._workers.values())
        return all(await asyncio.gather(*idle))

    def hand_back(self) -> None:
        """Tell whoever waits for a task that it will not be done here; that being inferred ends after its call."""
        for worker in self._workers.values():
            worker.abandon_everything()

    async def close(self, *, grace_s: float = 0.0) -> None:
        """Leave the network, once answers that are under way are, then end every worker; no thread is left."""
        await self._host.close(grace_s=grace_s)
        await asyncio.gather(*(asyncio.to_thread(worker.close) for worker in self._workers.values()))

    def status(self, families: tuple[FamilyStatus, ...] | None = None) -> NodeStatus:
        """What the node is and does now; `families` in place of those of the repertoire."""
        if families is None:
            speeds = self._speeds
            families = tuple(self._repertoire.status(identity, speeds) for identity in self._repertoire.identities)
        health = self._facts.health()
        return NodeStatus(
            name=self._facts.name,
            version=equipoise.__version__,
            emulated=self._facts.emulated,
            insecure=self._facts.insecure,
            fetches=self._facts.fetches,
            memory_bytes=self._facts.memory_bytes,
            temperature_c=health.temperature_c,
            throttled=health.throttled,
            draining=self._draining,
            models_bytes=self._facts.models_bytes(),
            coordinators=len(set().union(*(worker.coordinators() for worker in self._workers.values()))),
            tasks_refused=self._refused,
            processors=tuple(worker.status() for worker in self._workers.values()),
            families=families,
        )

    async def _describe(self, payload: bytes) -> bytes:
        wanted = _decoded(_decode_describe, payload) if payload else DescribeMessage()
        if wanted.family is None:
            return _encode(self.status())
        if wanted.family not in self._repertoire.identities:
            return _encode(self.status(families=()))
        speeds = self._speeds
        family = self._repertoire.status(wanted.family, speeds)
        if (wanted.samples or wanted.left_out) and self._price is not None:
            priced = await asyncio.to_thread(self._price, wanted.family, wanted)
            profiles = {
                name: self._repertoire.offered(wanted.family, found, speeds[name]) for name, found in priced.items()
            }
            family = msgspec.structs.replace(family, profiles=profiles)
        return _encode(self.status(families=(family,)))

    @property
    def _speeds(self) -> dict[str, float]:
        return {name: worker.speed for name, worker in self._workers.items()}

    async def _ping(self, payload: bytes) -> bytes:
        if self._wire is not None:
            now_s = time.monotonic()
            await asyncio.sleep(self._wire.arrives_s(now_s, len(payload)) - now_s)
        return b""

    def _infer(self, question: Question) -> None:
        arrived_s = self._task_came_s = time.monotonic()
        message = _decoded(_decode_task, question.payload)
        if self._wire is None:
            self._take(message, arrived_s, question)
        else:
            self._loop.call_soon_threadsafe(self._take_later, message, self._wire, question)

    def _take_later(self, message: TaskMessage, wire: Wire, question: Question) -> None:
        arrives_s = wire.arrives_s(time.monotonic(), len(question.payload))
        self._loop.call_at(arrives_s, self._take, message, arrives_s, question)

    def _take(self, message: TaskMessage, arrived_s: float, question: Question) -> None:
        def on_reply(make: Callable[[], TaskReply]) -> None:
            question.answer(lambda: self._told(make(), arrived_s))

        try:
            self._worker(message.processor).submit(message, arrived_s, on_reply)
        except TaskRefusedError as refusal:
            self._loop.call_soon_threadsafe(self._count_refusal)
            failure = TaskReply(request=message.request, task=message.task, failure=str(refusal))
            question.answer(lambda: self._told(failure, arrived_s))

    def _told(self, reply: TaskReply, arrived_s: float) -> bytes:
        leaving = self._draining and reply.failure is not None  # what is answered all the same is no loss
        return _encode(msgspec.structs.replace(reply, held_s=time.monotonic() - arrived_s, leaving=leaving))

    def _count_refusal(self) -> None:
        self._refused += 1

    async def _abandon(self, payload: bytes) -> bytes:
        message = _decoded(_decode_abandon, payload)
        for worker in self._workers.values():
            worker.abandon(message.request, message.task)
        return b""

    def _forget_work_of(self, coordinator: str) -> None:
        for worker in self._workers.values():
            worker.abandon_work_of(coordinator)

    def _worker(self, processor: str) -> Worker:
        if self._draining:
            raise TaskRefusedError(f"node {self._facts.name!r} is about to leave and takes no more tasks")
        worker = self._workers.get(processor)
        if worker is None:
            known = ", ".join(self._workers)
            raise TaskRefusedError(f"node {self._facts.name!r} has no processor {processor!r}, only {known}")
        return worker


def _decoded(decode: Callable[[bytes], M], payload: bytes) -> M:
    try:
        return decode(payload)
    except msgspec.DecodeError as error:
        raise EquipoiseError(f"not a message that this version understands: {error}") from error
