"""Does the node that is never killed grow? What it takes is compared between two quarters of its life."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks.chaos.harm import SPARED

FLAT_BYTES = 3_000_000  # what medians of the same process may differ by: it is looked at any time after its last trim
_FEWEST = 80  # requests that say something of growth: two quarters of 20


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's process has taken after a request of its life."""

    board: str
    life: int
    request: int
    memory_bytes: int
    threads: int
    files: int


class Quarters(NamedTuple):
    """Medians over a quarter of the requests: the second, once models are loaded and pools are filled, and the last."""

    requests: int
    second: Memory
    last: Memory


def quarters(memory: Iterable[Memory]) -> Quarters | None:
    """Of the node that is never killed; None if there were too few requests to say."""
    spared = [one for one in memory if one.board == SPARED]
    if len(spared) < _FEWEST:
        return None
    length = len(spared) // 4
    return Quarters(len(spared), _median(spared[length : 2 * length]), _median(spared[-length:]))


def grown(memory: Iterable[Memory]) -> Iterator[str]:
    """Why memory, threads and open files are not flat."""
    found = quarters(memory)
    if found is None:
        return
    _, second, last = found
    if last.memory_bytes > second.memory_bytes + FLAT_BYTES:
        yield f"{SPARED} grew from {second.memory_bytes / 1e6:.1f} MB to {last.memory_bytes / 1e6:.1f} MB"
    for what in ("threads", "files"):
        before, after = getattr(second, what), getattr(last, what)
        if after > before + 1:  # pools that are used to different degrees
            yield f"{SPARED} had {before} {what} in the second quarter and {after} in the last one"


def _median(part: Sequence[Memory]) -> Memory:
    memory_bytes, threads, files = (
        round(median(getattr(one, what) for one in part)) for what in ("memory_bytes", "threads", "files")
    )
    return msgspec.structs.replace(part[0], memory_bytes=memory_bytes, threads=threads, files=files)
