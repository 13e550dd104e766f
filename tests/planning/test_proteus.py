"""Strategy `proteus`: one variant per processor, chosen together with the shares."""

from __future__ import annotations

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.cluster import Cluster, Link, Node, Processor, Profile
from equipoise.core.plan import Condition, Plan
from equipoise.core.request import Prefer, Request
from equipoise.errors import PlanningError
from equipoise.planning import proteus
from equipoise.planning.fleet import Fleet
from equipoise.planning.planner import plan
from equipoise.planning.predict import predict
from equipoise.planning.problem import Problem
from tests.planning.worlds import cluster_of, clusters, random_cluster, request_of

BOARDS = cluster_of({"big": 0.9, "small": 0.6}, fast={"big": 0.1, "small": 0.02}, slow={"big": 0.4, "small": 0.05})


def shares_of(found: Plan) -> dict[str, tuple[str, int]]:
    """What each node runs; fails if one runs two variants."""
    assert len({share.pid for share in found.shares}) == len(found.shares)
    return {share.node: (share.variant, share.items) for share in found.shares}


def best_by_trying(request: Request, cluster: Cluster) -> float | None:
    """The best value of all choices of one variant per processor, whole items, fastest or most accurate first."""
    fleet = Fleet.of(cluster)
    timed = request.requirement.prefer is Prefer.LATENCY
    deadlines = [request.deadline_s]
    if timed:
        ends = {n * s for s in fleet.item_s[np.isfinite(fleet.item_s)] for n in range(1, request.items + 1)}
        deadlines = sorted(end for end in ends if end <= request.deadline_s)
    values = []
    for held in itertools.product(*(np.flatnonzero(np.isfinite(row)) for row in fleet.item_s)):
        for deadline_s in deadlines:
            accuracy = _most_accurate(fleet, held, request.items, deadline_s)
            if accuracy is not None and accuracy >= request.requirement.min_accuracy - 1e-9:
                values.append(-deadline_s if timed else accuracy)
                break
    return max(values, default=None)


def _most_accurate(fleet: Fleet, held: tuple[int, ...], items: int, deadline_s: float) -> float | None:
    left, earned = items, 0.0
    for p, v in sorted(enumerate(held), key=lambda pair: -fleet.accuracy[pair[1]]):
        taken = min(left, math.floor(deadline_s * (1 + 1e-9) / fleet.item_s[p, v]))
        left, earned = left - taken, earned + taken * float(fleet.accuracy[v])
    return earned / items if left == 0 else None


def test_the_slower_board_takes_what_it_can_of_the_heavy_variant_and_the_faster_one_carries_the_demand():
    found = plan(request_of(40, deadline_s=1.0), BOARDS, strategy="proteus")

    assert found.feasible
    assert shares_of(found) == {"fast": ("small", 38), "slow": ("big", 2)}


def test_mixing_variants_on_one_processor_is_what_equipoise_gains_over_it():
    request = request_of(40, deadline_s=1.0)

    ours, theirs = plan(request, BOARDS), plan(request, BOARDS, strategy="proteus")

    assert theirs.accuracy == pytest.approx((38 * 0.6 + 2 * 0.9) / 40)
    assert ours.accuracy > theirs.accuracy + 0.02


def test_the_shortest_time_above_a_floor():
    found = plan(request_of(30, Prefer.LATENCY, min_accuracy=0.8), BOARDS, strategy="proteus")

    assert found.feasible
    assert found.accuracy >= 0.8 - 1e-9
    assert -found.latency_s == pytest.approx(
        best_by_trying(request_of(30, Prefer.LATENCY, deadline_s=3.0, min_accuracy=0.8), BOARDS)
    )


@pytest.mark.parametrize("prefer", [Prefer.ACCURACY, Prefer.LATENCY])
@pytest.mark.parametrize("seed", range(12))
def test_it_is_as_good_as_trying_every_choice(prefer, seed):
    rng = np.random.default_rng(seed)
    cluster = random_cluster(rng, nodes=2, variants=3)
    fleet = Fleet.of(cluster)
    fastest_s = 20 / float((1 / fleet.item_s.min(axis=1)).sum())
    floor = float(rng.uniform(fleet.accuracy.min(), fleet.accuracy.max()))
    request = request_of(20, prefer, deadline_s=fastest_s * float(rng.uniform(1, 6)), min_accuracy=floor)

    found, best = plan(request, cluster, strategy="proteus"), best_by_trying(request, cluster)

    assert found.feasible == (best is not None)
    if best is not None:
        # The shortest time is that of the variants which are best with divisible items.
        slack = 1e-6 if prefer is Prefer.ACCURACY else 0.15
        value = found.accuracy if prefer is Prefer.ACCURACY else -found.latency_s
        assert best * (1 + math.copysign(slack, -best)) <= value <= best + 1e-9


@pytest.mark.parametrize("seed", [32, 48, 80])
def test_no_accuracy_is_lost_where_tighter_tolerances_mislead_the_solver(seed):
    rng = np.random.default_rng(seed)
    cluster = random_cluster(rng, nodes=3, variants=5)
    fastest_s = 2000 / float((1 / Fleet.of(cluster).item_s.min(axis=1)).sum())
    request = request_of(2000, deadline_s=fastest_s * float(rng.uniform(1, 4)))

    found = plan(request, cluster, strategy="proteus")

    assert found.accuracy == pytest.approx(best_by_trying(request, cluster))


def test_a_wait_and_a_load_leave_time_for_fewer_items():
    loaded = Profile(variant="big", latency_s={1: 0.1}, load_s=0.25)
    node = Node(name="fast", link=Link(latency_s=0.1), processors=(Processor(name="cpu", profiles=(loaded,)),))
    cluster = msgspec.structs.replace(BOARDS, nodes=(node, BOARDS.nodes[1]))
    busy = {pid: Condition(busy_s=0.2, speed=0.5) for pid in Fleet.of(cluster).pids if pid.node == "fast"}

    found = plan(request_of(20, deadline_s=1.0), cluster, busy, "proteus")

    # 0.7 s left at half speed: 0.35 s of work, 0.25 s of them to load
    assert shares_of(found) == {"fast": ("big", 1), "slow": ("small", 19)}
    assert found.latency_s == pytest.approx(0.3 + (0.25 + 0.1) / 0.5)


def test_a_floor_that_needs_more_time_is_declined_with_plans_of_its_own_kind():
    found = plan(request_of(40, deadline_s=1.0, min_accuracy=0.8), BOARDS, strategy="proteus")

    assert not found.feasible
    assert found.closest is not None
    for close in (found.closest.most_accurate_at_deadline, found.closest.fastest_at_floor, found):
        assert close.strategy == "proteus"
        assert sum(items for _, items in shares_of(close).values()) == 40
    again = request_of(40, deadline_s=found.needs.deadline_s, min_accuracy=0.8)
    assert plan(again, BOARDS, strategy="proteus").feasible


def test_a_floor_out_of_reach_without_a_deadline_is_declined_too():
    found = plan(request_of(4, Prefer.LATENCY, min_accuracy=0.95), BOARDS, strategy="proteus")

    assert not found.feasible
    assert found.accuracy == pytest.approx(0.9)
    assert found.latency_s == pytest.approx(0.4)


def test_without_the_solver_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(proteus, "find_spec", lambda name: None)

    with pytest.raises(PlanningError, match=r"strategy proteus needs the solver HiGHS.*pip install highspy"):
        plan(request_of(1, deadline_s=1), BOARDS, strategy="proteus")


@given(
    clusters(charges=True),
    st.integers(1, 60),
    st.floats(0.01, 20.0),
    st.floats(0.0, 1.0),
    st.sampled_from([Prefer.ACCURACY, Prefer.LATENCY]),
)
@settings(deadline=None, max_examples=50)
def test_what_it_promises_the_cost_model_confirms_and_ours_can_keep(cluster, items, deadline_s, floor, prefer):
    request = request_of(items, prefer, deadline_s=deadline_s, min_accuracy=floor)
    found = proteus.solve(Problem(request=request, fleet=Fleet.of(cluster), conditions={}))

    if found is None:
        return
    again = predict(cluster, found.shares)
    assert len(shares_of(found)) == len(found.shares)
    assert again.items == items
    assert again.latency_s <= deadline_s * (1 + 1e-9)
    assert again.accuracy >= floor - 1e-9
    assert plan(request, cluster).feasible
