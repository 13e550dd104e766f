"""The network as Eclipse Zenoh: liveliness tokens say who is there, queryables answer; `fabric.keys` has where.

A node declares a queryable per verb and then its token, so that a node that is seen can be asked.

Whoever is at the end of a link that is lost is gone at once. His token goes later: Zenoh first waits for what it is
sending over that link, which can take for ever if whoever should receive it is frozen.

Zenoh calls back on threads of its own, which must never wait for us, and its calls may wait for a slow link:
callbacks only hand over to the event loop, and everything that sends runs on threads that may wait.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import zenoh
from zenoh.handlers import Callback

from equipoise.errors import EquipoiseError, NodeError, NodeUnreachableError
from equipoise.fabric.base import AtOnce, Handler, OnChange, OnGone, Payload, Served, StopWatching, Verb
from equipoise.fabric.config import MESSAGE_BYTES, ZenohSettings
from equipoise.fabric.diagnosis import why_alone
from equipoise.fabric.keys import Keys, Kind, coordinator_key, is_on, named_by, new_instance, priority_of
from equipoise.fabric.lines import Lines
from equipoise.fabric.presence import Presence, await_reply, fail, fulfil
from equipoise.fabric.questions import ZenohQuestion, receive
from equipoise.fabric.reunion import Reunion

_SENDERS = 64  # threads that may wait for slow links at the same time; each is started when first needed
_PORT_TRIES = 5
_LOOK_S = 2.0
_LOOK_AGAIN_S = 1.0  # until then the tokens of those who were at the end of a lost link are still there


class ZenohPeers:
    """Everyone of one kind who is on a session's network."""

    def __init__(self, session: Any, settings: ZenohSettings, kind: Kind, lines: Lines) -> None:
        self._session = session
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._presence = Presence()
        self._lines = lines
        self._looks: set[asyncio.Task[None]] = set()
        self._keys = Keys(settings.cluster, kind)
        on_liveliness = Callback(self._on_liveliness, indirect=False)
        session.liveliness().declare_subscriber(self._keys.tokens, on_liveliness, history=True)
        session.info.declare_link_events_listener(Callback(self._on_link, indirect=False))
        session.info.declare_transport_events_listener(Callback(self._on_transport, indirect=False))

    def watch(self, on_change: OnChange) -> StopWatching:
        """As the interface says."""
        return self._presence.watch(on_change)

    def instance_of(self, node: str) -> str | None:
        """Which process bears this name now, as far as is known; None if there is none."""
        return self._presence.instance(node)

    async def look(self) -> frozenset[str]:
        """Ask the network who is there, rather than wait to be told; their names."""
        replies = await asyncio.to_thread(self._session.liveliness().get, self._keys.tokens, timeout=_LOOK_S)
        found: set[str] = set()
        for reply in await asyncio.to_thread(list, replies):
            if reply.ok is not None:
                self._on_liveliness(reply.ok)
                found.add(named_by(str(reply.ok.key_expr))[0])
        return frozenset(found)

    async def ask(self, node: str, verb: Verb, payload: Payload, *, timeout_s: float) -> bytes:
        """As the interface says."""
        with self._presence.reply_from(node) as reply:
            instance = self._presence.instance(node) or ""
            key = self._keys.asked(node, instance, verb)
            self._lines.add(key, lambda: self._made(node, key, payload, timeout_s, reply))
            return await await_reply(reply, node, timeout_s)

    def leave(self) -> None:
        """Whoever waits for an answer is told that there will be none."""
        for looking in self._looks:
            looking.cancel()
        self._presence.close()

    def _made(
        self, node: str, key: str, payload: Payload, timeout_s: float, reply: asyncio.Future[bytes]
    ) -> Callable[[], None]:
        """How to send the payload, which is made now."""
        try:
            made = payload if isinstance(payload, bytes) else payload()
            _refuse_too_large(made, node)
        except Exception as error:  # whatever it is: whoever asked is told
            reason = error
            return lambda: self._hand_over(fail, reply, reason)
        return lambda: self._send(node, key, made, timeout_s, reply)

    def _send(self, node: str, key: str, payload: bytes, timeout_s: float, reply: asyncio.Future[bytes]) -> None:
        if reply.done():  # by now nobody waits for it any more
            return
        answered = False

        def on_reply(answer: Any) -> None:
            nonlocal answered
            answered = True
            if answer.ok is not None:
                self._hand_over(fulfil, reply, answer.ok.payload.to_bytes())
            else:
                self._hand_over(fail, reply, NodeError(answer.err.payload.to_string(), node=node))

        def on_end() -> None:
            if not answered:
                self._hand_over(fail, reply, NodeUnreachableError("the request ended without an answer", node=node))

        try:
            self._session.get(
                key,
                Callback(on_reply, on_end, indirect=False),
                payload=payload,
                consolidation=zenoh.ConsolidationMode.NONE,
                priority=priority_of(key),  # the answer has the same
                timeout=timeout_s + 1.0,  # ours comes first, and has the better message
            )
        except zenoh.ZError as error:
            self._hand_over(fail, reply, NodeUnreachableError(str(error), node=node))

    def _on_liveliness(self, sample: Any) -> None:
        node, instance = named_by(str(sample.key_expr))
        self._hand_over(self._presence.change_instance, node, instance, sample.kind == zenoh.SampleKind.PUT)

    def _on_link(self, event: Any) -> None:
        if event.kind != zenoh.SampleKind.PUT:
            self._hand_over(self._lose_all_at, str(event.link.zid))

    def _lose_all_at(self, zid: str) -> None:
        self._presence.lose(lambda instance: is_on(instance, zid))

    def _on_transport(self, event: Any) -> None:
        """Whoever was at the end of a lost link may be there all the same: on another one, or behind a router."""
        if event.kind != zenoh.SampleKind.PUT:
            self._hand_over(self._look_again)

    def _look_again(self) -> None:
        looking = self._loop.create_task(self._look_unless_closed())
        self._looks.add(looking)
        looking.add_done_callback(self._looks.discard)

    async def _look_unless_closed(self) -> None:
        await asyncio.sleep(_LOOK_AGAIN_S)
        with suppress(zenoh.ZError):
            await self.look()

    def _hand_over(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits for this any more
            self._loop.call_soon_threadsafe(function, *arguments)


class ZenohFabric(ZenohPeers):
    """A coordinator's view of the network. Made with `open`."""

    def __init__(self, session: Any, settings: ZenohSettings) -> None:
        super().__init__(session, settings, Kind.NODE, Lines(ThreadPoolExecutor(_SENDERS, "equipoise-send")))
        self.identity = uuid.uuid4().hex
        self._holders: ZenohPeers | None = None
        self._reunion = Reunion(session, settings, self._presence.is_anybody_missing)
        self._token = session.liveliness().declare_token(coordinator_key(settings.cluster, self.identity))

    def _lose_all_at(self, zid: str) -> None:
        super()._lose_all_at(zid)
        if not self._settings.stays:  # nodes need not meet in a hurry
            self._reunion.seek()

    @property
    def holders(self) -> ZenohPeers:
        """As the interface says; whoever does not ask for them need not hear of them."""
        if self._holders is None:
            self._holders = ZenohPeers(self._session, self._settings, Kind.HOLDER, self._lines)
        return self._holders

    @classmethod
    async def open(cls, settings: ZenohSettings) -> ZenohFabric:
        """Join the network. Raises EquipoiseError if an endpoint cannot be listened on."""
        return cls(await asyncio.to_thread(_open, settings), settings)

    @classmethod
    async def open_on_loopback(cls, cluster: str) -> tuple[ZenohFabric, str]:
        """Join a network of this machine's processes alone, and the endpoint that its nodes dial."""
        for attempt in range(1, _PORT_TRIES + 1):
            endpoint = f"tcp/127.0.0.1:{_free_port()}"
            try:
                return await cls.open(ZenohSettings(cluster=cluster, listen=(endpoint,))), endpoint
            except EquipoiseError:  # somebody else was given the port meanwhile
                if attempt == _PORT_TRIES:
                    raise
        raise AssertionError("unreachable")

    def host(self) -> ZenohHost:
        """A place for one node on the network that this coordinator is on; to be closed before it."""
        return ZenohHost(self._session, self._settings, owns_session=False)

    def holder_host(self) -> ZenohHost:
        """A place for one holder of model files on the network that this coordinator is on; to be closed before it."""
        return ZenohHost(self._session, self._settings, kind=Kind.HOLDER, owns_session=False)

    async def why_alone(self) -> list[str]:
        """If no other machine is connected: a sentence per address where one could be. Takes some seconds."""
        info = self._session.info
        if info.peers_zid() or info.routers_zid():
            return []
        return await asyncio.to_thread(why_alone, self._settings, str(info.zid()))

    async def close(self) -> None:
        """As the interface says."""
        await self._reunion.give_up()
        self.leave()
        if self._holders is not None:
            self._holders.leave()
        await asyncio.to_thread(_close, self._session)
        await asyncio.to_thread(self._lines.close)


class ZenohHost:
    """The place of a node, or of a holder, on the network. Made with `open`, or by a fabric for its own session."""

    def __init__(
        self, session: Any, settings: ZenohSettings, *, kind: Kind = Kind.NODE, owns_session: bool = True
    ) -> None:
        self._session = session
        self._keys = Keys(settings.cluster, kind)
        self._owns_session = owns_session
        self.instance = new_instance(str(session.info.zid()))
        self._declared: list[Any] = []
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._senders = ThreadPoolExecutor(_SENDERS, "equipoise-reply")
        self._at_work: set[asyncio.Task[None]] = set()
        self._open: dict[Future[None], ZenohQuestion] = {}

    @classmethod
    async def open(cls, settings: ZenohSettings) -> ZenohHost:
        """Join the network, not yet known to it. Raises EquipoiseError if an endpoint cannot be listened on."""
        return cls(await asyncio.to_thread(_open, settings), settings)

    async def serve(
        self, node: str, handlers: Mapping[Verb, Served], on_coordinator_gone: OnGone = lambda identity: None
    ) -> None:
        """As the interface says."""

        def on_coordinator(sample: Any) -> None:
            if sample.kind != zenoh.SampleKind.PUT:
                with suppress(RuntimeError):  # the loop is closed: this node is gone
                    self._loop.call_soon_threadsafe(on_coordinator_gone, str(sample.key_expr).rpartition("/")[2])

        liveliness = self._session.liveliness()
        everyone = Callback(on_coordinator, indirect=False)
        self._declared.append(
            liveliness.declare_subscriber(coordinator_key(self._settings.cluster), everyone, history=True)
        )
        for verb, handler in handlers.items():
            key = self._keys.asked(node, self.instance, verb)
            on_query = Callback(self._receiver(key, handler), indirect=False)
            self._declared.append(self._session.declare_queryable(key, on_query))
        self._declared.append(liveliness.declare_token(self._keys.token(node, self.instance)))

    async def close(self, *, grace_s: float = 0.0) -> None:
        """As the interface says; requests that are under way then end without an answer."""
        if grace_s and self._open:
            await asyncio.wait([asyncio.wrap_future(over) for over in tuple(self._open)], timeout=grace_s)
        for work in tuple(self._at_work):
            work.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        for question in tuple(self._open.values()):
            question.drop()
        await asyncio.to_thread(self._leave)
        await asyncio.to_thread(self._senders.shutdown)

    def _leave(self) -> None:
        if self._owns_session:
            _close(self._session)
            return
        for declared in reversed(self._declared):  # the token first, or it would be asked when it cannot answer
            declared.undeclare()
        self._declared.clear()

    def _receiver(self, key: str, handler: Served) -> Callable[[Any], None]:
        def on_query(query: Any) -> None:
            question = ZenohQuestion(query, key, self._senders)
            self._open[question.over] = question
            question.over.add_done_callback(self._open.pop)
            if isinstance(handler, AtOnce):
                receive(handler, question)
                return
            with suppress(RuntimeError):  # the loop is closed: this node is gone
                self._loop.call_soon_threadsafe(self._start, handler, question)

        return on_query

    def _start(self, handler: Handler, question: ZenohQuestion) -> None:
        work = self._loop.create_task(self._answer(handler, question))
        self._at_work.add(work)
        work.add_done_callback(self._at_work.discard)

    async def _answer(self, handler: Handler, question: ZenohQuestion) -> None:
        try:
            answer = await handler(question.payload)
        except EquipoiseError as error:
            question.refuse(error)
        except BaseException:
            question.drop()
            raise
        else:
            question.answer(answer)


def _open(settings: ZenohSettings) -> Any:
    try:
        return zenoh.open(settings.config())
    except zenoh.ZError as error:
        raise EquipoiseError(
            f"cannot join the network of cluster {settings.cluster!r} "
            f"(listening on {', '.join(settings.listen) or 'nothing'}): {error}"
        ) from error


def _close(session: Any) -> None:
    with suppress(zenoh.ZError):  # what somebody who is frozen was sent is still on its way: it ends with this process
        session.close()


def _refuse_too_large(payload: bytes, node: str) -> None:
    if len(payload) > MESSAGE_BYTES:
        size_mb, most_mb = len(payload) / 1e6, MESSAGE_BYTES / 1e6
        raise NodeError(f"a message of {size_mb:.0f} MB; at most {most_mb:.0f} MB arrive", node=node)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
