"""The chaos campaign calls memory flat that is, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.chaos.harm import SPARED
from benchmarks.chaos.memory import Memory, grown

MB = 1_000_000


def life(memory_mb: Callable[[int], float], *, requests: int = 200, board: str = SPARED) -> list[Memory]:
    return [
        Memory(board=board, life=1, request=n, memory_bytes=round(memory_mb(n) * MB), threads=30, files=30)
        for n in range(requests)
    ]


@pytest.mark.parametrize(
    "memory_mb",
    [
        lambda n: 120.0,
        lambda n: 120.0 + 20.0 * (n % 3 == 0),  # looked at before its last trim
        lambda n: min(150.0, 90.0 + 2 * n),  # models are loaded, pools are filled
        lambda n: 120.0 + 40.0 * (n == 150),
    ],
    ids=["constant", "scattered", "warming up", "one large request"],
)
def test_what_levels_off_is_flat(memory_mb: Callable[[int], float]):
    assert list(grown(life(memory_mb))) == []


@pytest.mark.parametrize("memory_mb", [lambda n: 155 + 0.34 * n, lambda n: 155 + 5 * (n // 50)], ids=["slope", "steps"])
def test_what_goes_on_growing_is_not(memory_mb: Callable[[int], float]):
    (sentence,) = grown(life(memory_mb))

    assert sentence.startswith(f"{SPARED} grew from")


def test_boards_that_start_anew_all_the_time_say_nothing_of_growth():
    assert list(grown(life(lambda n: 90.0 + n, board="ben"))) == []


def test_few_requests_say_nothing_of_growth():
    assert list(grown(life(lambda n: 90.0 + n, requests=40))) == []
