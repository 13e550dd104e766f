"""Saying no takes few questions and little memory, however much was asked for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np

from benchmarks.instances import random_instance
from equipoise.core.plan import Plan
from equipoise.core.request import Request, Requirement
from equipoise.planning.fleet import Fleet
from equipoise.planning.infeasible import closest_plans, needs
from equipoise.planning.limits import needed_limits
from equipoise.planning.memory import memory_shares
from equipoise.planning.planner import plan
from equipoise.planning.problem import Problem
from equipoise.planning.relief import Links
from equipoise.planning.strategies import STRATEGIES

RELATIVELY_FEW = 12


def problem_of(seed: int, *, nodes: int = 2, variants: int = 3, **requirement: float) -> Problem:
    instance = random_instance(seed, nodes=nodes, variants=variants, processors=1)
    asked = Request(items=100, requirement=Requirement(**requirement))
    return Problem(request=asked, fleet=Fleet.of(instance.cluster), conditions={})


def limited(problem: Problem, **limits: float | None) -> Problem:
    requirement = msgspec.structs.replace(problem.request.requirement, **limits)
    return replace(problem, request=msgspec.structs.replace(problem.request, requirement=requirement))


def test_what_energy_would_do_is_found_by_few_questions_and_power_that_cannot_help_by_one():
    problem = problem_of(3, deadline_s=10.0, min_accuracy=0.5, max_energy_j=5.0, max_power_w=30.0)
    asked: list[Problem] = []

    def ask(question: Problem) -> Plan | None:
        asked.append(question)
        return STRATEGIES["equipoise"].solve(question)

    energy_j, power_w = needed_limits(problem, ask)

    assert len(asked) <= RELATIVELY_FEW
    assert ask(limited(problem, max_energy_j=energy_j)) is not None
    assert ask(limited(problem, max_energy_j=0.98 * energy_j)) is None
    assert power_w is None
    assert ask(limited(problem, max_power_w=None)) is None


def test_what_power_would_do_is_looked_for_between_one_processor_and_all_of_them():
    problem = problem_of(7, nodes=3, variants=5, deadline_s=20.0, min_accuracy=0.6, max_power_w=1.0)
    asked: list[float] = []

    def ask(question: Problem) -> Plan | None:
        asked.append(question.request.requirement.max_power_w)
        return STRATEGIES["equipoise"].solve(question)

    _, power_w = needed_limits(problem, ask)

    assert len(asked) <= RELATIVELY_FEW
    assert ask(limited(problem, max_power_w=power_w)) is not None
    assert ask(limited(problem, max_power_w=0.98 * power_w)) is None


def test_the_exact_solver_gets_less_time_for_each_further_question(monkeypatch):
    limits_s: list[float] = []

    def settle(problem: Problem, limit_s: float, known: Plan | None) -> Plan | None:
        limits_s.append(limit_s)
        return None

    monkeypatch.setitem(STRATEGIES, "equipoise", replace(STRATEGIES["equipoise"], settle=settle))
    instance = random_instance(8)
    problem = Problem(request=instance.request, fleet=Fleet.of(instance.cluster), conditions={})
    closest = closest_plans(problem, "equipoise", settle_s=2.0)
    asked_for_plans = len(limits_s)
    needs(problem, closest, "equipoise", settle_s=2.0)

    assert sum(limits_s[:asked_for_plans]) <= 2.5
    assert sum(limits_s[asked_for_plans:]) <= 2.5
    assert all(later < sooner for sooner, later in pairwise(limits_s[asked_for_plans:]))


def test_memory_is_shared_out_among_thousands_of_variants_none_of_which_beats_another():
    needed = np.tile(np.linspace(1.0, 100.0, 4000), (3, 1))
    worth = np.sqrt(needed)

    own = memory_shares(worth, needed, node=np.zeros(3, np.int64), node_memory=np.array([150.0]))

    assert own.sum() <= 150.0
    assert np.sqrt(own).sum() >= 0.98 * 3 * np.sqrt(50.0)  # a third of it for each is what is worth most


def test_a_node_that_is_sent_nothing_gets_no_relief_from_sending_less():
    instance = random_instance(2, nodes=2, variants=3, processors=1)
    silent = tuple(msgspec.structs.replace(v, input_bytes=0) for v in instance.cluster.variants)
    fleet = Fleet.of(msgspec.structs.replace(instance.cluster, variants=silent))
    links = Links(Problem(request=instance.request, fleet=fleet, conditions={}), fleet.rungs(fleet.ladder))
    counts = np.ones_like(fleet.ladder.variant)

    relief = links.relieved(links.no_relief(), counts, late=np.ones(len(counts), dtype=bool), deadline_s=1e-6)

    assert not np.isnan(relief.item_bytes).any()
    assert not relief.fits.any()  # no call is short enough


def test_a_thousand_variants_on_one_processor_are_declined_with_what_would_do():
    cluster = random_instance(1, nodes=1, variants=1000, processors=1).cluster
    request = Request(items=100, requirement=Requirement(deadline_s=0.5, min_accuracy=0.99))

    found = plan(request, cluster, settle_s=0.0)

    assert not found.feasible
    later = Request(items=100, requirement=Requirement(deadline_s=0.5, min_accuracy=found.needs.min_accuracy or 0.0))
    assert plan(later, cluster, settle_s=0.0).feasible == (found.needs.min_accuracy is not None)
