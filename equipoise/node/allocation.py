"""Memory goes back to the system: a node that works for months must not grow."""

from __future__ import annotations

import ctypes
import sys

# Of glibc's <malloc.h>. Once set they no longer adapt: by default every large block that is freed raises the size from
# which on blocks are given back, up to 32 MB, and what tasks and batches leave behind stays in pieces in the heap.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_BYTES, _MMAP_BYTES = 128 * 1024, 64 * 1024


def give_memory_back() -> bool:
    """From now on large blocks that are freed go back to the system; False where the C library has no such setting."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_TRIM_THRESHOLD, _TRIM_BYTES), (_M_MMAP_THRESHOLD, _MMAP_BYTES))
    return all(mallopt(setting, value) == 1 for setting, value in settings)
