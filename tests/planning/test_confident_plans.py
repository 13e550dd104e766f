"""Plans for a quantile of the latency, when many processors scatter."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.checker import complaints
from benchmarks.instances import random_instance
from equipoise.core.cluster import Cluster, Node, Processor, Profile, Variant
from equipoise.core.request import Request, Requirement
from equipoise.planning import joint
from equipoise.planning.fleet import Fleet
from equipoise.planning.problem import Problem


def problem_of(request: Request, cluster: Cluster) -> Problem:
    fleet = Fleet.of(cluster).at_confidence(request.requirement.confidence)
    return Problem(request=request, fleet=fleet, conditions={})


def test_processors_that_make_each_other_late_by_a_little_come_to_an_end():
    """What one gives up makes another late; thirty that gave up just so much took too many tries."""
    speeds = [1 + 0.37 * (n % 11) for n in range(30)]
    items, per_s = 5000, sum(100 * speed for speed in speeds)
    cluster = Cluster(
        family="made-up",
        variants=(Variant(name="small", accuracy=0.55), Variant(name="large", accuracy=0.8)),
        nodes=tuple(
            Node(name=f"n{n}", processors=(Processor(name="cpu", profiles=(
                Profile(variant="small", latency_s={1: 0.01 / speed}, latency_stddev_s={1: 0.0005 / speed}),
                Profile(variant="large", latency_s={1: 0.04 / speed}, latency_stddev_s={1: 0.002 / speed}),
            )),))
            for n, speed in enumerate(speeds)
        ),
    )  # fmt: skip
    requirement = Requirement(deadline_s=2.5 * items / per_s, min_accuracy=0.6, confidence=0.95)

    plan = joint.solve(problem_of(Request(items=items, requirement=requirement), cluster))

    assert plan is not None and plan.feasible


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_a_confident_plan_keeps_its_promises_and_costs_what_an_independent_checker_says(seed: int):
    instance = random_instance(seed)
    requirement = msgspec.structs.replace(instance.request.requirement, confidence=0.95)
    problem = problem_of(msgspec.structs.replace(instance.request, requirement=requirement), instance.cluster)

    plan = joint.solve(problem)

    if plan is not None:
        assert plan.feasible
        assert complaints(problem.request, instance.cluster, plan) == []
