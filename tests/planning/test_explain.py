"""Why a plan is what it is."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.cluster import Cluster, Link
from equipoise.core.explanation import Explanation, WhyIdle, WhyUnused
from equipoise.core.plan import Condition, Plan
from equipoise.core.request import Prefer, Request
from equipoise.planning.explain import explain
from equipoise.planning.fleet import Fleet
from equipoise.planning.planner import plan
from equipoise.planning.strategies import STRATEGIES
from tests.planning.worlds import cluster_of, clusters, cpu, random_cluster, request_of

QUICK = [name for name, strategy in STRATEGIES.items() if not strategy.solver]
BOARDS = cluster_of({"big": 0.9, "small": 0.6}, fast={"big": 0.1, "small": 0.02}, slow={"big": 0.4, "small": 0.05})


def explained(request: Request, cluster: Cluster = BOARDS, conditions=None, strategy: str = "equipoise") -> Explanation:
    found = plan(request, cluster, conditions or {}, strategy)
    return explain(request, cluster, found, conditions or {})


def with_node(cluster: Cluster, name: str, **changes: object) -> Cluster:
    """The cluster with one node changed."""
    nodes = tuple(msgspec.structs.replace(n, **changes) if n.name == name else n for n in cluster.nodes)
    return msgspec.structs.replace(cluster, nodes=nodes)


def why_idle(explanation: Explanation) -> dict[str, WhyIdle]:
    return {processor.node: processor.why for processor in explanation.idle}


def why_unused(explanation: Explanation) -> dict[str, WhyUnused]:
    return {variant.variant: variant.why for variant in explanation.unused}


def test_where_slack_goes_to_accuracy_the_deadline_binds():
    promises = explained(request_of(1000, deadline_s=50, min_accuracy=0.7)).promises

    assert promises.deadline_binds
    assert not promises.floor_binds
    assert promises.slack_s == pytest.approx(0.0, abs=0.1)
    assert promises.slack_accuracy == pytest.approx(0.077, abs=0.01)


def test_where_slack_goes_to_less_time_the_floor_binds():
    promises = explained(request_of(1000, Prefer.LATENCY, deadline_s=100, min_accuracy=0.7)).promises

    assert promises.floor_binds
    assert not promises.deadline_binds
    assert promises.slack_accuracy == pytest.approx(0.0, abs=1e-3)


def test_with_time_to_spare_neither_binds_and_nothing_more_can_be_bought():
    explanation = explained(request_of(100, deadline_s=1000, min_accuracy=0.5))

    assert not explanation.promises.deadline_binds
    assert not explanation.promises.floor_binds
    assert explanation.more_accuracy.step == 0.0
    assert explanation.more_accuracy.seconds is None
    assert explanation.more_time.accuracy == 0.0


def test_less_energy_may_be_bound_by_both():
    nodes = tuple(
        msgspec.structs.replace(node, processors=(cpu(latencies, active_w=watts),))
        for node, latencies, watts in zip(
            BOARDS.nodes, ({"big": 0.1, "small": 0.02}, {"big": 0.4, "small": 0.05}), (10.0, 1.0), strict=True
        )
    )
    thrifty = msgspec.structs.replace(BOARDS, nodes=nodes)

    promises = explained(request_of(200, Prefer.ENERGY, deadline_s=15, min_accuracy=0.75), thrifty).promises

    assert promises.deadline_binds
    assert promises.floor_binds


@pytest.mark.parametrize("prefer", [Prefer.ACCURACY, Prefer.LATENCY])
def test_the_prices_are_what_planning_again_says_and_the_dual_prices_agree(prefer):
    request = request_of(10_000, prefer, deadline_s=500, min_accuracy=0.7)
    found = plan(request, BOARDS)

    explanation = explain(request, BOARDS, found)

    dearer = plan(request_of(10_000, Prefer.LATENCY, min_accuracy=found.accuracy + 0.01), BOARDS)
    assert explanation.more_accuracy.step == pytest.approx(0.01)
    assert explanation.more_accuracy.seconds == pytest.approx(dearer.latency_s - found.latency_s, rel=0.02)
    assert explanation.more_accuracy.seconds == pytest.approx(explanation.more_accuracy.dual_seconds, rel=0.05)
    assert explanation.more_time.step_s == 1.0
    assert explanation.more_time.accuracy == pytest.approx(explanation.more_time.dual_accuracy, rel=0.05)


def test_the_last_bit_of_accuracy_is_priced_as_what_it_is():
    request = request_of(1000, Prefer.LATENCY, min_accuracy=0.895)

    more = explained(request).more_accuracy

    assert more.step == pytest.approx(0.005, abs=1e-3)
    assert more.seconds > 0


def test_where_less_than_a_second_is_at_stake_a_tenth_of_it_is_priced():
    assert explained(request_of(10, deadline_s=0.5)).more_time.step_s == pytest.approx(0.05)


def test_losing_a_node_costs_what_planning_without_it_says():
    request = request_of(1000, deadline_s=60)
    found = plan(request, BOARDS)
    gone = {pid: Condition(available=False) for pid in Fleet.of(BOARDS).pids if pid.node == "slow"}
    without = plan(request, BOARDS, gone)

    roles = {role.node: role for role in explain(request, BOARDS, found).nodes}

    assert sum(role.items for role in roles.values()) == 1000
    assert roles["slow"].loss.feasible
    assert roles["slow"].loss.accuracy == pytest.approx(found.accuracy - without.accuracy)
    assert roles["slow"].beyond_others == pytest.approx(found.accuracy - without.accuracy)


def test_a_node_without_which_the_promises_break_is_named_as_such():
    roles = {role.node: role for role in explained(request_of(1000, deadline_s=40, min_accuracy=0.7)).nodes}

    assert not roles["fast"].loss.feasible
    assert roles["fast"].loss.accuracy is None  # slow alone needs 50 s for the items
    assert roles["fast"].beyond_others is None
    assert roles["fast"].loss.seconds > 0


def test_without_the_only_node_nothing_is_left():
    alone = cluster_of({"big": 0.9}, only={"big": 0.1})

    (role,) = explained(request_of(10, deadline_s=10), alone).nodes

    assert not role.loss.feasible
    assert role.loss.accuracy is None
    assert role.loss.seconds is None


def test_of_many_nodes_the_busiest_are_asked_about_and_the_rest_counted():
    many = random_cluster(np.random.default_rng(1), nodes=50, variants=6)

    explanation = explained(request_of(2000, deadline_s=1.0), many)

    assert len(explanation.nodes) == 8
    at_work = {share.node for share in plan(request_of(2000, deadline_s=1.0), many).shares}
    assert explanation.nodes_left_out == len(at_work) - 8
    assert [role.items for role in explanation.nodes] == sorted((r.items for r in explanation.nodes), reverse=True)


def test_a_variant_that_another_one_beats_everywhere_is_never_worth_using():
    cluster = cluster_of({"good": 0.9, "bad": 0.8, "quick": 0.5}, a={"good": 0.1, "bad": 0.2, "quick": 0.02})

    (bad,) = [v for v in explained(request_of(100, deadline_s=6), cluster).unused if v.variant == "bad"]

    assert bad.why is WhyUnused.DOMINATED
    assert bad.instead == ("good",)


def test_a_variant_off_every_hull_names_the_mix_that_beats_it():
    cluster = cluster_of({"good": 0.9, "meh": 0.52, "quick": 0.5}, a={"good": 0.1, "meh": 0.09, "quick": 0.02})

    (meh,) = [v for v in explained(request_of(1000, deadline_s=60), cluster).unused if v.variant == "meh"]

    assert meh.why is WhyUnused.OFF_HULL
    assert set(meh.instead) == {"good", "quick"}


def test_a_variant_that_is_beaten_once_its_rival_is_loaded_is_not_called_dominated():
    cluster = cluster_of({"good": 0.9, "handy": 0.8}, a={"good": 0.1, "handy": 0.2})
    ((processor,),) = (node.processors for node in cluster.nodes)
    slow_to_load = tuple(
        msgspec.structs.replace(p, load_s=5.0 if p.variant == "good" else 0.0) for p in processor.profiles
    )
    loading = with_node(cluster, "a", processors=(msgspec.structs.replace(processor, profiles=slow_to_load),))

    assert why_unused(explained(request_of(10, deadline_s=100), loading)) == {"handy": WhyUnused.OFF_HULL}


def test_what_is_good_elsewhere_says_on_which_side_of_this_request_it_lies():
    variants = {"big": 0.9, "middle": 0.8, "small": 0.6}
    cluster = cluster_of(variants, a={"big": 1.0, "middle": 0.1, "small": 0.02})

    assert why_unused(explained(request_of(100, deadline_s=5), cluster)) == {"big": WhyUnused.TOO_SLOW}
    assert why_unused(explained(request_of(100, deadline_s=50), cluster)) == {"small": WhyUnused.TOO_INACCURATE}


def test_a_variant_without_a_profile_can_be_run_nowhere():
    cluster = cluster_of({"big": 0.9, "ghost": 0.95}, a={"big": 0.1})

    assert why_unused(explained(request_of(10, deadline_s=5), cluster)) == {"ghost": WhyUnused.NOWHERE}


def test_an_idle_processor_says_what_keeps_it_idle():
    request = request_of(10, deadline_s=1.2)
    slow = Fleet.of(BOARDS).pids[1]
    far, laden, cramped = (
        with_node(BOARDS, "slow", link=Link(latency_s=5.0)),
        with_node(
            BOARDS,
            "slow",
            processors=(
                msgspec.structs.replace(
                    BOARDS.nodes[1].processors[0],
                    profiles=tuple(
                        msgspec.structs.replace(p, load_s=5.0) for p in BOARDS.nodes[1].processors[0].profiles
                    ),
                ),
            ),
        ),
        with_node(
            BOARDS,
            "slow",
            memory_bytes=10,
            processors=(
                msgspec.structs.replace(
                    BOARDS.nodes[1].processors[0],
                    profiles=tuple(
                        msgspec.structs.replace(p, memory_bytes=100) for p in BOARDS.nodes[1].processors[0].profiles
                    ),
                ),
            ),
        ),
    )

    assert why_idle(explained(request, far)) == {"slow": WhyIdle.LINK}
    assert why_idle(explained(request, laden)) == {"slow": WhyIdle.LOAD}
    assert why_idle(explained(request, cramped)) == {"slow": WhyIdle.MEMORY}
    assert why_idle(explained(request, BOARDS, {slow: Condition(busy_s=9.0)})) == {"slow": WhyIdle.BUSY}
    assert why_idle(explained(request, BOARDS, {slow: Condition(speed=0.001)})) == {"slow": WhyIdle.TOO_SLOW}
    assert why_idle(explained(request, BOARDS, {slow: Condition(available=False)})) == {"slow": WhyIdle.UNAVAILABLE}
    assert why_idle(explained(request, strategy="single")) == {"slow": WhyIdle.LEFT_OUT}


def test_a_processor_that_could_help_but_need_not_says_so():
    cluster = cluster_of({"big": 0.9, "small": 0.6}, fast={"big": 0.1}, poor={"small": 0.1})

    assert why_idle(explained(request_of(10, deadline_s=1.0), cluster)) == {"poor": WhyIdle.NOT_NEEDED}


@pytest.mark.parametrize(
    ("request_", "deadline_fails", "floor_fails"),
    [
        (request_of(100, deadline_s=0.1, min_accuracy=0.7), True, False),
        (request_of(100, deadline_s=100, min_accuracy=0.95), False, True),
        (request_of(100, deadline_s=2, min_accuracy=0.85), False, False),
        (request_of(100, deadline_s=0.1, min_accuracy=0.95), True, True),
    ],
)
def test_an_infeasible_request_names_its_obstacle(request_, deadline_fails, floor_fails):
    explanation = explained(request_)

    assert explanation.obstacle.deadline_alone_fails == deadline_fails
    assert explanation.obstacle.floor_alone_fails == floor_fails
    assert explanation.obstacle.fastest_s == pytest.approx(1.44, rel=0.01)
    assert explanation.obstacle.best_accuracy == 0.9
    assert explanation.promises is None


def mentioned(found: Plan, explanation: Explanation) -> tuple[list[str], list[tuple[str, str]]]:
    variants = [*{share.variant for share in found.shares}, *(v.variant for v in explanation.unused)]
    processors = [*{share.pid for share in found.shares}, *((p.node, p.processor) for p in explanation.idle)]
    return sorted(variants), sorted(processors)


requests = st.builds(
    request_of,
    st.integers(1, 60),
    st.sampled_from([Prefer.ACCURACY, Prefer.LATENCY]),
    deadline_s=st.floats(0.01, 20.0),
    min_accuracy=st.floats(0.0, 1.0),
)


@given(clusters(charges=True), requests, st.sampled_from(QUICK))
@settings(max_examples=50)
def test_every_variant_processor_and_item_is_accounted_for(cluster, request, strategy):
    found = plan(request, cluster, strategy=strategy)

    explanation = explain(request, cluster, found)

    fleet = Fleet.of(cluster)
    assert mentioned(found, explanation) == (sorted(fleet.names), sorted(fleet.pids))
    assert (explanation.obstacle is None) == found.feasible
    if found.feasible:
        assert sum(role.items for role in explanation.nodes) == request.items
        assert explanation.promises.slack_accuracy >= -1e-9
        assert explanation.more_time.accuracy >= 0
    assert msgspec.json.decode(msgspec.json.encode(explanation), type=Explanation) == explanation
