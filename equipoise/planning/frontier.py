"""The frontier: all undominated (latency, accuracy) promises that a cluster can keep, for any strategy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions, Plan
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.errors import PlanningError
from equipoise.planning import joint
from equipoise.planning.fleet import Fleet
from equipoise.planning.problem import Floats, Problem
from equipoise.planning.strategies import strategy_named

_NOTHING_CHANGED: Conditions = {}


def frontier(
    items: int,
    cluster: Cluster | Fleet,
    conditions: Conditions = _NOTHING_CHANGED,
    strategy: str = "equipoise",
    *,
    points: int = 40,
) -> list[Plan]:
    """Undominated plans for `items` items, fastest first.

    The joint strategies trade latency for accuracy continuously, so `points` floors are tried between the accuracy of
    the fastest plan and the best there is; the literature's strategies have a few candidates each, and all are tried.
    Raises UnknownStrategyError, and PlanningError if no processor is available.
    """
    chosen = strategy_named(strategy)
    fleet = cluster if isinstance(cluster, Fleet) else Fleet.of(cluster)
    anything = Request(items=items, requirement=Requirement(prefer=Prefer.LATENCY))
    problem = Problem(request=anything, fleet=fleet, conditions=conditions)
    if not problem.usable.any():
        raise PlanningError("no processor is available that has a profile of any variant and the memory for it")
    if chosen.candidates is not None:
        predictions = (problem.predict_counts(counts) for counts in chosen.candidates(problem))
        return undominated(problem.plan(strategy, prediction) for prediction in predictions)
    plans = [chosen.solve(_at_floor(problem, floor)) for floor in _floors(problem, points)]
    return undominated(plan for plan in plans if plan is not None)


def undominated(plans: Iterable[Plan]) -> list[Plan]:
    """Those that no other one beats in both latency and accuracy, fastest first."""
    kept: list[Plan] = []
    for plan in sorted(plans, key=lambda plan: (plan.latency_s, -plan.accuracy)):
        if not kept or plan.accuracy > kept[-1].accuracy:
            kept.append(plan)
    return kept


def _floors(problem: Problem, points: int) -> Floats:
    """Floors from what the fastest plan reaches up to the best accuracy; every variant's own is among them."""
    fastest = joint.fastest(problem, floor=0.0).prediction
    accuracy = problem.fleet.accuracy[problem.usable.any(axis=0)]
    low = fastest.accuracy if fastest is not None else float(accuracy.min())
    floors = np.concatenate([np.linspace(low, accuracy.max(), points), accuracy[accuracy > low]])
    return np.unique(floors)


def _at_floor(problem: Problem, floor: float) -> Problem:
    requirement = Requirement(min_accuracy=float(floor), prefer=Prefer.LATENCY)
    request = Request(items=problem.items, requirement=requirement)
    return Problem(request=request, fleet=problem.fleet, conditions=problem.conditions)
