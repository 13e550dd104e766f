"""What must hold for every cluster and request."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Plan
from equipoise.core.request import Prefer
from equipoise.planning.planner import plan
from equipoise.planning.predict import predict
from equipoise.planning.strategies import STRATEGIES
from tests.planning.worlds import clusters, request_of

QUICK = [name for name, strategy in STRATEGIES.items() if not strategy.solver]
# The fast method may miss the optimum by this much; what a change may cost is at most that.
SLACK = 0.01
deadlines = st.floats(0.01, 20.0)
floors = st.floats(0.0, 1.0)
counts = st.integers(1, 60)


def changed(cluster: Cluster, factor: float) -> Cluster:
    """The same cluster with every latency, load and link latency times `factor`."""

    def slower(profile):
        latency_s = {batch: seconds * factor for batch, seconds in profile.latency_s.items()}
        return msgspec.structs.replace(profile, latency_s=latency_s, load_s=profile.load_s * factor)

    def slower_node(node):
        processors = tuple(
            msgspec.structs.replace(p, profiles=tuple(slower(profile) for profile in p.profiles))
            for p in node.processors
        )
        link = msgspec.structs.replace(node.link, latency_s=node.link.latency_s * factor)
        return msgspec.structs.replace(node, processors=processors, link=link)

    return msgspec.structs.replace(cluster, nodes=tuple(slower_node(node) for node in cluster.nodes))


def promise(found: Plan) -> tuple[bool, float]:
    return found.feasible, round(found.accuracy if found.prefer is Prefer.ACCURACY else found.latency_s, 9)


@given(clusters(charges=True), counts, deadlines, floors, st.sampled_from(QUICK))
def test_shares_add_up_and_the_cost_model_confirms_every_plan(cluster, items, deadline_s, floor, strategy):
    found = plan(request_of(items, deadline_s=deadline_s, min_accuracy=floor), cluster, strategy=strategy)

    assert sum(share.items for share in found.shares) == items
    assert all(share.items > 0 for share in found.shares)
    again = predict(cluster, found.shares)
    assert again.latency_s == pytest.approx(found.latency_s)
    assert again.accuracy == pytest.approx(found.accuracy)
    kept = again.latency_s <= deadline_s * (1 + 1e-9) and again.accuracy >= floor - 1e-9
    assert found.feasible == kept


@given(clusters(), counts, deadlines, floors, st.floats(1.0, 3.0))
def test_more_time_never_makes_a_plan_worse(cluster, items, deadline_s, floor, factor):
    tight = plan(request_of(items, deadline_s=deadline_s, min_accuracy=floor), cluster)
    loose = plan(request_of(items, deadline_s=deadline_s * factor, min_accuracy=floor), cluster)

    assert loose.feasible or not tight.feasible
    if tight.feasible:
        assert loose.accuracy >= tight.accuracy * (1 - SLACK)


@given(clusters(), counts, deadlines, floors, st.floats(0.0, 1.0))
def test_a_lower_floor_never_makes_a_plan_worse(cluster, items, deadline_s, floor, factor):
    strict = plan(request_of(items, Prefer.LATENCY, deadline_s=deadline_s, min_accuracy=floor), cluster)
    lax = plan(request_of(items, Prefer.LATENCY, deadline_s=deadline_s, min_accuracy=floor * factor), cluster)

    assert lax.feasible or not strict.feasible
    if strict.feasible:
        assert lax.latency_s <= strict.latency_s * (1 + SLACK)


@given(clusters(), counts, floors, st.floats(0.25, 4.0))
def test_scaling_all_times_scales_the_answer(cluster, items, floor, factor):
    request = request_of(items, Prefer.LATENCY, min_accuracy=min(floor, max(v.accuracy for v in cluster.variants)))

    one, scaled = plan(request, cluster), plan(request, changed(cluster, factor))

    if one.feasible:
        assert scaled.latency_s == pytest.approx(one.latency_s * factor, rel=SLACK)


@given(clusters(), counts, deadlines, floors, st.randoms(use_true_random=False))
def test_the_order_of_nodes_and_variants_changes_nothing(cluster, items, deadline_s, floor, random):
    nodes, variants = list(cluster.nodes), list(cluster.variants)
    random.shuffle(nodes)
    random.shuffle(variants)
    shuffled = msgspec.structs.replace(cluster, nodes=tuple(nodes), variants=tuple(variants))
    request = request_of(items, deadline_s=deadline_s, min_accuracy=floor)

    one, other = plan(request, cluster), plan(request, shuffled)

    assert one.feasible == other.feasible
    if one.feasible:
        assert other.accuracy == pytest.approx(one.accuracy, rel=SLACK)


@given(clusters(), counts, deadlines, floors)
def test_another_node_never_makes_a_plan_worse(cluster, items, deadline_s, floor):
    fewer = msgspec.structs.replace(cluster, nodes=cluster.nodes[:1])
    request = request_of(items, deadline_s=deadline_s, min_accuracy=floor)

    one, many = plan(request, fewer), plan(request, cluster)

    assert many.feasible or not one.feasible
    if one.feasible:
        assert many.accuracy >= one.accuracy * (1 - SLACK)


@given(clusters(charges=True), counts, deadlines, floors)
@settings(max_examples=50)
def test_no_strategy_beats_ours_where_the_cost_model_is_simple(cluster, items, deadline_s, floor):
    request = request_of(items, deadline_s=deadline_s, min_accuracy=floor)

    ours = plan(request, changed(cluster, 1.0))
    simple = not any(p.load_s or len(p.latency_s) > 1 for _, proc in cluster.processors() for p in proc.profiles)

    for strategy in QUICK:
        theirs = plan(request, cluster, strategy=strategy)
        if theirs.feasible and simple:
            assert ours.feasible
            assert ours.accuracy >= theirs.accuracy * (1 - SLACK)


@given(clusters(charges=True), counts, deadlines, floors)
def test_planning_twice_gives_the_same_plan(cluster, items, deadline_s, floor):
    request = request_of(items, deadline_s=deadline_s, min_accuracy=floor)

    assert plan(request, cluster) == plan(request, cluster)


@given(clusters(charges=True), counts, deadlines, floors)
def test_what_an_infeasible_plan_says_it_needs_is_enough(cluster, items, deadline_s, floor):
    found = plan(request_of(items, deadline_s=deadline_s, min_accuracy=floor), cluster)

    if found.needs is None:
        assert found.feasible
        return
    assert not found.feasible
    if found.needs.deadline_s is not None:
        assert found.needs.deadline_s > deadline_s * (1 - 1e-6)
        assert plan(request_of(items, deadline_s=found.needs.deadline_s, min_accuracy=floor), cluster).feasible
    if found.needs.min_accuracy is not None:
        assert found.needs.min_accuracy < floor
        lower = request_of(items, deadline_s=deadline_s, min_accuracy=found.needs.min_accuracy)
        assert plan(lower, cluster).feasible
    if found.needs.speed_factor is not None and not any(node.link.latency_s for node in cluster.nodes):
        faster = changed(cluster, 1 / found.needs.speed_factor)
        assert plan(request_of(items, deadline_s=deadline_s * (1 + 1e-9), min_accuracy=floor), faster).feasible
