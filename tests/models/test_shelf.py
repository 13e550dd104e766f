"""What a holder hands out, and to whatever it is asked that it does not."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from equipoise.core.family import Family
from equipoise.errors import EquipoiseError
from equipoise.fabric.base import Verb
from equipoise.fabric.messages import CHUNK_BYTES, FamilyDescription, HoldingsReply
from equipoise.families.identity import identity_of
from equipoise.models.description import describe, family_in
from equipoise.models.shelf import Shelf

encode = msgspec.msgpack.encode


@pytest.fixture
def shelf(tiny_family: Family) -> Shelf:
    shelf = Shelf()
    shelf.put(tiny_family, describe(tiny_family))
    return shelf


def chunk_of(sha256: object, offset_bytes: object = 0, size_bytes: object = 100) -> bytes:
    return encode({"sha256": sha256, "offset_bytes": offset_bytes, "size_bytes": size_bytes})


async def test_a_family_arrives_as_what_it_is_wherever_its_files_lie(shelf: Shelf, tiny_family: Family):
    identity = identity_of(tiny_family)

    told = await shelf.handlers[Verb.FAMILY](encode({"identity": identity}))

    description = msgspec.msgpack.decode(told, type=FamilyDescription)
    arrived = family_in(tiny_family.folder / "elsewhere", description)
    assert identity_of(arrived) == identity
    assert [model.accuracy for model in arrived.models] == [model.accuracy for model in tiny_family.models]


async def test_a_holder_tells_which_files_it_can_send_now(shelf: Shelf, tiny_family: Family):
    gone = family_in(tiny_family.folder / "nothing here", describe(tiny_family))
    gone = msgspec.structs.replace(
        gone, name="gone", models=(msgspec.structs.replace(gone.models[0], sha256="0" * 64),)
    )
    shelf.put(gone, describe(tiny_family))

    told = msgspec.msgpack.decode(await shelf.handlers[Verb.HOLDINGS](b""), type=HoldingsReply)

    assert told.families == (identity_of(tiny_family), identity_of(gone))
    assert told.files == (tiny_family.models[0].sha256,)


async def test_chunks_make_up_the_file(shelf: Shelf, tiny_family: Family):
    sha256 = tiny_family.models[0].sha256
    content = b""
    size_bytes = tiny_family.path_of(tiny_family.models[0]).stat().st_size
    while len(content) < size_bytes:
        content += await shelf.handlers[Verb.CHUNK](chunk_of(sha256, len(content)))

    assert hashlib.sha256(content).hexdigest() == sha256


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xc1",
        b"random bytes",
        chunk_of("../../../../etc/passwd"),
        chunk_of("f" * 63),
        chunk_of(None),
        chunk_of("0" * 64, -1),
        chunk_of("0" * 64, 1 << 60),
        chunk_of("0" * 64, 0, 0),
        chunk_of("0" * 64, 0, CHUNK_BYTES + 1),
    ],
)
async def test_garbage_is_refused(shelf: Shelf, garbage: bytes):
    with pytest.raises(EquipoiseError, match="not a message"):
        await shelf.handlers[Verb.CHUNK](garbage)


async def test_only_files_of_its_families_are_handed_out(shelf: Shelf):
    with pytest.raises(EquipoiseError, match="no family here has"):
        await shelf.handlers[Verb.CHUNK](chunk_of("0" * 64))
    with pytest.raises(EquipoiseError, match="not known here"):
        await shelf.handlers[Verb.FAMILY](encode({"identity": "0" * 64}))


async def test_a_chunk_beyond_the_end_is_refused_and_the_last_one_is_short(shelf: Shelf, tiny_family: Family):
    model = tiny_family.models[0]
    size_bytes = tiny_family.path_of(model).stat().st_size

    with pytest.raises(EquipoiseError, match=f"ends before byte {size_bytes}"):
        await shelf.handlers[Verb.CHUNK](chunk_of(model.sha256, size_bytes))
    assert len(await shelf.handlers[Verb.CHUNK](chunk_of(model.sha256, size_bytes - 1))) == 1
