"""Plans made faster by many small changes, on instances with everything on."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from benchmarks.checker import complaints
from benchmarks.instances import random_instance
from equipoise.planning import exact, joint
from equipoise.planning.changes import REACH, SPAN, Changes
from equipoise.planning.fleet import Fleet
from equipoise.planning.polish import polished
from equipoise.planning.problem import TOLERANCE, Problem

HARD = (1, 3, 7, 15, 17, 23, 35, 37)  # latency is preferred, and links, memory and loads decide


def problem_of(seed: int) -> Problem:
    instance = random_instance(seed)
    return Problem(request=instance.request, fleet=Fleet.of(instance.cluster), conditions={})


def unpolished(problem: Problem):
    return joint.fastest(problem, floor=problem.floor, deadline_s=problem.deadline_s)


@pytest.mark.parametrize("seed", HARD)
def test_a_polished_plan_is_faster_keeps_its_promises_and_costs_what_an_independent_checker_says(seed: int):
    problem, instance = problem_of(seed), random_instance(seed)
    rough = unpolished(problem)

    smooth = polished(problem, rough.prediction, rough.bound)

    assert problem.keeps(smooth)
    assert rough.bound * (1 - TOLERANCE) <= smooth.latency_s < rough.prediction.latency_s * 0.985
    assert complaints(instance.request, instance.cluster, problem.plan("equipoise", smooth)) == []


def test_polishing_the_same_plan_twice_gives_the_same_plan():
    problem = problem_of(7)
    rough = unpolished(problem)

    assert polished(problem, rough.prediction, 0.0) == polished(problem, rough.prediction, 0.0)


def test_nothing_is_faster_than_a_plan_that_reaches_its_bound():
    problem = problem_of(7)
    rough = unpolished(problem).prediction

    assert polished(problem, rough, rough.latency_s) == rough


def test_the_exact_solver_is_asked_only_for_what_is_faster_than_the_known_plan():
    problem = problem_of(23)
    slow = problem.plan("equipoise", unpolished(problem).prediction)
    best = exact.solve(problem)

    faster = exact.settle(problem, 20.0, slow)

    assert faster.latency_s == pytest.approx(best.latency_s, rel=1e-4)
    assert faster.bound <= best.latency_s * (1 + 1e-6)
    assert exact.settle(problem, 20.0, best) is None


@pytest.mark.parametrize("seed", [104, 120, 156, 282])
def test_where_accuracy_is_preferred_a_polished_plan_is_more_accurate_and_in_time(seed: int):
    problem, instance = problem_of(seed), random_instance(seed)
    rough = joint.solve(problem)

    smooth = joint.polish(problem, rough)

    assert smooth.feasible
    assert rough.accuracy <= smooth.accuracy <= rough.bound * (1 + TOLERANCE)
    assert complaints(instance.request, instance.cluster, smooth) == []


def test_some_plans_become_more_accurate_by_more_than_a_hundredth():
    problem = problem_of(282)
    rough = joint.solve(problem)

    assert joint.polish(problem, rough).accuracy > 1.01 * rough.accuracy


def test_the_exact_solver_is_not_beaten_where_its_presolve_lost_the_optimum():
    problem = problem_of(235)
    plan = joint.polish(problem, joint.solve(problem))

    assert exact.solve(problem).latency_s <= plan.latency_s * (1 + 1e-6)


def without_links(problem: Problem) -> Problem:
    nodes = problem.fleet.cluster.nodes
    free = tuple(
        msgspec.structs.replace(node, link=msgspec.structs.replace(node.link, bandwidth_bytes_per_s=math.inf))
        for node in nodes
    )
    cluster = msgspec.structs.replace(problem.fleet.cluster, nodes=free, uplink_bytes_per_s=math.inf)
    return Problem(request=problem.request, fleet=Fleet.of(cluster), conditions={})


def changes_of(problem: Problem, p: int, now: np.ndarray, prices: np.ndarray) -> Changes:
    return Changes.of(problem, p, now, unit=1, latest_s=math.inf, free_bytes=math.inf, prices=prices)


@pytest.mark.parametrize("seed", range(6))
def test_a_change_takes_and_earns_what_the_cost_model_says(seed: int):
    problem = without_links(problem_of(seed))
    rng = np.random.default_rng(seed)
    for p in range(len(problem.fleet.pids)):
        counts = np.zeros(problem.usable.shape, np.int64)
        counts[p] = np.where(problem.usable[p], rng.integers(0, 9, len(problem.fleet.names)), 0)
        before = problem.predict_counts(counts)
        changes = changes_of(problem, p, counts[p], np.zeros(1))
        for change in rng.choice(len(changes.gain), 20):
            after = counts.copy()
            after[p] = changes.applied(counts[p], int(change))

            expected = problem.predict_counts(after)

            assert expected.latency_s == pytest.approx(changes.busy_until_s[change])
            earned = expected.accuracy * expected.items - before.accuracy * before.items
            assert earned == pytest.approx(changes.gain[change], abs=1e-9)
            assert (after[p] >= 0).all()
            assert after[p].sum() - counts[p].sum() == changes.candidates.more[change] - REACH


@pytest.mark.parametrize("seed", range(6))
def test_leaving_out_beaten_changes_loses_nothing(seed: int):
    problem = problem_of(seed)
    rng, prices = np.random.default_rng(seed), np.array([0.0, 1e-6, 1e-5])
    now = np.where(problem.usable[0], rng.integers(0, 9, len(problem.fleet.names)), 0)
    changes = changes_of(problem, 0, now, prices)
    for deadline_s in rng.uniform(0, 2 * np.median(changes.busy_until_s), 5):
        table = changes.table(deadline_s, prices, may_grow=True)
        for _ in range(40):
            k, c, more = rng.integers(0, (len(prices), len(changes.calls_s), SPAN))
            call = changes.slot % len(changes.calls_s)
            possible = (changes.candidates.more == more) & (call <= c) & (changes.busy_until_s <= deadline_s)
            worth = np.where(possible, changes.gain - prices[k] * changes.sent_bytes, -np.inf)

            assert table.gain[k, c, more] - prices[k] * table.sent_bytes[k, c, more] == pytest.approx(worth.max())
