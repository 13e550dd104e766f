"""How fast the way to a node is, measured rather than believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from contextlib import suppress
from statistics import median

from equipoise.core.cluster import Link
from equipoise.dispatch.events import RoundTrip
from equipoise.errors import NodeError
from equipoise.fabric.base import Fabric, Verb

_PINGS = 5
_FIRST_BYTES = 64_000
_MOST_BYTES = 8_000_000
_GROWTH = (2.0, 8.0)  # of the size from one transfer to the next, at least and at most
_WORTH_S = 0.02  # a transfer of this length says enough about the bandwidth, where the latency is short
_WORTH_LATENCIES = 10  # over a long way TCP needs several round trips to find out what the link can take
_TRIES = 3  # of a transfer that is long enough: a packet that is lost at its end may hold it up for as long again
_LEAST_S = 1e-6  # what a transfer is taken to last if it was quicker than an empty round trip
_TIMEOUT_S = 10.0
_PING_TIMEOUT_S = 60.0  # while a request runs: what was sent before goes first


async def measure_link(fabric: Fabric, node: str) -> Link:
    """Latency as the shortest of a few empty round trips, bandwidth from ever larger payloads. Raises NodeError.

    What the link really carries decides, which on a lossy one is mostly a matter of TCP's congestion control. Replies
    are small, so that the way back is counted as latency.
    """
    latency_s = min([await _round_trip_s(fabric, node, 0) for _ in range(_PINGS)])
    worth_s = max(_WORTH_S, _WORTH_LATENCIES * latency_s)
    size_bytes = _FIRST_BYTES
    while True:
        transfer_s = await _round_trip_s(fabric, node, size_bytes) - latency_s
        if _is_enough(size_bytes, transfer_s, worth_s):
            more_s = [await _round_trip_s(fabric, node, size_bytes) - latency_s for _ in range(_TRIES - 1)]
            transfer_s = median([transfer_s, *more_s])
            if _is_enough(size_bytes, transfer_s, worth_s):
                return Link(latency_s=latency_s, bandwidth_bytes_per_s=size_bytes / max(transfer_s, _LEAST_S))
        growth = min(max(_GROWTH[0], 1.2 * worth_s / max(transfer_s, _LEAST_S)), _GROWTH[1])
        size_bytes = min(_MOST_BYTES, round(growth * size_bytes))


async def ping_for_ever(
    fabric: Fabric, nodes: Callable[[], Set[str]], tell: Callable[[RoundTrip], None], period_s: float
) -> None:
    """Tell how long the way to each of these nodes is, by empty messages, one at a time; until it is cancelled."""
    under_way: dict[str, asyncio.Task[None]] = {}

    async def ping(node: str) -> None:
        sent_s = asyncio.get_running_loop().time()
        with suppress(NodeError):
            await fabric.ask(node, Verb.PING, b"", timeout_s=_PING_TIMEOUT_S)
            tell(RoundTrip(now_s=asyncio.get_running_loop().time(), node=node, sent_s=sent_s))

    try:
        while True:
            await asyncio.sleep(period_s)
            under_way = {node: work for node, work in under_way.items() if not work.done()}
            under_way |= {node: asyncio.create_task(ping(node)) for node in sorted(nodes() - under_way.keys())}
    finally:
        for work in under_way.values():
            work.cancel()
        await asyncio.gather(*under_way.values(), return_exceptions=True)


def _is_enough(size_bytes: int, transfer_s: float, worth_s: float) -> bool:
    return transfer_s >= worth_s or size_bytes >= _MOST_BYTES


async def _round_trip_s(fabric: Fabric, node: str, size_bytes: int) -> float:
    payload = await asyncio.to_thread(bytes, size_bytes)
    began_s = time.perf_counter()
    await fabric.ask(node, Verb.PING, payload, timeout_s=_TIMEOUT_S)
    return time.perf_counter() - began_s
