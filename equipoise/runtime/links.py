"""How fast the way to a node is, measured rather than believed."""

from __future__ import annotations

import asyncio
import time

from equipoise.core.cluster import Link
from equipoise.fabric.base import Fabric, Verb

_PINGS = 5
_FIRST_BYTES = 64_000
_MOST_BYTES = 8_000_000
_GROWTH = 4
_WORTH_S = 0.02  # a transfer of this length says enough about the bandwidth, where the latency is short
_WORTH_LATENCIES = 10  # over a long way TCP needs several round trips to find out what the link can take
_TRIES = (
    2  # of each size: a packet that is lost at the end of a transfer holds it up for longer than all the rest takes
)
_TIMEOUT_S = 10.0


async def measure_link(fabric: Fabric, node: str) -> Link:
    """Latency as the shortest of a few empty round trips, bandwidth from ever larger payloads. Raises NodeError.

    What the link really carries decides, which on a lossy one is mostly a matter of TCP's congestion control. Replies
    are small, so that the way back is counted as latency.
    """
    latency_s = await _best_s(fabric, node, 0, tries=_PINGS)
    worth_s = max(_WORTH_S, _WORTH_LATENCIES * latency_s)
    size_bytes = _FIRST_BYTES
    while True:
        transfer_s = await _best_s(fabric, node, size_bytes, tries=_TRIES) - latency_s
        if transfer_s >= worth_s or size_bytes >= _MOST_BYTES:
            return Link(latency_s=latency_s, bandwidth_bytes_per_s=size_bytes / max(transfer_s, 1e-6))
        size_bytes = min(_MOST_BYTES, _GROWTH * size_bytes)


async def _best_s(fabric: Fabric, node: str, size_bytes: int, *, tries: int) -> float:
    return min([await _round_trip_s(fabric, node, size_bytes) for _ in range(tries)])


async def _round_trip_s(fabric: Fabric, node: str, size_bytes: int) -> float:
    payload = await asyncio.to_thread(bytes, size_bytes)
    began_s = time.perf_counter()
    await fabric.ask(node, Verb.PING, payload, timeout_s=_TIMEOUT_S)
    return time.perf_counter() - began_s
