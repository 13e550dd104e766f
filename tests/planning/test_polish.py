"""Plans made faster by many small changes, on instances with everything on."""

from __future__ import annotations

import pytest

from benchmarks.checker import complaints
from benchmarks.instances import random_instance
from equipoise.planning import exact, joint
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
    assert rough.bound * (1 - TOLERANCE) <= smooth.latency_s < rough.prediction.latency_s * 0.98
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
