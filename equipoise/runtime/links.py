"""How fast the way to a node is, measured rather than believed."""

from __future__ import annotations

import asyncio
import time

from equipoise.core.cluster import Link
from equipoise.fabric.base import Fabric, Verb

_PINGS = 5
_FIRST_BYTES = 64_000
_MOST_BYTES = 8_000_000
_WORTH_S = 0.02  # a transfer of this length says enough about the bandwidth
_TIMEOUT_S = 10.0


async def measure_link(fabric: Fabric, node: str) -> Link:
    """Latency as the shortest of a few empty round trips, bandwidth from ever larger payloads. Raises NodeError.

    Replies are small, so that the way back is counted as latency.
    """
    latency_s = min([await _round_trip_s(fabric, node, 0) for _ in range(_PINGS)])
    size_bytes = _FIRST_BYTES
    while True:
        transfer_s = await _round_trip_s(fabric, node, size_bytes) - latency_s
        if transfer_s >= _WORTH_S or size_bytes >= _MOST_BYTES:
            return Link(latency_s=latency_s, bandwidth_bytes_per_s=size_bytes / max(transfer_s, 1e-6))
        size_bytes *= 2


async def _round_trip_s(fabric: Fabric, node: str, size_bytes: int) -> float:
    payload = await asyncio.to_thread(bytes, size_bytes)
    began_s = time.perf_counter()
    await fabric.ask(node, Verb.PING, payload, timeout_s=_TIMEOUT_S)
    return time.perf_counter() - began_s
