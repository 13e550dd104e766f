"""Plans against an independent mixed-integer program: whole items, batch 1, no loads, links or memory."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
import pytest

from equipoise.core.cluster import Cluster
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.planning.planner import plan
from tests.planning.worlds import random_cluster

CLUSTERS = 200


@dataclass
class Case:
    cluster: Cluster
    request: Request


def milp(case: Case) -> float | None:
    """The best accuracy or latency that whole items allow, by HiGHS; None if both promises cannot be kept."""
    request, cluster = case.request, case.cluster
    minimise_time = request.requirement.prefer is Prefer.LATENCY
    accuracy = {variant.name: variant.accuracy for variant in cluster.variants}
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("mip_rel_gap", 1e-6)
    solver.setOptionValue("time_limit", 20.0)
    end_s = solver.addVariable(lb=0, ub=request.deadline_s)
    x = []
    for _, processor in cluster.processors():
        mine = [(solver.addIntegral(lb=0), p.variant, p.latency_s[1]) for p in processor.profiles]
        solver.addConstr(sum(column * seconds for column, _, seconds in mine) <= end_s)
        x += mine
    solver.addConstr(sum(column * 1.0 for column, _, _ in x) == request.items)
    earned = sum(column * accuracy[variant] for column, variant, _ in x)
    solver.addConstr(earned >= request.requirement.min_accuracy * request.items)
    solver.minimize(end_s) if minimise_time else solver.maximize(earned)
    if solver.getInfo().primal_solution_status != 2:
        return None
    value = solver.getInfo().objective_function_value
    return value if minimise_time else value / request.items


def random_case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    cluster = random_cluster(rng)
    items = int(rng.choice([20, 50, 200, 1000]))
    rate_per_s = sum(1 / min(p.latency_s[1] for p in proc.profiles) for _, proc in cluster.processors())
    accuracies = [variant.accuracy for variant in cluster.variants]
    requirement = Requirement(
        deadline_s=float(items / rate_per_s * rng.uniform(0.9, 6)),
        min_accuracy=float(rng.uniform(min(accuracies), max(accuracies))),
        prefer=Prefer.LATENCY if seed % 2 else Prefer.ACCURACY,
    )
    return Case(cluster, Request(items=items, requirement=requirement))


@pytest.fixture(scope="module")
def outcomes():
    """(plan, what the program reaches) per random cluster."""
    cases = [random_case(seed) for seed in range(CLUSTERS)]
    return [(plan(case.request, case.cluster), milp(case)) for case in cases]


def test_a_request_is_declined_exactly_where_the_milp_is_infeasible(outcomes):
    assert [found.feasible for found, _ in outcomes] == [best is not None for _, best in outcomes]
    feasible = sum(found.feasible for found, _ in outcomes)
    assert CLUSTERS / 4 < feasible < CLUSTERS * 3 / 4  # so that both answers were put to the test


@pytest.mark.parametrize("prefer", [Prefer.ACCURACY, Prefer.LATENCY])
def test_plans_are_within_a_thousandth_of_the_milp_on_average_and_a_hundredth_at_worst(outcomes, prefer):
    shortfalls = [
        best / found.latency_s if prefer is Prefer.LATENCY else found.accuracy / best
        for found, best in outcomes
        if found.feasible and found.prefer is prefer
    ]

    assert np.mean(shortfalls) >= 1 - 1e-3
    assert min(shortfalls) >= 1 - 1e-2


def test_no_plan_beats_its_own_bound(outcomes):
    for found, _ in outcomes:
        if found.feasible:
            assert found.gap is not None
            if found.prefer is Prefer.ACCURACY:
                assert found.accuracy <= found.bound + 1e-9
            else:
                assert found.latency_s >= found.bound - 1e-9
