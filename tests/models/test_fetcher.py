"""A file is put together from whoever has it; whoever sends something else is found out."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from equipoise.errors import EquipoiseError, ModelError
from equipoise.fabric.base import Verb
from equipoise.fabric.inprocess import InProcessFabric, InProcessHost
from equipoise.fabric.messages import ChunkMessage, HoldingsReply
from equipoise.models import fetcher as fetching
from equipoise.models import holders as holding
from equipoise.models.cache import ModelCache
from equipoise.models.description import ModelFile
from equipoise.models.fetcher import Fetcher
from equipoise.models.holders import Holders
from tests.held import held_by

CONTENT = bytes(range(256)) * 2000  # several chunks
FILE = ModelFile(hashlib.sha256(CONTENT).hexdigest(), ".onnx", len(CONTENT))
OTHER_CONTENT = b"another model"
OTHER = ModelFile(hashlib.sha256(OTHER_CONTENT).hexdigest(), ".onnx", len(OTHER_CONTENT))

OnChunk = Callable[[ChunkMessage], Awaitable[bytes]]


async def honest(wanted: ChunkMessage) -> bytes:
    return CONTENT[wanted.offset_bytes :][: wanted.size_bytes]


async def liar(wanted: ChunkMessage) -> bytes:
    return bytes(len(await honest(wanted)))


class Network:
    """Holders in this process, and a fetcher with an empty cache."""

    def __init__(self, folder: Path) -> None:
        self.fabric = InProcessFabric()
        self.cache = ModelCache(folder, 10**9)
        self.holders = Holders("me")
        self.holders.join(self.fabric.holders)
        self.wrong: list[tuple[str, ...]] = []
        self.fetcher = Fetcher(self.cache, self.holders, lambda file, sources: self.wrong.append(sources))

    async def add(self, name: str, on_chunk: OnChunk) -> InProcessHost:
        async def chunk(payload: bytes) -> bytes:
            return await on_chunk(msgspec.msgpack.decode(payload, type=ChunkMessage))

        async def holdings(_payload: bytes) -> bytes:
            return msgspec.msgpack.encode(HoldingsReply(files=(FILE.sha256, OTHER.sha256)))

        host = self.fabric.holder_host()
        await host.serve(name, {Verb.HOLDINGS: holdings, Verb.CHUNK: chunk})
        return host

    @property
    def content(self) -> bytes:
        return self.cache.path_of(FILE).read_bytes()


@pytest.fixture
async def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setattr(fetching, "_RETURN_S", 0.0)
    return Network(tmp_path)


async def test_a_file_comes_in_chunks(network: Network):
    await network.add("a", honest)

    fetched = await network.fetcher.fetch(FILE)

    assert network.content == CONTENT
    assert fetched is not None
    assert (fetched.sources, fetched.resumed_bytes) == (("a",), 0)


async def test_what_is_there_is_not_fetched_again(network: Network):
    await network.add("a", honest)
    await network.fetcher.fetch(FILE)

    assert await network.fetcher.fetch(FILE) is None


async def test_several_who_want_it_fetch_it_once(network: Network):
    await network.add("a", honest)

    fetched = await asyncio.gather(*(network.fetcher.fetch(FILE, urgent=urgent) for urgent in (False, True, False)))

    assert sum(one is not None for one in fetched) == 1


async def test_another_holder_goes_on_where_one_has_left(network: Network):
    async def leaves(wanted: ChunkMessage) -> bytes:
        if wanted.offset_bytes:
            network.fabric.holders.lose("a")
        return await honest(wanted)

    asked: list[int] = []

    async def noted(wanted: ChunkMessage) -> bytes:
        asked.append(wanted.offset_bytes)
        return await honest(wanted)

    await network.add("a", leaves)
    await network.add("b", noted)

    fetched = await network.fetcher.fetch(FILE)

    assert network.content == CONTENT
    assert fetched is not None
    assert fetched.sources == ("a", "b")
    assert min(asked) > 0


async def test_what_came_before_a_failure_is_kept_for_the_next_time(network: Network):
    async def refuses(wanted: ChunkMessage) -> bytes:
        if wanted.offset_bytes:
            raise EquipoiseError("the disk is broken")
        return await honest(wanted)

    await network.add("a", refuses)
    with pytest.raises(ModelError, match="the disk is broken"):
        await network.fetcher.fetch(FILE)
    await network.add("b", honest)

    fetched = await network.fetcher.fetch(FILE)

    assert fetched is not None
    assert fetched.resumed_bytes > 0
    assert network.content == CONTENT


async def test_who_sends_something_else_is_asked_no_more(network: Network):
    await network.add("a", liar)
    await network.add("b", honest)

    fetched = await network.fetcher.fetch(FILE)

    assert network.content == CONTENT
    assert fetched is not None
    assert fetched.sources == ("b",)
    assert network.wrong == [("a",)]


async def test_of_several_who_sent_a_wrong_file_together_the_liar_is_found(network: Network):
    async def half_a_liar(wanted: ChunkMessage) -> bytes:
        if wanted.offset_bytes:
            raise EquipoiseError("no more")
        return await liar(wanted)

    await network.add("a", half_a_liar)
    await network.add("b", honest)
    await network.add("c", liar)

    fetched = await network.fetcher.fetch(FILE)

    assert network.content == CONTENT
    assert fetched is not None
    assert fetched.sources == ("b",)


async def test_where_all_lie_nothing_is_kept(network: Network):
    await network.add("a", liar)
    await network.add("b", liar)

    with pytest.raises(ModelError, match="cannot be fetched"):
        await network.fetcher.fetch(FILE)
    assert FILE not in network.cache
    assert network.cache.here_bytes(FILE) == 0


@pytest.mark.parametrize("answer", [b"", b"too short", bytes(2 * len(CONTENT))])
async def test_a_chunk_of_another_size_than_asked_for_is_refused(network: Network, answer: bytes):
    async def odd(_wanted: ChunkMessage) -> bytes:
        return answer

    await network.add("a", odd)
    with pytest.raises(ModelError, match="bytes of a model file in place of"):
        await network.fetcher.fetch(FILE)


@pytest.mark.parametrize(("busy", "urgent"), [(True, False), (True, True), (False, False)])
async def test_while_a_node_has_tasks_it_fetches_in_small_chunks_unless_a_task_waits_for_it(
    network: Network, busy: bool, urgent: bool
):
    sizes: list[int] = []

    async def noted(wanted: ChunkMessage) -> bytes:
        sizes.append(wanted.size_bytes)
        return await honest(wanted)

    await network.add("a", noted)
    fetcher = Fetcher(network.cache, network.holders, lambda file, sources: None, lambda: busy)
    await fetcher.fetch(FILE, urgent=urgent)

    assert (max(sizes) > 1 << 16) == (urgent or not busy)


async def test_what_a_task_waits_for_has_the_room_of_what_is_fetched_at_leisure(tmp_path: Path):
    network = Network(tmp_path)
    network.cache.most_bytes = FILE.size_bytes  # for one at a time
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(wanted: ChunkMessage) -> bytes:
        if wanted.sha256 == OTHER.sha256:
            return OTHER_CONTENT[wanted.offset_bytes :][: wanted.size_bytes]
        began.set()
        await go_on.wait()
        return await honest(wanted)

    await network.add("a", slow)
    at_leisure = asyncio.ensure_future(network.fetcher.fetch(FILE))
    await began.wait()
    needed = asyncio.ensure_future(network.fetcher.fetch(OTHER, urgent=True))
    await asyncio.sleep(0)
    go_on.set()

    assert await needed is not None
    assert await at_leisure is not None
    assert network.content == CONTENT


async def test_where_nobody_has_it_that_is_said(network: Network):
    with pytest.raises(ModelError, match="no node or client that is there has it"):
        await network.fetcher.fetch(FILE)


async def test_how_long_a_file_will_take_is_known_once_its_holder_has_sent_something(network: Network):
    await network.add("a", honest)
    await network.holders.look()
    assert network.holders.fetch_s(FILE) is None
    await network.holders.try_out(FILE)

    whole_s = network.holders.fetch_s(FILE)
    assert whole_s is not None
    assert network.holders.fetch_s(FILE, here_bytes=FILE.size_bytes // 2) == pytest.approx(whole_s / 2)
    network.fabric.holders.lose("a")
    assert network.holders.fetch_s(FILE) is None
    await network.add("b", honest)
    await network.holders.look()
    assert network.holders.fetch_s(FILE) == whole_s  # who never sent anything is taken to be as slow as the slowest


async def test_of_holders_that_are_gone_only_the_last_are_remembered_and_those_who_are_there_never_forgotten(
    network: Network, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(holding, "_MOST_GONE", 3)
    holders = network.holders
    await sends_and_leaves(network, "stays", leaves=False)
    for number in range(4):
        await sends_and_leaves(network, f"client-{number}")
    held = held_by(holders)

    for number in range(4, 20):
        await sends_and_leaves(network, f"client-{number}")

    assert held_by(holders) == held
    assert holders.fetch_s(FILE) is not None


async def sends_and_leaves(network: Network, name: str, *, leaves: bool = True) -> None:
    """A holder of whom it is known from then on how fast it sends."""
    host = await network.add(name, honest)
    await network.holders.look()
    await network.holders.chunk(name, FILE, 0)
    if leaves:
        await host.close()
        await network.holders.look()
