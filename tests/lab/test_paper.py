"""The paper's evaluation: ours is never behind, and near the exact solver."""

from __future__ import annotations

import time

import msgspec
import pytest

from equipoise.lab.gains import BEST_OTHER
from equipoise.lab.grid import EXACT, OURS
from equipoise.lab.paper import GROUPS, Case, Result, answer, cases, paper_boards, summary
from equipoise.lab.work import answered
from equipoise.planning.strategies import STRATEGIES


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [
        answer(
            Case(
                group="paper",
                name="paper",
                cluster=paper_boards(),
                items=items,
                levels=6,
                strategies=tuple(STRATEGIES),
            ),
            time.perf_counter,
        )
        for items in (32, 256)
    ]


def test_no_strategy_that_does_not_solve_exactly_beats_ours_at_any_level(results: list[Result]):
    group = summary(results)["paper"]

    for name, comparison in group.gains.items():
        if name != EXACT:
            assert comparison.throughput.worst is None or comparison.throughput.worst >= 0, name
            assert comparison.accuracy.worst is None or comparison.accuracy.worst >= 0, name
            assert comparison.kept <= group.kept


def test_ours_is_within_half_a_percent_of_the_exact_solver_at_every_level(results: list[Result]):
    exact = summary(results)["paper"].gains[EXACT]

    assert exact.throughput.worst is not None and exact.throughput.worst >= -0.005
    assert exact.accuracy.worst is not None and exact.accuracy.worst >= -0.005 * 0.5
    assert exact.throughput.lacking == exact.accuracy.lacking == 0


def test_the_best_other_is_none_of_ours_and_not_the_exact_solver(results: list[Result]):
    gains = summary(results)["paper"].gains

    assert OURS not in gains
    others = [one.throughput.mean for name, one in gains.items() if name not in (BEST_OTHER, EXACT)]
    assert gains[BEST_OTHER].throughput.mean == pytest.approx(min(mean for mean in others if mean is not None))


def test_planning_jointly_is_worth_a_fifth_over_shares_by_speed(results: list[Result]):
    gain = summary(results)["paper"].gains["proportional-variant"].throughput

    assert gain.mean is not None and gain.mean > 0.2


def test_cases_cover_the_papers_batch_sizes_other_boards_and_a_hundred_random_clusters():
    study = list(cases(quick=False))

    assert {case.group for case in study} == set(GROUPS)
    assert [case.items for case in study if case.group == "paper"] == [32, 64, 128, 256, 512]
    assert len({case.name for case in study if case.group == "ladders"}) == 3
    assert len({case.name for case in study if case.group == "random"}) == 100


def test_side_by_side_gives_the_same_answers_as_one_after_the_other():
    case = next(cases(quick=True))
    small = [msgspec.structs.replace(case, levels=3, items=items) for items in (8, 16, 32)]

    alone, together = list(answered(small, 1)), list(answered(small, 2))

    assert [result.items for result in together] == [8, 16, 32]
    for one, other in zip(alone, together, strict=True):
        for name in one.strategies:
            assert one.strategies[name].rates_per_s == other.strategies[name].rates_per_s
            assert one.strategies[name].accuracies == other.strategies[name].accuracies
