"""Memory goes back to the system: a node that works for months must not grow."""

from __future__ import annotations

import asyncio
import ctypes
import sys

_EVERY_S = 5.0  # it takes about a millisecond; what is touched again afterwards costs a few more


def give_memory_back() -> bool:
    """Have what is free, also in pieces between what is not, go back to the system; False where that cannot be told.

    glibc's thresholds would do it all the time (`mallopt`), but then every image and every tensor is new memory that
    has to be cleared and mapped: a sixth of the time of photos that need 2 ms each.
    """
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is None:
        return False
    trim(0)
    return True


async def keep_giving_memory_back() -> None:
    """Do so now and then until cancelled; on a thread, for others wait for memory meanwhile."""
    while True:
        await asyncio.sleep(_EVERY_S)
        if not await asyncio.to_thread(give_memory_back):
            return
