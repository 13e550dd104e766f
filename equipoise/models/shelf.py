"""What a holder hands out: descriptions of its families, and their model files in chunks. Nothing else, by no name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from equipoise.core.family import Family
from equipoise.errors import EquipoiseError, ModelError, reason_of
from equipoise.fabric.base import Handler, Verb
from equipoise.fabric.messages import ChunkMessage, FamilyDescription, FamilyMessage, HoldingsReply
from equipoise.families.identity import identity_of

_AT_ONCE = 2  # chunks that are read from the disk at the same time

M = TypeVar("M")

_encode = msgspec.msgpack.encode
_decode_family = msgspec.msgpack.Decoder(FamilyMessage).decode
_decode_chunk = msgspec.msgpack.Decoder(ChunkMessage).decode


class Shelf:
    """Families whose files are here, or some of them. Lives on the event loop's thread."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[Family, FamilyDescription]] = {}
        self._reading = asyncio.Semaphore(_AT_ONCE)

    def put(self, family: Family, description: FamilyDescription) -> None:
        """Hand this family out from now on, as far as its files are there."""
        self._families[identity_of(family)] = family, description

    def take(self, identity: str) -> None:
        """Hand this family out no longer."""
        self._families.pop(identity, None)

    @property
    def handlers(self) -> Mapping[Verb, Handler]:
        """What a holder answers."""
        return {Verb.HOLDINGS: self._holdings, Verb.FAMILY: self._describe, Verb.CHUNK: self._chunk}

    async def _holdings(self, _payload: bytes) -> bytes:
        files = await asyncio.to_thread(_files, tuple(self._paths()))
        return _encode(HoldingsReply(families=tuple(self._families), files=files))

    async def _describe(self, payload: bytes) -> bytes:
        wanted = _decoded(_decode_family, payload).identity
        if wanted not in self._families:
            raise EquipoiseError(f"family {wanted} is not known here")
        return _encode(self._families[wanted][1])

    async def _chunk(self, payload: bytes) -> bytes:
        wanted = _decoded(_decode_chunk, payload)
        paths = [path for sha256, path in self._paths() if sha256 == wanted.sha256]
        if not paths:
            raise ModelError(f"no family here has a model file {wanted.sha256}")
        async with self._reading:
            return await asyncio.to_thread(_read, paths, wanted)

    def _paths(self) -> Iterator[tuple[str, Path]]:
        for family, _ in self._families.values():
            for model in family.models:
                yield model.sha256, family.path_of(model)


def _files(paths: tuple[tuple[str, Path], ...]) -> tuple[str, ...]:
    return tuple(sorted({sha256 for sha256, path in paths if path.is_file()}))


def _read(paths: list[Path], wanted: ChunkMessage) -> bytes:
    """The chunk from the first of these files that can be read."""
    reason = ""
    for path in paths:
        try:
            with path.open("rb") as file:
                file.seek(wanted.offset_bytes)
                chunk = file.read(wanted.size_bytes)
        except OSError as error:
            reason = reason_of(error)
            continue
        if not chunk:
            raise ModelError(f"model file {wanted.sha256} ends before byte {wanted.offset_bytes}")
        return chunk
    raise ModelError(f"model file {wanted.sha256} is no longer here: {reason}")


def _decoded(decode: Callable[[bytes], M], payload: bytes) -> M:
    try:
        return decode(payload)
    except msgspec.DecodeError as error:
        raise EquipoiseError(f"not a message that this version understands: {error}") from error
