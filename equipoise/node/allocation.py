"""Memory goes back to the system: a node that works for months must not grow."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Callable

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h
_EVERY_S = 5.0  # it takes about a millisecond; what is touched again afterwards costs a few more


def share_one_heap() -> bool:
    """Have all threads of this process take memory from one heap, before it has any; False where that cannot be told.

    Otherwise glibc gives nearly every thread a heap of its own, eight per core, and of each but the first keeps what is
    free at its end, which is as much as the thread ever needed at once: tens of MB that `malloc_trim` passes over.
    """
    set_option = _of_glibc("mallopt")
    return set_option is not None and set_option(_ARENA_MAX, 1) == 1


def give_memory_back() -> bool:
    """Have what is free, also in pieces between what is not, go back to the system; False where that cannot be told.

    glibc's thresholds would do it all the time (`mallopt`), but then every image and every tensor is new memory that
    has to be cleared and mapped: a sixth of the time of photos that need 2 ms each.
    """
    trim = _of_glibc("malloc_trim")
    if trim is None:
        return False
    trim(0)
    return True


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function that other C libraries lack."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


async def keep_giving_memory_back() -> None:
    """Do so now and then until cancelled; on a thread, for others wait for memory meanwhile."""
    while True:
        await asyncio.sleep(_EVERY_S)
        if not await asyncio.to_thread(give_memory_back):
            return
