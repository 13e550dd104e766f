"""Every strategy is asked for the same promises, and the short cuts say what the planner says."""

from __future__ import annotations

import numpy as np
import pytest

from equipoise.core.request import Request, Requirement
from equipoise.lab.chance import random_cluster
from equipoise.lab.grid import OURS, Levels, at_floor, at_rate, feasible, reach
from equipoise.lab.paper import paper_boards
from equipoise.planning.fleet import Fleet
from equipoise.planning.planner import plan
from equipoise.planning.strategies import STRATEGIES

ITEMS = 64
CLUSTERS = {"paper": paper_boards, "random": lambda: random_cluster(7)}


@pytest.fixture(params=CLUSTERS)
def fleet(request: pytest.FixtureRequest) -> Fleet:
    return Fleet.of(CLUSTERS[request.param]())


def test_levels_lie_within_what_the_cluster_can_reach(fleet: Fleet):
    levels = Levels.of(fleet, ITEMS)
    fastest = at_floor(fleet, ITEMS, 0.0, OURS)

    assert len(levels.floors) == len(levels.rates_per_s) == 20
    assert fastest.accuracy < levels.floors.min() < levels.floors.max() < fleet.best_accuracy
    assert 0 < levels.rates_per_s.min() < levels.rates_per_s.max() < fastest.throughput_per_s


@pytest.mark.parametrize("strategy", [name for name, known in STRATEGIES.items() if known.candidates])
def test_of_a_strategy_with_candidates_the_best_is_what_the_planner_answers(fleet: Fleet, strategy: str):
    levels = Levels.of(fleet, ITEMS, 4)

    found = reach(fleet, ITEMS, levels, strategy)

    asked = [at_floor(fleet, ITEMS, floor, strategy) for floor in levels.floors]
    rates = [one.throughput_per_s if one.feasible else np.nan for one in asked]
    asked = [at_rate(fleet, ITEMS, rate, strategy) for rate in levels.rates_per_s]
    accuracies = [one.accuracy if one.feasible else np.nan for one in asked]
    np.testing.assert_allclose(found.rates_per_s, rates)
    np.testing.assert_allclose(found.accuracies, accuracies)


@pytest.mark.parametrize("strategy", [name for name, known in STRATEGIES.items() if not known.solver])
def test_what_is_said_to_be_kept_is_what_the_planner_keeps_when_it_is_asked_for_both(fleet: Fleet, strategy: str):
    levels = Levels.of(fleet, ITEMS, 5)

    kept = reach(fleet, ITEMS, levels, strategy).kept(levels)

    for r, rate in enumerate(levels.rates_per_s):
        for f, floor in enumerate(levels.floors):
            requirement = Requirement(throughput_per_s=float(rate), min_accuracy=float(floor))
            asked = plan(Request(items=ITEMS, requirement=requirement), fleet, strategy=strategy)
            assert kept[r, f] == asked.feasible


def test_a_requirement_is_feasible_if_any_strategy_keeps_it():
    kept = {"a": np.array([[True, False]]), "b": np.array([[False, False]])}

    assert feasible(kept).tolist() == [[True, False]]
