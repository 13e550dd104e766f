"""The interface to the network: who is there, ask a node something, serve what others ask.

Two implementations: in-process (tests, this machine's own processors) and Zenoh. Membership, discovery,
framing and encryption belong to the implementation; nothing above it knows which one it talks to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from equipoise.errors import EquipoiseError


class Verb(str, Enum):
    """What a node can be asked; the payload is the message of the same name in `messages`."""

    DESCRIBE = "describe"
    PING = "ping"  # any payload; the answer says that it has arrived
    INFER = "infer"
    ABANDON = "abandon"
    CHARTER = "charter"  # a signed charter; the answer is the newer of both

    # What holders of model files can be asked.
    HOLDINGS = "holdings"  # no payload
    FAMILY = "family"
    CHUNK = "chunk"  # the answer is that part of the file; it gives way to everything else that travels


Payload = bytes | Callable[[], bytes]  # what is sent, or what makes it, on a thread that may wait
Handler = Callable[[bytes], Awaitable[bytes]]  # request payload -> reply payload; called on the event loop's thread
OnChange = Callable[[str, bool], None]  # node name, present; called on the event loop's thread
OnGone = Callable[[str], None]  # identity of a coordinator; called on the event loop's thread
StopWatching = Callable[[], None]


class Question(Protocol):
    """What somebody was asked and has not answered yet. Any thread may answer; that does not wait."""

    @property
    def payload(self) -> bytes:
        """What came with it."""

    def answer(self, payload: Payload) -> None:
        """Send this, or what it makes, where an EquipoiseError is a refusal. Once the host has closed it is lost."""

    def refuse(self, error: EquipoiseError) -> None:
        """Have whoever asked told why there is no answer."""


@dataclass(frozen=True, slots=True)
class AtOnce:
    """A handler for what is in a hurry: it need not wait for the event loop.

    `receive` is called on the thread on which the question comes in, several at a time, and must not wait; an
    EquipoiseError that it raises is a refusal. The answer may come later, from anywhere.
    """

    receive: Callable[[Question], None]


Served = Handler | AtOnce


class Peers(Protocol):
    """Nodes, or holders of model files, that are on the network under their names."""

    def watch(self, on_change: OnChange) -> StopWatching:
        """Report everyone who is present now, before returning, and from now on everyone who comes or goes."""

    async def ask(self, node: str, verb: Verb, payload: Payload, *, timeout_s: float) -> bytes:
        """The reply of the one of this name.

        What is asked of one of them with one verb leaves in that order. Raises whatever making the payload raises,
        NodeUnreachableError at once if nobody of that name is there or it goes away, NodeTimeoutError after
        `timeout_s`, and NodeError with its own words if it refuses.
        """


class Fabric(Peers, Protocol):
    """What a coordinator sees of the network: its nodes."""

    @property
    def identity(self) -> str:
        """What nodes call this coordinator by; they are told when it leaves the network, however it does."""

    @property
    def holders(self) -> Peers:
        """Whoever hands out model files: nodes, and clients that coordinate."""

    async def close(self) -> None:
        """Leave the network; asks under way end with NodeUnreachableError."""


class Host(Protocol):
    """The place of one node, or of one holder of model files, on the network."""

    async def serve(
        self, node: str, handlers: Mapping[Verb, Served], on_coordinator_gone: OnGone = lambda identity: None
    ) -> None:
        """Make `node` known and answer what it is asked, several asks at a time; be told of coordinators that left."""

    async def close(self, *, grace_s: float = 0.0) -> None:
        """Take the node off the network; what it was asked may still be answered for so long."""
