"""Whether this machine can play the described boards; costs are made up, so that nothing depends on the machine."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from equipoise.core.cluster import Cluster, Node, Processor, ProcessorId, Profile, Variant
from equipoise.core.family import Family
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.errors import EmulationError
from equipoise.families.preprocess import pack_array
from equipoise.planning.planner import plan
from equipoise.runtime.reach import RealCost, check_reach, measure_costs, out_of_reach, without

BOARD = ProcessorId("pi", "cpu")


def cluster_of(**item_s: float) -> Cluster:
    profiles = tuple(Profile(variant=variant, latency_s={1: seconds}) for variant, seconds in item_s.items())
    return Cluster(
        family="tiny",
        variants=tuple(Variant(name=variant, accuracy=0.5) for variant in item_s),
        nodes=(Node(name="pi", processors=(Processor(name="cpu", profiles=profiles),)),),
    )


def costs(prepare_s: float, infer_s: float) -> dict[str, RealCost]:
    return {"small": RealCost(prepare_s=prepare_s, infer_s=infer_s)}


def test_a_pair_is_in_reach_if_decoding_and_inference_side_by_side_keep_up_with_a_fifth_to_spare() -> None:
    cluster = cluster_of(small=0.010)

    assert out_of_reach(cluster, costs(0.0079, 0.0079)) == ()
    assert [pair.pid for pair in out_of_reach(cluster, costs(0.0081, 0.001))] == [BOARD]
    assert [pair.pid for pair in out_of_reach(cluster, costs(0.001, 0.0081))] == [BOARD]


def test_the_figures_stand_in_the_message() -> None:
    (pair,) = out_of_reach(cluster_of(small=0.010), costs(0.001, 0.0123))

    assert "small on pi/cpu is described as 10 ms per item" in str(pair)
    assert "decoding takes 1 ms and inference 12.3 ms" in str(pair)


def test_pairs_out_of_reach_are_taken_out_of_the_cluster() -> None:
    cluster = cluster_of(small=0.010, large=0.050)
    slower = without(cluster, out_of_reach(cluster, costs(0.001, 0.011)))

    assert [profile.variant for profile in slower.nodes[0].processors[0].profiles] == ["large"]


def test_a_cluster_that_is_out_of_reach_altogether_is_refused() -> None:
    cluster = cluster_of(small=0.010)

    with pytest.raises(EmulationError, match="too slow for every described processor"):
        without(cluster, out_of_reach(cluster, costs(0.001, 0.011)))


def described(family: Family, item_s: float) -> tuple[Cluster, list[bytes]]:
    cluster = msgspec.structs.replace(cluster_of(small=item_s, large=item_s), variants=family.described_variants())
    return cluster, [pack_array(np.zeros((400, 400, 3), dtype=np.uint8)), b"junk"]


def fastest(items: int) -> Request:
    return Request(items=items, requirement=Requirement(prefer=Prefer.LATENCY))


def test_a_plan_faster_than_any_machine_is_refused(tiny_family: Family) -> None:
    cluster, samples = described(tiny_family, 1e-7)

    with pytest.raises(EmulationError, match="too slow to play the plan"):
        check_reach(cluster, tiny_family, plan(fastest(10), cluster), samples)


def test_a_plan_that_needs_more_cores_than_there_are_is_refused(tiny_family: Family) -> None:
    cluster, samples = described(tiny_family, 10.0)

    with pytest.raises(EmulationError, match="cores have"):
        check_reach(cluster, tiny_family, plan(fastest(10), cluster), samples, cores=1e-9)  # type: ignore[arg-type]


def test_a_plan_within_reach_is_let_through(tiny_family: Family) -> None:
    cluster, samples = described(tiny_family, 10.0)

    assert check_reach(cluster, tiny_family, plan(fastest(10), cluster), samples) == ()


def test_costs_are_measured_on_the_items_that_can_be_decoded(tiny_family: Family) -> None:
    _, samples = described(tiny_family, 1.0)
    measured = measure_costs(tiny_family, ["small", "large"], samples)

    assert all(cost.prepare_s > 0 and cost.infer_s > 0 for cost in measured.values())
    assert measure_costs(tiny_family, ["small"], [b"junk"])["small"].prepare_s == 0
