"""A request of one item: its plan is the optimum, and says so."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.checker import complaints
from benchmarks.instances import Instance, random_instance
from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.plan import Share
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.planning.planner import plan
from equipoise.planning.predict import predict
from tests.planning.worlds import clusters

replace = msgspec.structs.replace


def one_item(seed: int, prefer: Prefer) -> Instance:
    """Batch curves, loads, memory, links, an uplink and watts, for one item."""
    drawn = random_instance(seed, nodes=3, variants=4, processors=2)
    requirement = replace(drawn.request.requirement, prefer=prefer, throughput_per_s=None, deadline_s=0.1 + seed / 20)
    return Instance(cluster=drawn.cluster, request=Request(items=1, requirement=requirement))


@pytest.mark.parametrize("prefer", [Prefer.ACCURACY, Prefer.LATENCY])
@pytest.mark.parametrize("seed", range(25))
def test_it_is_what_the_exact_solver_finds(seed: int, prefer: Prefer):
    instance = one_item(seed, prefer)

    found = plan(instance.request, instance.cluster)
    exact = plan(instance.request, instance.cluster, strategy="milp")

    assert found.feasible == exact.feasible
    if found.feasible:
        assert not complaints(instance.request, instance.cluster, found)
        assert found.gap == 0
        wanted, best = (
            (found.accuracy, exact.accuracy) if prefer is Prefer.ACCURACY else (found.latency_s, exact.latency_s)
        )
        assert wanted == pytest.approx(best, rel=1e-6)


def share_of_one(pid: ProcessorId, variant: str) -> Share:
    return Share(node=pid.node, processor=pid.processor, variant=variant, batch=1, items=1, finish_s=0.0)


@settings(max_examples=100)
@given(cluster=clusters(charges=True), floor=st.floats(0, 1), confidence=st.sampled_from([None, 0.95]))
def test_no_other_pair_would_have_been_faster_at_the_floor(cluster: Cluster, floor: float, confidence: float | None):
    request = Request(
        items=1, requirement=Requirement(min_accuracy=floor, prefer=Prefer.LATENCY, confidence=confidence)
    )
    found = plan(request, cluster)
    accuracy = {variant.name: variant.accuracy for variant in cluster.variants}
    others = [
        predict(cluster, [share_of_one(pid, profile.variant)], confidence=confidence)
        for pid, processor in cluster.processors()
        for profile in processor.profiles
        if accuracy[profile.variant] >= floor
    ]

    if found.feasible:
        assert found.latency_s == min(other.latency_s for other in others if not other.overfull)
