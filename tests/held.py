"""What an object holds on to: whatever is kept for ever shows, under whatever name."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType

# What belongs to the whole program rather than to an object that refers to it.
_SHARED = (type, ModuleType, CodeType, FrameType, BuiltinFunctionType, asyncio.AbstractEventLoop, threading.Thread)
_OURS = Counter  # what was counted before


def held_by(*roots: object) -> Counter[str]:
    """How many objects of each type can be reached from these; strings and numbers are counted, too."""
    seen: dict[int, object] = {}
    ahead = list(roots)
    while ahead:
        one = ahead.pop()
        if isinstance(one, (*_SHARED, _OURS)) or id(one) in seen:
            continue
        seen[id(one)] = one
        ahead += (one.__closure__ or ()) if isinstance(one, FunctionType) else gc.get_referents(one)
    return Counter(type(one).__qualname__ for one in seen.values())
