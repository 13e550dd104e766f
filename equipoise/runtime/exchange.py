"""A task's way to its node and back: payloads read and encoded, the reply decoded and checked."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import msgspec

from equipoise.dispatch.commands import SendTask
from equipoise.dispatch.events import Travel
from equipoise.errors import InputError, NodeError
from equipoise.fabric.base import Fabric, Verb
from equipoise.fabric.messages import AbandonMessage, Answer, TaskMessage, TaskReply
from equipoise.runtime.fitting import Fitting
from equipoise.runtime.inputs import Items

_encode = msgspec.msgpack.encode
_decode_reply = msgspec.msgpack.Decoder(TaskReply).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """How long to wait. The dispatcher notices late answers; `ask_timeout_s` only ends what hangs for good."""

    ask_timeout_s: float = 600.0
    abandon_timeout_s: float = 1.0


@dataclass(slots=True)
class _Outgoing:
    """What is found out when a task is encoded: when its way began, and what is answered here already."""

    clock: Callable[[], float]
    sent_s: float = 0.0
    unreadable: tuple[Answer, ...] = ()


class _NothingReadableError(Exception):
    """No item of a task can be read: there is nothing to send."""


class Exchange:
    """Asks nodes on behalf of one request. Reading, fitting and encoding happen on the thread that sends."""

    def __init__(
        self,
        fabric: Fabric,
        family: str,
        items: Items,
        settings: ExchangeSettings,
        *,
        classes: range | None = None,
        fitting: Fitting | None = None,
    ) -> None:
        self._fabric = fabric
        self._family = family
        self._items = items
        self._classes = classes  # what an answer may be, where that is known
        self._settings = settings
        self._fitting = fitting
        self._readers = ThreadPoolExecutor(fitting.threads, "equipoise-fit") if fitting is not None else None
        self._request = uuid.uuid4().hex

    async def ask(self, command: SendTask) -> tuple[TaskReply, Travel | None]:
        """The node's reply, with an answer for every item unless it is a failure; and its way. Raises NodeError.

        Items that cannot be read are answered with the reason, and go to no node. The way of those that are fitted
        begins with that, since it is what they are charged for.
        """
        node, outgoing = command.pid.node, _Outgoing(asyncio.get_running_loop().time)
        try:
            answer = await self._fabric.ask(
                node, Verb.INFER, lambda: self._encode(command, outgoing), timeout_s=self._settings.ask_timeout_s
            )
        except _NothingReadableError:
            return TaskReply(request=self._request, task=command.task, answers=outgoing.unreadable), None
        back_s = outgoing.clock()
        reply = _decoded(answer, node)
        whole = msgspec.structs.replace(reply, answers=reply.answers + outgoing.unreadable)
        nonsense = self._nonsense_in(whole, command)
        if nonsense is not None:
            raise NodeError(f"its reply to task {command.task} makes no sense: {nonsense}", node=node)
        return whole, Travel(sent_s=outgoing.sent_s, arrived_s=max(outgoing.sent_s, back_s - reply.held_s))

    def _nonsense_in(self, reply: TaskReply, command: SendTask) -> str | None:
        """What makes a reply worthless, whatever its node believes; None if nothing does."""
        if (reply.request, reply.task) != (self._request, command.task):
            return "it is to another task"
        times_s = (reply.busy_s, reply.load_s, reply.others_s, reply.held_s)
        if not all(0 <= time_s < math.inf for time_s in times_s) or reply.load_s > reply.busy_s:
            return f"it took {', '.join(f'{time_s:g}' for time_s in times_s)} s"
        if reply.failure is not None:
            return None
        if sorted(answer.item for answer in reply.answers) != sorted(command.items):
            return "it answers other items"
        return next((f"item {a.item} has {a.classes}, {a.scores}" for a in reply.answers if not self._is_sane(a)), None)

    def _is_sane(self, answer: Answer) -> bool:
        if answer.error is not None:
            return True
        known = self._classes is None or all(index in self._classes for index in answer.classes)
        scored = len(answer.classes) == len(answer.scores) > 0 and all(map(math.isfinite, answer.scores))
        return known and scored

    def _encode(self, command: SendTask, outgoing: _Outgoing) -> bytes:
        """The task as it travels, without the items that cannot be read here. Raises _NothingReadableError."""
        node, began_s = command.pid.node, outgoing.clock()
        read = partial(self._payload, node, command.variant)
        readers = self._readers if self._fits(node) else None
        several = map if readers is None else readers.map  # files alone are read in no time
        found = dict(zip(command.items, several(read, command.items), strict=True))
        payloads = {item: payload for item, payload in found.items() if isinstance(payload, bytes)}
        outgoing.unreadable = tuple(answer for answer in found.values() if isinstance(answer, Answer))
        if not payloads:
            raise _NothingReadableError
        message = TaskMessage(
            coordinator=self._fabric.identity,
            request=self._request,
            task=command.task,
            family=self._family,
            processor=command.pid.processor,
            variant=command.variant,
            batch=command.batch,
            expire_in_s=command.expire_in_s,
            due_in_s=command.due_in_s,
            items=tuple(payloads),
            payloads=tuple(payloads.values()),
        )
        encoded = _encode(message)
        outgoing.sent_s = outgoing.clock() if readers is None else began_s
        return encoded

    def _payload(self, node: str, variant: str, item: int) -> bytes | Answer:
        """The item as it travels, or the answer to it if it cannot be read."""
        try:
            payload = self._items.payload(item)
            return self._fitting.payload(node, variant, payload) if self._fitting is not None else payload
        except InputError as error:
            return Answer(item=item, error=str(error))

    def _fits(self, node: str) -> bool:
        return self._fitting is not None and node in self._fitting.nodes

    def close(self) -> None:
        """Read no more items, whoever still waits for them."""
        if self._readers is not None:
            self._readers.shutdown(wait=False, cancel_futures=True)

    async def abandon(self, node: str, task: int | None) -> None:
        """Have the node forget one task, or all of this request."""
        payload = _encode(AbandonMessage(request=self._request, task=task))
        with suppress(NodeError):  # then it has nothing to forget, or will hear so when it is asked again
            await self._fabric.ask(node, Verb.ABANDON, payload, timeout_s=self._settings.abandon_timeout_s)


def _decoded(payload: bytes, node: str) -> TaskReply:
    try:
        return _decode_reply(payload)
    except msgspec.DecodeError as error:
        raise NodeError(f"its reply cannot be understood: {error}", node=node) from error
