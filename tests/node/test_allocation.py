"""A node's memory goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# What a node does all the time, on several threads: blocks of all sizes come and go, and some small ones stay.
COMES_AND_GOES = """
import random, psutil
from equipoise.node.allocation import give_memory_back
chance, kept = random.Random(1), []
def mb(): return psutil.Process().memory_info().rss / 1e6
before = mb()
for _ in range(200):
    blocks = [bytearray(chance.randrange(70_000, 900_000)) for _ in range(60)]
    kept += [bytearray(20_000) for _ in range(2)]
    del blocks
assert give_memory_back()
print(mb() - before - sum(map(len, kept)) / 1e6)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such call")
def test_what_is_free_goes_back_to_the_system():
    grown_mb = float(subprocess.check_output([sys.executable, "-c", COMES_AND_GOES], text=True))

    assert grown_mb < 4
