"""Whoever hands out model files: what they have, how fast they send it, and who sent something else instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

from equipoise.errors import NodeError
from equipoise.fabric.base import Peers, StopWatching, Verb
from equipoise.fabric.messages import CHUNK_BYTES, ChunkMessage, FamilyDescription, FamilyMessage, HoldingsReply
from equipoise.models.description import ModelFile

_ASK_S = 5.0
_CHUNK_S = 15.0  # until a chunk is given up on
_WANTED_CHUNK_S = 0.1  # so that others have the link often
_FIRST_BYTES = 1 << 16  # and the fewest
_TELLING_S = 0.02  # a shorter transfer says little of the link: what buffers there are take it in at once
_TRIES = 6  # in which a chunk grows from the smallest to the largest, and comes once more
_NEWEST = 0.3  # what the latest chunk counts in a holder's speed
_MOST_GONE = 64  # holders that are gone of whom it is remembered how fast they sent

T = TypeVar("T")

_encode = msgspec.msgpack.encode
_decode_holdings = msgspec.msgpack.Decoder(HoldingsReply).decode
_decode_family = msgspec.msgpack.Decoder(FamilyDescription).decode


class Holders:
    """The holders on the network, other than this process. Asked on the event loop's thread, read on any.

    `changes` counts how often somebody came or went.
    """

    def __init__(self, own_name: str) -> None:
        self.changes = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._own_name = own_name
        self._peers: Peers | None = None
        self._stop: StopWatching = lambda: None
        self._present: set[str] = set()
        self._files: dict[str, frozenset[str]] = {}  # by holder
        self._speed_bytes_per_s: dict[str, float] = {}
        self._measured: set[str] = set()  # those of whom that speed is known from a transfer that says something
        self._chunk_bytes: dict[str, int] = {}  # that the next chunk is to have
        self._gone: dict[str, None] = {}  # of whom the speed is known all the same, the one that left last at the end
        self._banned: frozenset[tuple[str, str]] = frozenset()  # holder, and the file that it sent wrongly

    def join(self, peers: Peers) -> None:
        """Look on this network from now on."""
        self._stop()
        self._present.clear()
        self._peers = peers
        self._stop = peers.watch(self._on_change)

    def leave(self) -> None:
        """There is no network for now."""
        self._stop()
        self._stop, self._peers = lambda: None, None
        for name in self._present:
            self._remember_gone(name)
        self._present.clear()
        self._files = {}

    async def changed(self, since: int, timeout_s: float) -> bool:
        """Wait until `changes` is no longer what it was; False if that does not happen in time."""
        if self.changes != since:
            return True
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await asyncio.wait_for(waiting, timeout_s)
        except asyncio.TimeoutError:
            return False
        finally:
            self._waiting.discard(waiting)
        return True

    def stir(self) -> None:
        """Have everybody who waits for a change look again."""
        self.changes += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def look(self) -> dict[str, str]:
        """Ask everybody what they have; by identity of a family somebody who knows it."""
        names = sorted(self._present)
        told = await asyncio.gather(*(self._holdings(name) for name in names))
        self._files = {name: frozenset(one.files) for name, one in zip(names, told, strict=True)}
        return {
            identity: name
            for name, one in zip(names, told, strict=True)
            for identity in one.families
            if (name, identity) not in self._banned
        }

    def having(self, sha256: str) -> tuple[str, ...]:
        """Who had a file when last asked, and is still there; whoever sends fastest comes first."""
        found = [
            name
            for name, files in self._files.items()
            if sha256 in files and name in self._present and (name, sha256) not in self._banned
        ]
        return tuple(sorted(found, key=lambda name: (-self._speed_bytes_per_s.get(name, 0.0), name)))

    def fetch_s(self, file: ModelFile, here_bytes: int = 0) -> float | None:
        """How long it takes to fetch what is not here yet of a file, from the holder that sent fastest so far.

        Who never sent anything is taken to be as slow as the slowest who did. None if nobody is known to have it, or
        nobody ever sent anything.
        """
        having, known = self.having(file.sha256), self._speed_bytes_per_s
        if not having or not known:
            return None
        return (file.size_bytes - here_bytes) / known.get(having[0], min(known.values()))

    def ban(self, holder: str, sha256: str) -> None:
        """Ask this holder no more for that, until it has left and come again."""
        self._banned |= {(holder, sha256)}

    async def describe(self, holder: str, identity: str) -> FamilyDescription:
        """The family of this identity, as the holder describes it. Raises NodeError."""
        message = _encode(FamilyMessage(identity=identity))
        return _decoded(_decode_family, await self._ask(holder, Verb.FAMILY, message, _ASK_S), holder)

    async def chunk(self, holder: str, file: ModelFile, offset_bytes: int, *, small: bool = False) -> bytes:
        """The next part of a file, as large as the link to its holder lets it be, or small. Raises NodeError."""
        wanted_bytes = _FIRST_BYTES if small else self._chunk_bytes.get(holder, _FIRST_BYTES)
        size_bytes = min(wanted_bytes, file.size_bytes - offset_bytes)
        message = ChunkMessage(sha256=file.sha256, offset_bytes=offset_bytes, size_bytes=size_bytes)
        began_s = asyncio.get_running_loop().time()
        chunk = await self._ask(holder, Verb.CHUNK, _encode(message), _CHUNK_S)
        if len(chunk) != size_bytes:
            raise NodeError(f"it sent {len(chunk)} bytes of a model file in place of {size_bytes}", node=holder)
        if not small:
            self._learn(holder, size_bytes, max(asyncio.get_running_loop().time() - began_s, 1e-6))
        return chunk

    async def try_out(self, file: ModelFile) -> None:
        """Learn how fast somebody who has the file sends it, from its beginning. Raises NodeError."""
        for holder in self.having(file.sha256)[:1]:
            for _ in range(_TRIES):
                if holder not in self._measured:
                    await self.chunk(holder, file, 0)

    def _learn(self, holder: str, size_bytes: int, took_s: float) -> None:
        """What a chunk says of its holder's speed, and how large the next one is to be."""
        speed = size_bytes / took_s
        if took_s >= _TELLING_S or size_bytes == CHUNK_BYTES:
            before = self._speed_bytes_per_s[holder] if holder in self._measured else speed
            self._speed_bytes_per_s[holder] = (1 - _NEWEST) * before + _NEWEST * speed
            self._measured.add(holder)
        elif holder not in self._measured:
            self._speed_bytes_per_s[holder] = speed  # better than nothing
        if took_s < _WANTED_CHUNK_S / 2:
            before_bytes = self._chunk_bytes.get(holder, _FIRST_BYTES)
            self._chunk_bytes[holder] = min(max(before_bytes, 2 * size_bytes), CHUNK_BYTES)
        elif took_s > 2 * _WANTED_CHUNK_S:
            self._chunk_bytes[holder] = max(size_bytes // 2, _FIRST_BYTES)

    def _on_change(self, name: str, here: bool) -> None:
        if name == self._own_name:
            return
        self._gone.pop(name, None)
        if here:
            self._present.add(name)
        else:
            self._present.discard(name)
            self._banned = frozenset(entry for entry in self._banned if entry[0] != name)
            self._remember_gone(name)
        self.stir()

    def _remember_gone(self, name: str) -> None:
        """Nodes come back, but every client that hands out models has a name of its own and never does."""
        if name in self._speed_bytes_per_s:
            self._gone[name] = None
        for forgotten in tuple(self._gone)[:-_MOST_GONE]:
            del self._gone[forgotten], self._speed_bytes_per_s[forgotten]
            self._measured.discard(forgotten)
            self._chunk_bytes.pop(forgotten, None)

    async def _holdings(self, holder: str) -> HoldingsReply:
        with suppress(NodeError):  # then it has nothing for now
            return _decoded(_decode_holdings, await self._ask(holder, Verb.HOLDINGS, b"", _ASK_S), holder)
        return HoldingsReply()

    async def _ask(self, holder: str, verb: Verb, payload: bytes, timeout_s: float) -> bytes:
        if self._peers is None:
            raise NodeError("this side is not on the network now", node=holder)
        return await self._peers.ask(holder, verb, payload, timeout_s=timeout_s)


def _decoded(decode: Callable[[bytes], T], payload: bytes, holder: str) -> T:
    try:
        return decode(payload)
    except msgspec.DecodeError as error:
        raise NodeError(f"what it says of its models cannot be understood: {error}", node=holder) from error
