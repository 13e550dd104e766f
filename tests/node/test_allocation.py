"""A node's memory goes back to the system."""

from __future__ import annotations

import asyncio
import platform
import subprocess
import sys
import threading

import pytest

from equipoise.node import allocation

# What a node does all the time, on several threads: blocks of all sizes come and go, and some small ones stay.
COMES_AND_GOES = """
import random, psutil
from equipoise.node.allocation import give_memory_back
chance, kept = random.Random(1), []
def mb(): return psutil.Process().memory_info().rss / 1e6
before = mb()
for _ in range(40):
    blocks = [bytearray(chance.randrange(70_000, 900_000)) for _ in range(60)]
    kept += [bytearray(20_000) for _ in range(2)]
    del blocks
assert give_memory_back()
print(mb() - before - sum(map(len, kept)) / 1e6)
"""

# The same on threads that come and go at the same time, as those of the network and of the preparation of items do.
ON_THREADS = """
import threading, psutil
from equipoise.node.allocation import give_memory_back, share_one_heap
assert share_one_heap()
def mb(): return psutil.Process().memory_info().rss / 1e6
bytearray(30_000_000)  # glibc learns from it that blocks of this size come and go
together = threading.Barrier(8)
def work():
    together.wait()
    blocks = [bytearray(100_000) for _ in range(100)]
    together.wait()
    del blocks
    together.wait()
before = mb()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert give_memory_back()
print(mb() - before)
"""

only_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such call")


@only_glibc
def test_what_is_free_goes_back_to_the_system():
    grown_mb = float(subprocess.check_output([sys.executable, "-c", COMES_AND_GOES], text=True))

    assert grown_mb < 4


@only_glibc
def test_what_is_free_at_the_end_of_a_threads_work_goes_back_too():
    grown_mb = float(subprocess.check_output([sys.executable, "-c", ON_THREADS], text=True))

    assert grown_mb < 4


async def test_a_node_has_it_go_back_again_and_again_until_it_ends(monkeypatch: pytest.MonkeyPatch):
    often = threading.Semaphore(0)

    def noted() -> bool:
        often.release()
        return True

    monkeypatch.setattr(allocation, "_EVERY_S", 0.0)
    monkeypatch.setattr(allocation, "give_memory_back", noted)
    keeping = asyncio.ensure_future(allocation.keep_giving_memory_back())

    for _ in range(3):
        assert await asyncio.to_thread(often.acquire, timeout=10)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def test_where_the_c_library_cannot_it_is_not_tried_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(allocation, "_EVERY_S", 0.0)
    monkeypatch.setattr(allocation, "give_memory_back", lambda: False)

    await asyncio.wait_for(allocation.keep_giving_memory_back(), 10)
