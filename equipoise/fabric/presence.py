"""Who is there, and who waits for whom: the bookkeeping that every fabric needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from equipoise.errors import NodeTimeoutError, NodeUnreachableError
from equipoise.fabric.base import OnChange, StopWatching

_MOST_MISSING = 64  # clients that were killed never come back, and each has a name of its own


class Presence:
    """The nodes that are there now. Lives on the event loop's thread.

    An expected reply ends with NodeUnreachableError in the moment in which its node goes away, whatever the
    transport below still hopes for.
    """

    def __init__(self) -> None:
        self._present: set[str] = set()
        self._instances: dict[str, set[str]] = {}
        self._missing: dict[str, None] = {}  # who was lost last stands at the end
        self._watchers: list[OnChange] = []
        self._expected: dict[str, set[asyncio.Future[bytes]]] = {}

    def watch(self, on_change: OnChange) -> StopWatching:
        """Call `on_change` for every node that is there, and whenever that changes."""
        self._watchers.append(on_change)
        for node in sorted(self._present):
            on_change(node, True)
        return lambda: self._watchers.remove(on_change)

    def instance(self, node: str) -> str | None:
        """The process that is the node now: of several that bear its name the one that was started last."""
        return max(self._instances.get(node, ()), default=None)

    def is_anybody_missing(self) -> bool:
        """True if somebody was lost and is not back yet."""
        return bool(self._missing)

    def lose(self, is_lost: Callable[[str], bool]) -> None:
        """Note that these processes are out of reach; who bore their names is missing until it is there again."""
        for node, instances in tuple(self._instances.items()):
            for instance in filter(is_lost, instances):
                self.change_instance(node, instance, False)
                if node not in self._present:
                    self._missing[node] = None
        for forgotten in tuple(self._missing)[:-_MOST_MISSING]:
            del self._missing[forgotten]

    def change_instance(self, node: str, instance: str, present: bool) -> None:
        """Note that a process that bears the node's name came or went.

        A node that was started anew has lost what the process before it was sent, even if that one has not yet been
        missed, or comes back from being frozen.
        """
        before = self.instance(node)
        instances = self._instances.get(node, set()) - {instance} | ({instance} if present else set())
        if instances:
            self._instances[node] = instances
        else:
            self._instances.pop(node, None)  # most of those who come have a name of their own, and never come again
        now = self.instance(node)
        if now == before:
            return
        self.change(node, False)
        self.change(node, now is not None)

    def change(self, node: str, present: bool) -> None:
        """Note that `node` came or went. Saying it twice changes nothing."""
        if (node in self._present) == present:
            return
        if present:
            self._present.add(node)
            self._missing.pop(node, None)
        else:
            self._present.remove(node)
            self._disappoint(node, "it left the network before it answered")
        for on_change in tuple(self._watchers):
            on_change(node, present)

    @contextmanager
    def reply_from(self, node: str) -> Iterator[asyncio.Future[bytes]]:
        """A future for the transport to fulfil. Raises NodeUnreachableError if the node is not there."""
        if node not in self._present:
            raise NodeUnreachableError("it is not on the network", node=node)
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting = self._expected.setdefault(node, set())
        waiting.add(reply)
        try:
            yield reply
        finally:
            waiting.discard(reply)
            reply.cancel()

    def close(self) -> None:
        """Nobody is reachable any more; whoever waits for a reply is told."""
        for node in tuple(self._expected):
            self._disappoint(node, "this side left the network before it answered")
        self._present.clear()
        self._missing.clear()
        self._watchers.clear()

    def _disappoint(self, node: str, why: str) -> None:
        for reply in self._expected.pop(node, ()):
            fail(reply, NodeUnreachableError(why, node=node))


def fail(reply: asyncio.Future[bytes], error: Exception) -> None:
    """End an expected reply with `error`, unless it has ended otherwise."""
    if not reply.done():
        reply.set_exception(error)


def fulfil(reply: asyncio.Future[bytes], payload: bytes) -> None:
    """End an expected reply with `payload`, unless it has ended otherwise."""
    if not reply.done():
        reply.set_result(payload)


async def await_reply(reply: asyncio.Future[bytes], node: str, timeout_s: float) -> bytes:
    """The payload of an expected reply. Raises NodeTimeoutError after `timeout_s`."""
    loop, reason = asyncio.get_running_loop(), f"no answer within {timeout_s:g} s"
    alarm = loop.call_later(timeout_s, fail, reply, NodeTimeoutError(reason, node=node))
    try:
        return await reply
    finally:
        alarm.cancel()
