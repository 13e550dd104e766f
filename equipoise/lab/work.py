"""Cases answered side by side, one process each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from equipoise.lab.paper import Case, Result, answer


def answered(cases: Sequence[Case], jobs: int) -> Iterator[Result]:
    """The results in the order of the cases, worked on by so many processes at once."""
    if jobs == 1:
        yield from map(_answer, cases)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_answer, cases)


def _answer(case: Case) -> Result:
    return answer(case, time.perf_counter)
