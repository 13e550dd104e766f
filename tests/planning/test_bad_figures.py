"""Figures out of range are refused where they enter, also in Python."""

from __future__ import annotations

import math

import msgspec
import pytest

from equipoise.core.cluster import Profile
from equipoise.core.plan import Condition
from equipoise.core.ranges import MOST_PAIRS, MOST_VARIANTS
from equipoise.core.request import Request, Requirement
from equipoise.planning.planner import plan
from tests.planning.worlds import cluster_of

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("wrong", [{"speed": 0.0}, {"speed": -1.0}, {"speed": NAN}, {"speed": INF}])
def test_no_processor_has_such_a_speed(wrong):
    with pytest.raises(ValueError, match="speed of a processor must be a positive, finite number"):
        Condition(**wrong)


@pytest.mark.parametrize("busy_s", [-1.0, NAN])
def test_no_processor_is_busy_for_so_long(busy_s):
    with pytest.raises(ValueError, match="busy_s of a processor must be 0 or more"):
        Condition(busy_s=busy_s)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latency_s": {1: NAN}}, "latency_s of batch 1 must be from 1e-07 to 100000, not nan"),
        ({"latency_s": {1: INF}}, "latency_s of batch 1 must be from 1e-07 to 100000, not inf"),
        ({"latency_s": {1: 0.1}, "latency_stddev_s": {1: NAN}}, "latency_stddev_s of batch 1 must be from 0"),
        ({"latency_s": {1: 0.1}, "load_s": INF}, "load_s must be from 0 to 100000, not inf"),
        ({"latency_s": {5000: 0.1}}, "a batch size in latency_s must be from 1 to 4096, not 5000"),
    ],
)
def test_no_profile_has_such_figures(wrong, message):
    with pytest.raises(ValueError, match=message):
        Profile(variant="big", **wrong)


def test_more_variants_or_pairs_than_can_be_planned_are_counted_first():
    cluster = cluster_of({"a": 0.5}, n={"a": 0.1})

    with pytest.raises(ValueError, match=f"{MOST_VARIANTS + 1} variants are too many to plan with"):
        msgspec.structs.replace(cluster, variants=cluster.variants * (MOST_VARIANTS + 1))
    with pytest.raises(ValueError, match=f"pairs of processor and variant are too many .* at most {MOST_PAIRS} can"):
        msgspec.structs.replace(cluster, variants=cluster.variants * MOST_VARIANTS, nodes=cluster.nodes * 401)


def test_of_a_deadline_and_a_throughput_the_stricter_one_counts():
    cluster = cluster_of({"big": 0.9, "small": 0.6}, n={"big": 0.1, "small": 0.01})

    def planned(**wanted: float) -> float:
        return plan(Request(items=100, requirement=Requirement(**wanted)), cluster).latency_s

    assert planned(deadline_s=5.0, throughput_per_s=1.0) == planned(deadline_s=5.0)
    assert planned(deadline_s=500.0, throughput_per_s=20.0) == planned(deadline_s=5.0)
