"""Plans with everything on (batch curves, loads, memory, links, an uplink, watts), against independent judges."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from benchmarks.checker import complaints
from benchmarks.instances import Instance, random_instance
from equipoise.core.cluster import Cluster
from equipoise.core.plan import Plan
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.planning import joint, mixes
from equipoise.planning.fleet import Fleet
from equipoise.planning.planner import plan
from equipoise.planning.problem import Problem
from tests.planning.exhaustive import best_value

replace = msgspec.structs.replace


def asking(instance: Instance, **requirement: object) -> Request:
    return replace(instance.request, requirement=replace(instance.request.requirement, **requirement))


def value(found: Plan) -> float:
    figures = {Prefer.ACCURACY: found.accuracy, Prefer.LATENCY: found.latency_s, Prefer.ENERGY: found.energy_j}
    return figures[found.prefer]


def tiny(seed: int) -> Instance:
    """Two nodes, one processor each, two variants, a handful of items: few enough plans to try them all."""
    rng = np.random.default_rng(seed)
    drawn = random_instance(seed, nodes=2, variants=2, processors=1)
    quickest_s = 7 / sum(
        1 / min(p.latency_s[b] / b for p in proc.profiles for b in p.latency_s)
        for _, proc in drawn.cluster.processors()
    )
    requirement = Requirement(
        deadline_s=float(quickest_s * rng.uniform(1, 5) + rng.uniform(0, 0.5)),
        min_accuracy=float(rng.uniform(0.3, 0.8)),
        prefer=(Prefer.ACCURACY, Prefer.LATENCY, Prefer.ENERGY)[seed % 3],
        max_power_w=None if seed % 4 else float(rng.uniform(6, 20)),
        max_energy_j=None if seed % 5 else float(rng.uniform(0.5, 6)),
    )
    return Instance(cluster=drawn.cluster, request=Request(items=7, requirement=requirement))


@pytest.mark.parametrize("seed", range(60))
def test_the_exact_strategy_finds_what_trying_everything_finds(seed: int):
    instance = tiny(seed)

    best = best_value(instance.request, instance.cluster)
    found = plan(instance.request, instance.cluster, strategy="milp")

    assert found.feasible == (best is not None)
    if best is not None:
        assert value(found) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("seed", range(60))
def test_a_request_is_declined_exactly_where_trying_everything_finds_no_plan(seed: int):
    instance = tiny(seed)

    best = best_value(instance.request, instance.cluster)
    found = plan(instance.request, instance.cluster)

    assert found.feasible == (best is not None)
    assert complaints(instance.request, instance.cluster, found) == []


@pytest.mark.parametrize("seed", range(40))
def test_plans_cost_what_an_independent_checker_says_and_never_beat_their_bound(seed: int):
    instance = random_instance(seed)

    found = plan(instance.request, instance.cluster, settle_s=0.0)

    assert complaints(instance.request, instance.cluster, found) == []
    if found.feasible and found.bound is not None:
        if found.prefer is Prefer.ACCURACY:
            assert found.accuracy <= found.bound + 1e-9
        else:
            assert found.latency_s >= found.bound - 1e-9


@pytest.mark.parametrize("seed", range(0, 24, 2))
@pytest.mark.parametrize("limit", [{"confidence": 0.95}, {"max_power_w": 25.0}, {"max_energy_j": 60.0}])
def test_plans_stay_within_what_is_allowed(seed: int, limit: dict[str, float]):
    instance = random_instance(seed, nodes=3, variants=5, processors=2)
    request = asking(instance, min_accuracy=0.3, **limit)

    found = plan(request, instance.cluster, settle_s=0.0)

    assert complaints(request, instance.cluster, found) == []


def simple_boards(count: int = 3) -> Cluster:
    return replace(random_instance(7, nodes=count, variants=5, processors=1).cluster, uplink_bytes_per_s=math.inf)


def test_what_is_allowed_less_never_makes_a_plan_more_accurate():
    cluster = simple_boards()
    wanted = Requirement(deadline_s=20.0)
    free = plan(Request(items=300, requirement=wanted), cluster)
    accuracies = [
        plan(Request(items=300, requirement=replace(wanted, max_energy_j=free.energy_j * part)), cluster).accuracy
        for part in (1.0, 0.9, 0.8, 0.7, 0.6)
    ]

    assert accuracies[0] == pytest.approx(free.accuracy, rel=1e-6)
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] < accuracies[0]


def test_what_energy_and_power_a_declined_request_needs_would_do():
    cluster = simple_boards()
    request = Request(items=300, requirement=Requirement(deadline_s=20.0, min_accuracy=0.5, max_energy_j=1.0))
    declined = plan(request, cluster)
    needed = declined.needs.max_energy_j

    assert not declined.feasible
    assert declined.needs.deadline_s is None
    again = replace(request, requirement=replace(request.requirement, max_energy_j=needed))
    assert plan(again, cluster).feasible
    less = replace(request, requirement=replace(request.requirement, max_energy_j=needed * 0.95))
    assert not plan(less, cluster).feasible


def test_energy_without_watts_is_an_error_that_names_the_processor():
    cluster = simple_boards()
    bare = replace(
        cluster,
        nodes=tuple(
            replace(node, processors=tuple(replace(p, idle_w=None, active_w=None) for p in node.processors))
            for node in cluster.nodes
        ),
    )
    request = Request(items=30, requirement=Requirement(deadline_s=20.0, max_power_w=10.0))

    with pytest.raises(Exception, match="n0/p0 has no active_w; add active_w"):
        plan(request, bare)


def test_trying_likely_pairs_of_variants_misses_no_plan_and_costs_hardly_any_accuracy(monkeypatch):
    problems = [
        Problem(request=instance.request, fleet=Fleet.of(instance.cluster), conditions={})
        for instance in (random_instance(seed, variants=10) for seed in range(0, 40, 2))
    ]

    def accuracies() -> np.ndarray:
        found = [joint.most_accurate(problem, deadline_s=problem.deadline_s).prediction for problem in problems]
        return np.array([0.0 if prediction is None else prediction.accuracy for prediction in found])

    by_likely_pairs = accuracies()
    monkeypatch.setattr(mixes, "_LIKELY", 1000)
    by_all_pairs = accuracies()

    assert ((by_likely_pairs > 0) == (by_all_pairs > 0)).all()
    assert by_likely_pairs == pytest.approx(by_all_pairs, rel=5e-3)
    assert by_likely_pairs.mean() == pytest.approx(by_all_pairs.mean(), rel=5e-4)
