"""Cases and trials worked on side by side, one process each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from equipoise.lab.drift import BOARDS, Drifted, Trial, drifted
from equipoise.lab.paper import Case, Result, answer

Todo = TypeVar("Todo")
Done = TypeVar("Done")


def answered(cases: Sequence[Case], jobs: int) -> Iterator[Result]:
    """The results in the order of the cases, worked on by so many processes at once."""
    return _side_by_side(_answer, cases, jobs)


def tried(trials: Sequence[Trial], jobs: int) -> Iterator[Drifted]:
    """What came of the trials, in their order, worked on by so many processes at once."""
    return _side_by_side(_try, trials, jobs)


def _side_by_side(work: Callable[[Todo], Done], todo: Sequence[Todo], jobs: int) -> Iterator[Done]:
    if jobs == 1:
        yield from map(work, todo)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, todo)


def _answer(case: Case) -> Result:
    return answer(case, time.perf_counter)


def _try(trial: Trial) -> Drifted:
    return drifted(BOARDS[trial.boards](), trial.drift, trial.strategy, trial.runs)
