"""What every fabric promises, run against each implementation."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from equipoise.errors import ModelError, NodeError, NodeTimeoutError, NodeUnreachableError
from equipoise.fabric.base import AtOnce, Fabric, Host, Question, Served, Verb
from equipoise.fabric.config import ZenohSettings
from equipoise.fabric.inprocess import InProcessFabric
from equipoise.fabric.zenoh import ZenohFabric, ZenohHost

Join = Callable[[], Awaitable[Host]]


@asynccontextmanager
async def in_process() -> AsyncIterator[tuple[Fabric, Join]]:
    fabric = InProcessFabric()

    async def join() -> Host:
        return fabric.host()

    yield fabric, join
    await fabric.close()


@asynccontextmanager
async def over_zenoh() -> AsyncIterator[tuple[Fabric, Join]]:
    fabric, endpoint = await ZenohFabric.open_on_loopback("a test / of names?")

    async def join() -> Host:
        return await ZenohHost.open(ZenohSettings(cluster="a test / of names?", connect=(endpoint,)))

    yield fabric, join
    await fabric.close()


@pytest.fixture(params=[in_process, over_zenoh], ids=["in-process", "zenoh"])
async def network(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Fabric, Join]]:
    async with request.param() as both:
        yield both


async def until_seen(fabric: Fabric, node: str, present: bool = True) -> None:
    seen = asyncio.Event()
    stop = fabric.watch(lambda name, here: seen.set() if (name, here) == (node, present) else None)
    await asyncio.wait_for(seen.wait(), 10)
    stop()


async def serve(join: Join, fabric: Fabric, handler: Served, node: str = "pi 4 #1?") -> Host:
    host = await join()
    await host.serve(node, {Verb.INFER: handler})
    await until_seen(fabric, node)
    return host


async def double(payload: bytes) -> bytes:
    return payload * 2


async def test_a_node_that_serves_is_seen_and_answers(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    host = await serve(join, fabric, double)

    assert await fabric.ask("pi 4 #1?", Verb.INFER, b"ab", timeout_s=10) == b"abab"
    await host.close()


async def test_payloads_of_tens_of_megabytes_travel_both_ways(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    host = await serve(join, fabric, double)
    payload = bytes(range(256)) * 80_000

    assert await fabric.ask("pi 4 #1?", Verb.INFER, payload, timeout_s=30) == payload * 2
    await host.close()


async def test_a_node_answers_several_asks_at_a_time(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    both_there = asyncio.Event()
    arrived: list[bytes] = []

    async def wait_for_the_other(payload: bytes) -> bytes:
        arrived.append(payload)
        if len(arrived) == 2:
            both_there.set()
        await both_there.wait()
        return payload

    host = await serve(join, fabric, wait_for_the_other)
    answers = await asyncio.gather(*(fabric.ask("pi 4 #1?", Verb.INFER, p, timeout_s=10) for p in (b"a", b"b")))

    assert answers == [b"a", b"b"]
    await host.close()


async def test_a_node_that_was_never_there_is_unreachable(network: tuple[Fabric, Join]) -> None:
    fabric, _ = network

    with pytest.raises(NodeUnreachableError, match="nobody"):
        await fabric.ask("nobody", Verb.INFER, b"", timeout_s=10)


async def test_an_ask_in_flight_ends_when_its_node_leaves(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    asked = asyncio.Event()

    async def never(payload: bytes) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return payload

    host = await serve(join, fabric, never)
    ask = asyncio.create_task(fabric.ask("pi 4 #1?", Verb.INFER, b"", timeout_s=600))
    await asked.wait()
    await host.close()

    with pytest.raises(NodeUnreachableError):
        await asyncio.wait_for(ask, 10)


async def test_a_node_that_does_not_answer_in_time_times_out(network: tuple[Fabric, Join]) -> None:
    fabric, join = network

    async def too_slow(payload: bytes) -> bytes:
        await asyncio.sleep(600)
        return payload

    host = await serve(join, fabric, too_slow)

    with pytest.raises(NodeTimeoutError, match=r"0\.05 s"):
        await fabric.ask("pi 4 #1?", Verb.INFER, b"", timeout_s=0.05)
    await host.close()


async def test_a_refusal_arrives_in_the_nodes_own_words(network: tuple[Fabric, Join]) -> None:
    fabric, join = network

    async def refuse(payload: bytes) -> bytes:
        raise ModelError("no such variant")

    host = await serve(join, fabric, refuse)

    with pytest.raises(NodeError, match="no such variant"):
        await fabric.ask("pi 4 #1?", Verb.INFER, b"", timeout_s=10)
    await host.close()


async def test_what_makes_a_payload_runs_beside_the_loop_and_what_it_raises_is_raised(
    network: tuple[Fabric, Join],
) -> None:
    fabric, join = network
    host = await serve(join, fabric, double)
    made_on: list[threading.Thread] = []

    def make() -> bytes:
        made_on.append(threading.current_thread())
        return b"ab"

    def fail() -> bytes:
        raise ZeroDivisionError

    assert await fabric.ask("pi 4 #1?", Verb.INFER, make, timeout_s=10) == b"abab"
    assert made_on != [threading.current_thread()]
    with pytest.raises(ZeroDivisionError):
        await fabric.ask("pi 4 #1?", Verb.INFER, fail, timeout_s=10)
    await host.close()


async def test_asks_leave_in_order_however_long_it_takes_to_make_them(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    arrived: list[bytes] = []

    async def note(payload: bytes) -> bytes:
        arrived.append(payload)
        return payload

    host = await serve(join, fabric, note)
    payloads = [bytes([number]) for number in range(10)]

    def making(payload: bytes) -> Callable[[], bytes]:
        def make() -> bytes:
            time.sleep(0.01 - payload[0] / 1000)
            return payload

        return make

    await asyncio.gather(*(fabric.ask("pi 4 #1?", Verb.INFER, making(p), timeout_s=10) for p in payloads))

    assert arrived == payloads
    await host.close()


async def test_what_nobody_waits_for_any_more_is_not_sent(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    arrived: list[bytes] = []
    go_on = threading.Event()

    async def note(payload: bytes) -> bytes:
        arrived.append(payload)
        return payload

    def make() -> bytes:
        go_on.wait()
        return b"late"

    host = await serve(join, fabric, note)
    with pytest.raises(NodeTimeoutError):
        await fabric.ask("pi 4 #1?", Verb.INFER, make, timeout_s=0.05)
    go_on.set()

    assert await fabric.ask("pi 4 #1?", Verb.INFER, b"next", timeout_s=10) == b"next"
    assert arrived == [b"next"]
    await host.close()


async def test_what_is_in_a_hurry_is_answered_from_any_thread(network: tuple[Fabric, Join]) -> None:
    fabric, join = network

    def receive(question: Question) -> None:
        threading.Thread(target=lambda: question.answer(lambda: question.payload * 2)).start()

    host = await serve(join, fabric, AtOnce(receive))

    assert await fabric.ask("pi 4 #1?", Verb.INFER, b"ab", timeout_s=10) == b"abab"
    await host.close()


async def test_what_is_in_a_hurry_is_refused_at_once_or_when_the_answer_is_made(network: tuple[Fabric, Join]) -> None:
    fabric, join = network

    def receive(question: Question) -> None:
        if question.payload == b"at once":
            raise ModelError("no such variant")
        question.answer(make)

    def make() -> bytes:
        raise ModelError("it does not run")

    host = await serve(join, fabric, AtOnce(receive))

    with pytest.raises(NodeError, match="no such variant"):
        await fabric.ask("pi 4 #1?", Verb.INFER, b"at once", timeout_s=10)
    with pytest.raises(NodeError, match="it does not run"):
        await fabric.ask("pi 4 #1?", Verb.INFER, b"", timeout_s=10)
    await host.close()


async def test_a_node_that_leaves_gives_an_answer_in_a_hurry_some_time(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    asked: asyncio.Queue[Question] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    host = await serve(join, fabric, AtOnce(lambda question: loop.call_soon_threadsafe(asked.put_nowait, question)))
    ask = asyncio.create_task(fabric.ask("pi 4 #1?", Verb.INFER, b"ab", timeout_s=600))
    question = await asked.get()
    closing = asyncio.create_task(host.close(grace_s=10))
    await asyncio.sleep(0.05)
    question.answer(b"just in time")

    assert await asyncio.wait_for(ask, 10) == b"just in time"
    await closing


async def test_an_answer_after_the_node_has_left_is_lost(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    asked: asyncio.Queue[Question] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    host = await serve(join, fabric, AtOnce(lambda question: loop.call_soon_threadsafe(asked.put_nowait, question)))
    ask = asyncio.create_task(fabric.ask("pi 4 #1?", Verb.INFER, b"ab", timeout_s=600))
    question = await asked.get()
    await host.close()
    question.answer(b"too late")

    with pytest.raises(NodeUnreachableError):
        await asyncio.wait_for(ask, 10)


async def test_closing_ends_the_asks_under_way(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    asked = asyncio.Event()

    async def never(payload: bytes) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return payload

    host = await serve(join, fabric, never)
    ask = asyncio.create_task(fabric.ask("pi 4 #1?", Verb.INFER, b"", timeout_s=600))
    await asked.wait()
    await fabric.close()

    with pytest.raises(NodeUnreachableError):
        await asyncio.wait_for(ask, 10)
    await host.close()


async def test_every_watcher_hears_of_comings_and_goings_until_it_stops(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    early: list[tuple[str, bool]] = []
    stopped: list[tuple[str, bool]] = []
    fabric.watch(lambda *change: early.append(change))
    fabric.watch(lambda *change: stopped.append(change))()
    host = await serve(join, fabric, double, node="pi")
    await host.close()
    await until_gone(fabric, "pi")

    assert early == [("pi", True), ("pi", False)]
    assert stopped == []


async def until_gone(fabric: Fabric, node: str) -> None:
    while True:
        present: set[str] = set()
        fabric.watch(lambda name, here, present=present: present.add(name) if here else None)()
        if node not in present:
            return
        await asyncio.sleep(0.01)


async def test_a_node_is_told_of_a_coordinator_that_leaves(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    host = await join()
    gone: asyncio.Queue[str] = asyncio.Queue()
    await host.serve("pi", {Verb.INFER: double}, gone.put_nowait)
    await until_seen(fabric, "pi")
    await fabric.close()

    assert await asyncio.wait_for(gone.get(), 10) == fabric.identity
    await host.close()


async def test_a_node_that_is_started_anew_takes_the_place_of_the_one_before(network: tuple[Fabric, Join]) -> None:
    fabric, join = network
    if not isinstance(fabric, ZenohFabric):
        pytest.skip("in one process no node is there twice")

    async def old(_payload: bytes) -> bytes:
        return b"old"

    async def new(_payload: bytes) -> bytes:
        return b"new"

    before = await serve(join, fabric, old, node="pi")
    changes: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    fabric.watch(lambda *change: changes.put_nowait(change))
    after = await join()
    await after.serve("pi", {Verb.INFER: new})

    assert [await asyncio.wait_for(changes.get(), 10) for _ in range(3)] == [("pi", True), ("pi", False), ("pi", True)]
    assert await fabric.ask("pi", Verb.INFER, b"", timeout_s=10) == b"new"
    await before.close()
    assert await fabric.ask("pi", Verb.INFER, b"", timeout_s=10) == b"new"
    await after.close()
