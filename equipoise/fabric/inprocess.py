"""Coordinator and nodes on one event loop: this machine's own processors, and tests with injected faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from equipoise.errors import EquipoiseError, NodeError
from equipoise.fabric.base import AtOnce, OnChange, OnGone, Payload, Served, StopWatching, Verb
from equipoise.fabric.presence import Presence, await_reply, fail, fulfil


class InProcessFabric:
    """A network without a network: payloads are handed over as they are.

    Tests make it misbehave: `lose` and `restore` a node, `delay` its replies, `mute` them.
    """

    identity = "in-process"

    def __init__(self) -> None:
        self._presence = Presence()
        self._to_tell: dict[str, OnGone] = {}
        self._served: dict[str, Mapping[Verb, Served]] = {}
        self._delay_s: dict[str, float] = {}
        self._mute: set[str] = set()
        self._at_work: set[asyncio.Task[None]] = set()
        self._turns: dict[tuple[str, Verb], asyncio.Lock] = {}
        self._holders: InProcessFabric | None = None

    @property
    def holders(self) -> InProcessFabric:
        """As the interface says; a network of their own, so that they can be made to misbehave, too."""
        if self._holders is None:
            self._holders = InProcessFabric()
        return self._holders

    def holder_host(self) -> InProcessHost:
        """A place for one holder of model files on this network."""
        return self.holders.host()

    def host(self) -> InProcessHost:
        """A place for one node agent on this network."""
        return InProcessHost(self)

    def watch(self, on_change: OnChange) -> StopWatching:
        """As the interface says."""
        return self._presence.watch(on_change)

    async def ask(self, node: str, verb: Verb, payload: Payload, *, timeout_s: float) -> bytes:
        """As the interface says."""
        with self._presence.reply_from(node) as reply:
            work = asyncio.get_running_loop().create_task(self._handle(node, verb, payload, reply))
            self._at_work.add(work)
            work.add_done_callback(self._at_work.discard)
            return await await_reply(reply, node, timeout_s)

    async def close(self) -> None:
        """As the interface says; waits until no handler is at work."""
        if self._holders is not None:
            await self._holders.close()
        self._presence.close()
        for on_gone in self._to_tell.values():
            on_gone(self.identity)
        for work in tuple(self._at_work):
            work.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)

    def lose(self, node: str) -> None:
        """The node drops off the network; it goes on working, unheard."""
        self._presence.change(node, False)

    def restore(self, node: str) -> None:
        """A lost node is back."""
        self._presence.change(node, node in self._served)

    def delay(self, node: str, seconds: float) -> None:
        """Hold back each reply of the node from now on."""
        self._delay_s[node] = seconds

    def mute(self, node: str) -> None:
        """The node stays present, but none of its replies arrives any more: a frozen process."""
        self._mute.add(node)

    def _join(self, node: str, handlers: Mapping[Verb, Served], on_gone: OnGone) -> None:
        self._served[node] = handlers
        self._to_tell[node] = on_gone
        self._presence.change(node, True)

    def _leave(self, node: str) -> None:
        self._served.pop(node, None)
        self._to_tell.pop(node, None)
        self._turns = {key: turn for key, turn in self._turns.items() if key[0] != node}
        self._presence.change(node, False)

    async def _handle(self, node: str, verb: Verb, payload: Payload, reply: asyncio.Future[bytes]) -> None:
        try:
            async with self._turns.setdefault((node, verb), asyncio.Lock()):
                made = await _made(payload)
        except Exception as error:  # whatever it is: whoever asked is told
            fail(reply, error)
            return
        if reply.done():  # by now nobody waits for it any more
            return
        try:
            answer = await _answered(self._served[node][verb], made)
        except EquipoiseError as error:
            fail(reply, NodeError(str(error), node=node))
            return
        await asyncio.sleep(self._delay_s.get(node, 0.0))
        if node not in self._mute:
            fulfil(reply, answer)


class InProcessHost:
    """One node's place on an InProcessFabric."""

    def __init__(self, fabric: InProcessFabric) -> None:
        self._fabric = fabric
        self._node: str | None = None

    async def serve(
        self, node: str, handlers: Mapping[Verb, Served], on_coordinator_gone: OnGone = lambda identity: None
    ) -> None:
        """As the interface says."""
        self._node = node
        self._fabric._join(node, handlers, on_coordinator_gone)

    async def close(self, *, grace_s: float = 0.0) -> None:
        """As the interface says."""
        if grace_s and self._fabric._at_work:
            await asyncio.wait(self._fabric._at_work, timeout=grace_s)
        if self._node is not None:
            self._fabric._leave(self._node)
            self._node = None


class _Question:
    """One that is answered on the event loop; see `Question`."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self._loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[Payload] = self._loop.create_future()

    def answer(self, payload: Payload) -> None:
        """As the interface says."""
        self._settle(lambda: self.answered.set_result(payload))

    def refuse(self, error: EquipoiseError) -> None:
        """As the interface says."""
        self._settle(lambda: self.answered.set_exception(error))

    def _settle(self, settle: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits for this any more
            self._loop.call_soon_threadsafe(lambda: None if self.answered.done() else settle())


async def _answered(handler: Served, payload: bytes) -> bytes:
    if not isinstance(handler, AtOnce):
        return await handler(payload)
    question = _Question(payload)
    handler.receive(question)
    return await _made(await question.answered)


async def _made(payload: Payload) -> bytes:
    return payload if isinstance(payload, bytes) else await asyncio.to_thread(payload)
