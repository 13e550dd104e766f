"""Streams: what is promised is kept, in a simulation of the queues; and what must hold for every cluster and rate."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from equipoise.core.cluster import Cluster, Link, Node, Processor, ProcessorId, Profile, Variant
from equipoise.core.plan import Condition
from equipoise.core.request import Prefer
from equipoise.core.stream import StreamPlan, StreamRequest
from equipoise.errors import PlanningError
from equipoise.planning.streams import plan_stream, predict_stream
from equipoise.planning.waiting import reading, residual_cells, served_cells, transform, waiting, waiting_cells
from tests.planning.queues import late_fraction, simulate
from tests.planning.worlds import cluster_of, random_cluster

# What the grids of mixes and rates may cost, relatively.
SLACK = 0.02


def asked(rate: float, latency_s: float, floor: float = 0.0, **more) -> StreamRequest:
    return StreamRequest(arrivals_per_s=rate, item_latency_s=latency_s, min_accuracy=floor, **more)


def largest_rate(cluster: Cluster, latency_s: float, floor: float = 0.0) -> float:
    return plan_stream(asked(1e-6, latency_s, floor), cluster).max_rate_per_s


def board_like(seed: int, *, spread: float, link: Link) -> Cluster:
    """Three random nodes with links, and service times that spread by this fraction of their mean."""
    rng = np.random.default_rng(seed)
    cluster = random_cluster(rng, nodes=3, variants=6)

    def spreading(profile: Profile) -> Profile:
        return msgspec.structs.replace(profile, latency_stddev_s={1: spread * profile.latency_s[1]})

    def linked(node: Node) -> Node:
        processors = tuple(
            msgspec.structs.replace(p, profiles=tuple(map(spreading, p.profiles))) for p in node.processors
        )
        return msgspec.structs.replace(node, processors=processors, link=link)

    variants = tuple(msgspec.structs.replace(v, input_bytes=20_000) for v in cluster.variants)
    return msgspec.structs.replace(cluster, variants=variants, nodes=tuple(map(linked, cluster.nodes)))


WIRED, WIRELESS = Link(latency_s=0.001, bandwidth_bytes_per_s=12e6), Link(latency_s=0.004, bandwidth_bytes_per_s=2e6)
WORLDS = [  # seed, spread, link, and what is asked for; tight, so that queues are short and settle soon
    (0, 0.0, Link(), {"item_latency_s": 0.04}),
    (1, 0.0, WIRED, {"item_latency_s": 0.08}),
    (2, 0.1, WIRED, {"item_latency_s": 0.08}),
    (3, 0.3, WIRED, {"item_latency_s": 0.06, "confidence": 0.9}),
    (4, 0.1, WIRELESS, {"item_latency_s": 0.15}),
    (5, 0.2, WIRED, {"item_latency_s": 0.1, "confidence": 0.99}),
]


def planned(world: tuple, load: float) -> tuple[Cluster, StreamPlan, StreamRequest]:
    """A plan for this much of the largest rate."""
    seed, spread, link, asked_for = world
    cluster = board_like(seed, spread=spread, link=link)
    most = plan_stream(StreamRequest(arrivals_per_s=1e-3, **asked_for), cluster).max_rate_per_s
    request = StreamRequest(arrivals_per_s=load * most, **asked_for)
    return cluster, plan_stream(request, cluster), request


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("load", [0.5, 0.9, 1.0])
def test_simulated_queues_keep_what_is_promised(world, load):
    cluster, plan, request = planned(world, load)

    assert plan.feasible
    for route, took_s in simulate(cluster, plan, items=600_000, seed=1).items():
        late, error = late_fraction(took_s, request.item_latency_s)
        assert late <= 1.05 * (1 - request.confidence) + 3 * error, route


@pytest.mark.parametrize("world", WORLDS)
def test_simulated_queues_keep_hardly_more_than_is_promised(world):
    cluster, plan, request = planned(world, 1.0)

    pushed = simulate(cluster, plan, items=600_000, seed=2, speed_up=1.1)

    worst = max(late_fraction(took_s, request.item_latency_s)[0] for took_s in pushed.values())
    assert worst > 1 - request.confidence


def test_predicted_quantiles_are_those_of_the_simulation():
    cluster = board_like(7, spread=0.2, link=WIRED)
    plan = plan_stream(asked(60, 0.4), cluster)

    simulated = simulate(cluster, plan, items=600_000, seed=7)

    busy = [(route, took_s) for route, took_s in simulated.items() if len(took_s) > 20_000]
    assert busy
    for route, took_s in busy:
        assert np.quantile(took_s, 0.95) == pytest.approx(route.item_latency_s, rel=0.05)


def test_two_ways_to_compute_a_wait_agree():
    mean, stddev = np.array([0.02, 0.3]), np.array([0.0, 0.1])
    residual, served = residual_cells(mean, stddev), served_cells(np.array([0.9, 1.0]), mean, stddev)
    busy = np.array([0.3, 0.5])

    by_recursion = served @ waiting_cells(busy.sum(), busy / busy.sum() @ residual)
    by_transform = (reading(served) * waiting(busy.sum(keepdims=True), busy / busy.sum() @ transform(residual))).real

    assert by_transform.sum(axis=-1) == pytest.approx(by_recursion, abs=1e-7)


def test_one_deterministic_server_is_as_busy_as_theory_allows():
    """M/D/1 with a wait of at most one service: P(W > D) = 1 - (1 - rho) exp(rho) (Erlang, 1909)."""
    cluster = cluster_of({"only": 0.8}, solo={"only": 0.1})

    most = largest_rate(cluster, 0.2)

    rho = most * 0.1
    assert 1 - (1 - rho) * np.exp(rho) == pytest.approx(0.05, rel=0.03)


def test_a_plan_is_what_its_routes_add_up_to():
    cluster = board_like(3, spread=0.1, link=WIRED)
    request = asked(80, 0.3, 0.5)

    plan = plan_stream(request, cluster)
    again = predict_stream(request, cluster, plan.routes)

    assert plan.feasible
    assert sum(route.fraction for route in plan.routes) == pytest.approx(1)
    assert sum(route.rate_per_s for route in plan.routes) == pytest.approx(80)
    assert all(route.batch == 1 for route in plan.routes)
    assert again.accuracy == pytest.approx(plan.accuracy)
    assert again.item_latency_s == pytest.approx(plan.item_latency_s)
    assert plan.utilisation == max(route.utilisation for route in plan.routes) < 1


def test_an_idle_cluster_answers_with_its_most_accurate_variant():
    cluster = cluster_of({"big": 0.9, "small": 0.6}, fast={"big": 0.1, "small": 0.02})

    plan = plan_stream(asked(0.01, 0.5), cluster)

    assert [route.variant for route in plan.routes] == ["big"]
    assert plan.gap == 0


def test_what_is_too_slow_for_an_item_is_not_used_however_idle():
    cluster = cluster_of({"big": 0.9, "small": 0.6}, fast={"big": 0.1, "small": 0.02}, slow={"big": 1.0})

    plan = plan_stream(asked(0.01, 0.05), cluster)

    assert [(route.node, route.variant) for route in plan.routes] == [("fast", "small")]


def test_slack_can_go_to_latency():
    cluster = cluster_of({"big": 0.9, "small": 0.6}, fast={"big": 0.1, "small": 0.02}, slow={"big": 0.4, "small": 0.05})

    accurate = plan_stream(asked(5, 1.0, 0.65), cluster)
    quick = plan_stream(asked(5, 1.0, 0.65, prefer=Prefer.LATENCY), cluster)

    assert accurate.feasible
    assert quick.feasible
    assert quick.accuracy >= 0.65 - 1e-9
    assert quick.item_latency_s < accurate.item_latency_s
    assert quick.bound <= quick.item_latency_s * (1 + 1e-3)


def test_a_slow_or_missing_processor_counts_as_such():
    cluster = cluster_of({"only": 0.8}, one={"only": 0.1}, two={"only": 0.1})
    request = asked(1, 1.0)

    both = plan_stream(request, cluster).max_rate_per_s
    one = plan_stream(request, cluster, {ProcessorId("two", "cpu"): Condition(available=False)}).max_rate_per_s
    slow = plan_stream(request, cluster, {ProcessorId("two", "cpu"): Condition(speed=0.5)}).max_rate_per_s

    assert both == pytest.approx(2 * one, rel=1e-3)
    assert one < slow < both


def test_two_variants_are_mixed_only_where_memory_holds_both():
    profiles = tuple(
        Profile(variant=name, latency_s={1: seconds}, memory_bytes=60)
        for name, seconds in (("big", 0.1), ("small", 0.02))
    )
    variants = (Variant(name="big", accuracy=0.9), Variant(name="small", accuracy=0.6))

    def cluster(memory_bytes: int) -> Cluster:
        node = Node(name="n", processors=(Processor(name="cpu", profiles=profiles),), memory_bytes=memory_bytes)
        return Cluster(family="f", variants=variants, nodes=(node,))

    assert len(plan_stream(asked(15, 1.0), cluster(120)).routes) == 2
    assert len(plan_stream(asked(15, 1.0), cluster(100)).routes) == 1


def test_processors_of_one_node_share_its_memory():
    def processor(name: str) -> Processor:
        profiles = (
            Profile(variant="big", latency_s={1: 0.1}, memory_bytes=60),
            Profile(variant="small", latency_s={1: 0.02}, memory_bytes=40),
        )
        return Processor(name=name, profiles=profiles)

    node = Node(name="n", processors=(processor("cpu"), processor("gpu")), memory_bytes=120)
    variants = (Variant(name="big", accuracy=0.9), Variant(name="small", accuracy=0.6))

    plan = plan_stream(asked(15, 1.0), Cluster(family="f", variants=variants, nodes=(node,)))

    held = {(route.processor, route.variant) for route in plan.routes}
    assert sum(60 if variant == "big" else 40 for _, variant in held) <= 120


def test_no_processor_is_an_error():
    cluster = cluster_of({"only": 0.8}, one={"only": 0.1})

    with pytest.raises(PlanningError, match="no processor is available"):
        plan_stream(asked(1, 1.0), cluster, {ProcessorId("one", "cpu"): Condition(available=False)})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arrivals_per_s": 0.0}, "arrivals_per_s must be a positive, finite number"),
        ({"arrivals_per_s": float("nan")}, "arrivals_per_s must be a positive, finite number"),
        ({"item_latency_s": float("inf")}, "item_latency_s must be a positive, finite number"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1"),
        ({"min_accuracy": 1.5}, "min_accuracy must be a fraction"),
        ({"prefer": Prefer.ENERGY}, "prefer must be accuracy or latency"),
    ],
)
def test_figures_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        StreamRequest(**{"arrivals_per_s": 1.0, "item_latency_s": 1.0, **wrong})


def test_two_variants_at_a_time_come_close_to_the_bound_of_all_mixes():
    gaps = []
    for seed, load in itertools.product(range(5), (0.4, 0.8)):
        cluster = random_cluster(np.random.default_rng(seed), nodes=4)
        latency_s = 0.5
        plan = plan_stream(asked(load * largest_rate(cluster, latency_s), latency_s), cluster)
        gaps.append(plan.gap)

    assert max(gaps) < 0.1
    assert np.mean(gaps) < 0.03


@st.composite
def small_clusters(draw: st.DrawFn, nodes: int = 3) -> Cluster:
    count = draw(st.integers(1, 3))
    accuracy = {f"v{v}": draw(st.floats(0.2, 1.0)) for v in range(count)}

    def profile(variant: str) -> Profile:
        mean_s = draw(st.floats(0.01, 0.5))
        return Profile(variant=variant, latency_s={1: mean_s}, latency_stddev_s={1: mean_s * draw(st.floats(0, 0.4))})

    def node(n: int) -> Node:
        profiles = tuple(profile(f"v{v}") for v in sorted(draw(st.sets(st.integers(0, count - 1), min_size=1))))
        link = Link(latency_s=draw(st.floats(0, 0.02)), bandwidth_bytes_per_s=draw(st.sampled_from([1e5, 1e6, 1e9])))
        return Node(name=f"n{n}", link=link, processors=(Processor(name="cpu", profiles=profiles),))

    return Cluster(
        family="drawn",
        variants=tuple(Variant(name=name, accuracy=a, input_bytes=2000) for name, a in accuracy.items()),
        nodes=tuple(node(n) for n in range(draw(st.integers(1, nodes)))),
    )


latencies = st.floats(0.02, 3.0)
floors = st.floats(0.0, 1.0)
loads = st.floats(0.05, 1.3)
few = settings(max_examples=25)


def stretched(cluster: Cluster, factor: float) -> Cluster:
    """Every time in it, that on the links included, times this."""

    def longer(profile: Profile) -> Profile:
        latency_s = {batch: seconds * factor for batch, seconds in profile.latency_s.items()}
        stddev_s = {batch: seconds * factor for batch, seconds in profile.latency_stddev_s.items()}
        return msgspec.structs.replace(profile, latency_s=latency_s, latency_stddev_s=stddev_s)

    def longer_node(node: Node) -> Node:
        link = Link(
            latency_s=node.link.latency_s * factor, bandwidth_bytes_per_s=node.link.bandwidth_bytes_per_s / factor
        )
        processors = tuple(msgspec.structs.replace(p, profiles=tuple(map(longer, p.profiles))) for p in node.processors)
        return msgspec.structs.replace(node, link=link, processors=processors)

    return msgspec.structs.replace(cluster, nodes=tuple(map(longer_node, cluster.nodes)))


@given(small_clusters(), latencies, floors, loads)
@few
def test_a_feasible_plan_keeps_every_promise_and_adds_up(cluster, latency_s, floor, load):
    rate = max(load * largest_rate(cluster, latency_s), 0.01)
    plan = plan_stream(asked(rate, latency_s, floor), cluster)

    if plan.routes:
        assert sum(route.fraction for route in plan.routes) == pytest.approx(1)
        assert plan.item_latency_s <= latency_s * (1 + 1e-9)
        assert plan.accuracy >= floor - 1e-8
    if plan.feasible:
        assert plan.rate_per_s == pytest.approx(rate)
        assert plan.accuracy <= plan.bound * (1 + 1e-9)
    assert plan.feasible == (rate <= plan.max_rate_per_s * (1 + 1e-9))
    assert plan.max_rate_per_s <= plan.max_rate_bound_per_s * (1 + 1e-6)


@given(small_clusters(), latencies, floors, st.floats(1.0, 3.0))
@few
def test_a_longer_latency_never_lowers_the_largest_rate(cluster, latency_s, floor, factor):
    tight, loose = largest_rate(cluster, latency_s, floor), largest_rate(cluster, latency_s * factor, floor)

    assert loose >= tight * (1 - SLACK)


@given(small_clusters(), latencies, floors, st.floats(0.0, 1.0))
@few
def test_a_lower_floor_never_lowers_the_largest_rate(cluster, latency_s, floor, factor):
    strict, lax = largest_rate(cluster, latency_s, floor), largest_rate(cluster, latency_s, floor * factor)

    assert lax >= strict * (1 - SLACK)


@given(small_clusters(), latencies, floors)
@few
def test_another_node_never_lowers_the_largest_rate(cluster, latency_s, floor):
    fewer = msgspec.structs.replace(cluster, nodes=cluster.nodes[:1])

    assert largest_rate(cluster, latency_s, floor) >= largest_rate(fewer, latency_s, floor) * (1 - SLACK)


@given(small_clusters(), latencies, floors, st.floats(1.0, 3.0))
@few
def test_faster_nodes_never_lower_the_largest_rate(cluster, latency_s, floor, factor):
    faster = stretched(cluster, 1 / factor)

    assert largest_rate(faster, latency_s, floor) >= largest_rate(cluster, latency_s, floor) * (1 - SLACK)


@given(small_clusters(), latencies, floors, st.randoms(use_true_random=False))
@few
def test_the_order_of_nodes_and_variants_changes_nothing(cluster, latency_s, floor, random):
    nodes, variants = list(cluster.nodes), list(cluster.variants)
    random.shuffle(nodes)
    random.shuffle(variants)
    shuffled = msgspec.structs.replace(cluster, nodes=tuple(nodes), variants=tuple(variants))

    other = largest_rate(shuffled, latency_s, floor)

    assert other == pytest.approx(largest_rate(cluster, latency_s, floor), rel=SLACK)


@given(small_clusters(), latencies, floors, st.floats(0.1, 10.0))
@few
def test_scaling_all_times_scales_the_largest_rate(cluster, latency_s, floor, factor):
    one, scaled = (
        largest_rate(cluster, latency_s, floor),
        largest_rate(stretched(cluster, factor), latency_s * factor, floor),
    )

    assert scaled * factor == pytest.approx(one, rel=1e-4)


@given(small_clusters(), latencies, floors, loads)
@few
def test_what_an_infeasible_stream_needs_is_enough_and_hardly_more(cluster, latency_s, floor, load):
    rate = max(load * largest_rate(cluster, latency_s), 0.01)
    plan = plan_stream(asked(rate, latency_s, floor), cluster)
    assume(not plan.feasible)
    needs = plan.needs

    if needs.arrivals_per_s is not None:
        assert plan_stream(asked(needs.arrivals_per_s, latency_s, floor), cluster).feasible
        assert not plan_stream(asked(needs.arrivals_per_s * (1 + SLACK), latency_s, floor), cluster).feasible
    if needs.item_latency_s is not None:
        assert plan_stream(asked(rate, needs.item_latency_s, floor), cluster).feasible
        assert not plan_stream(asked(rate, needs.item_latency_s * (1 - SLACK), floor), cluster).feasible
    if needs.min_accuracy is not None:
        assert plan_stream(asked(rate, latency_s, needs.min_accuracy), cluster).feasible
        higher = min(1.0, needs.min_accuracy * (1 + SLACK))
        assert not plan_stream(asked(rate, latency_s, higher), cluster).feasible


@given(small_clusters(), latencies, floors, loads)
@few
def test_planning_twice_gives_the_same_plan(cluster, latency_s, floor, load):
    request = asked(max(load * largest_rate(cluster, latency_s), 0.01), latency_s, floor)

    assert plan_stream(request, cluster) == plan_stream(request, cluster)
