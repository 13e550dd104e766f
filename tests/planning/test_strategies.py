"""What each strategy makes of the same boards."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from equipoise.core.cluster import Cluster, Node
from equipoise.core.plan import Condition
from equipoise.core.request import Prefer
from equipoise.errors import PlanningError, UnknownStrategyError
from equipoise.planning import exact
from equipoise.planning.fleet import Fleet
from equipoise.planning.frontier import frontier
from equipoise.planning.planner import plan
from equipoise.planning.strategies import STRATEGIES
from tests.planning.worlds import cluster_of, cpu, request_of

PAPER = Path(__file__).parents[2] / ".." / "shared" / "data" / "clusters" / "paper-boards.json"
MANY = 12_000
BOARDS = cluster_of({"big": 0.9, "small": 0.6}, fast={"big": 0.1, "small": 0.02}, slow={"big": 0.4, "small": 0.05})


@pytest.fixture(scope="module")
def paper_boards():
    if not PAPER.exists():
        pytest.skip("needs the published boards in ../shared/data/clusters")
    return msgspec.json.decode(PAPER.read_bytes(), type=Cluster)


@pytest.mark.parametrize(
    ("strategy", "items_per_s"), [("equipoise", 109.4), ("proportional-variant", 74.5), ("uniform-variant", 40.4)]
)
def test_most_throughput_of_the_papers_boards_at_a_floor_of_76_percent(paper_boards, strategy, items_per_s):
    found = plan(request_of(MANY, Prefer.LATENCY, min_accuracy=0.76), paper_boards, strategy=strategy)

    assert found.feasible
    assert found.throughput_per_s == pytest.approx(items_per_s, abs=0.1)


@pytest.mark.parametrize(
    ("strategy", "accuracy"), [("equipoise", 0.7528), ("proportional-variant", 0.6936), ("uniform-variant", 0.6936)]
)
def test_most_accuracy_of_the_papers_boards_at_120_items_per_second(paper_boards, strategy, accuracy):
    found = plan(request_of(MANY, throughput_per_s=120), paper_boards, strategy=strategy)

    assert found.feasible
    assert found.accuracy == pytest.approx(accuracy, abs=1e-4)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_places_every_item(strategy):
    found = plan(request_of(10, deadline_s=100), BOARDS, strategy=strategy)

    assert found.feasible
    assert found.strategy == strategy
    assert sum(share.items for share in found.shares) == 10


def items_by_node(strategy: str, **requirement: float) -> dict[str, int]:
    found = plan(request_of(10, **requirement), BOARDS, strategy=strategy)
    nodes = {share.node for share in found.shares}
    return {node: sum(s.items for s in found.shares if s.node == node) for node in nodes}


def test_uniform_shares_are_equal_and_proportional_ones_follow_the_speed():
    assert items_by_node("uniform", deadline_s=10) == {"fast": 5, "slow": 5}
    assert items_by_node("proportional", deadline_s=10) == {"fast": 8, "slow": 2}
    assert items_by_node("work-stealing", deadline_s=10) == {"fast": 8, "slow": 2}
    assert items_by_node("single", deadline_s=10) == {"fast": 10}


def test_with_time_to_spare_the_most_accurate_plan_is_also_the_fastest_of_its_kind():
    found = plan(request_of(10, deadline_s=100), BOARDS)

    assert found.accuracy == pytest.approx(0.9)
    assert found.latency_s == pytest.approx(0.8)


def test_a_lost_node_gets_nothing():
    gone = {pid: Condition(available=False) for pid in Fleet.of(BOARDS).pids if pid.node == "fast"}

    for strategy in STRATEGIES:
        found = plan(request_of(10, deadline_s=100), BOARDS, gone, strategy)
        assert {share.node for share in found.shares} == {"slow"}


def test_planning_without_any_processor_is_an_error():
    gone = {pid: Condition(available=False) for pid in Fleet.of(BOARDS).pids}

    with pytest.raises(PlanningError, match="no processor is available"):
        plan(request_of(10, deadline_s=100), BOARDS, gone)


def test_an_unknown_strategy_lists_the_known():
    with pytest.raises(UnknownStrategyError, match="unknown strategy 'magic'; known: equipoise, milp"):
        plan(request_of(1, deadline_s=1), BOARDS, strategy="magic")


def with_watts(**active_w: float) -> Cluster:
    nodes = tuple(
        Node(
            name=node.name, processors=(cpu({p.variant: p.latency_s[1] for p in node.processors[0].profiles}, **watts),)
        )
        for node in BOARDS.nodes
        for watts in [{"active_w": active_w[node.name]} if node.name in active_w else {}]
    )
    return Cluster(family="test", variants=BOARDS.variants, nodes=nodes)


@pytest.mark.parametrize("strategy", ["equipoise", "milp"])
def test_energy_goes_to_the_thriftier_board_as_far_as_the_deadline_allows(strategy):
    cluster = with_watts(fast=10.0, slow=1.0)  # 0.2 J an item on fast, 0.05 J on slow

    lavish = plan(request_of(10, Prefer.ENERGY, deadline_s=0.3), cluster, strategy=strategy)
    thrifty = plan(request_of(10, Prefer.ENERGY, deadline_s=10), cluster, strategy=strategy)

    assert lavish.energy_j == pytest.approx(6 * 0.05 + 4 * 0.2)
    assert thrifty.energy_j == pytest.approx(10 * 0.05)


def test_energy_under_an_accuracy_floor_is_as_low_as_the_milps():
    cluster = with_watts(fast=10.0, slow=1.0)
    request = request_of(200, Prefer.ENERGY, deadline_s=15, min_accuracy=0.75)

    ours, exact = plan(request, cluster), plan(request, cluster, strategy="milp")

    assert ours.feasible
    assert exact.energy_j <= ours.energy_j <= exact.energy_j * 1.01
    assert ours.bound <= exact.energy_j * (1 + 1e-6)


def test_energy_without_watts_names_the_processor():
    with pytest.raises(PlanningError, match=r"slow/cpu has no active_w"):
        plan(request_of(10, Prefer.ENERGY, deadline_s=10), with_watts(fast=10.0))


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_no_point_of_another_strategys_frontier_is_out_of_our_reach(strategy):
    for point in frontier(200, BOARDS, strategy=strategy, points=10):
        ours = plan(request_of(200, Prefer.LATENCY, min_accuracy=point.accuracy), BOARDS)
        assert ours.latency_s <= point.latency_s * 1.005


def test_a_frontier_rises_with_latency():
    plans = frontier(200, BOARDS)

    assert all(a.latency_s < b.latency_s and a.accuracy < b.accuracy for a, b in itertools.pairwise(plans))
    assert plans[-1].accuracy == pytest.approx(0.9)


def test_work_stealing_takes_no_item_from_a_processor_that_begins_too_late_to_have_one():
    busy = {pid: Condition(busy_s=0.0 if pid.node == "fast" else 0.125) for pid in Fleet.of(BOARDS).pids}

    for items in range(1, 12):
        found = plan(request_of(items, deadline_s=100), BOARDS, busy, "work-stealing")
        assert sum(share.items for share in found.shares) == items
        assert all(share.items > 0 for share in found.shares)


TWINS = cluster_of({"big": 0.9}, one={"big": 0.1}, other={"big": 0.1})
HALF_AN_ITEM_SHORT = request_of(3, deadline_s=0.15)  # fluid, the two have time for 3 items; whole, for 2


def test_where_the_bound_admits_what_whole_items_forbid_the_request_is_declined_with_what_it_needs():
    declined = plan(HALF_AN_ITEM_SHORT, TWINS)

    assert not declined.feasible
    assert declined.needs is not None
    assert declined.needs.deadline_s == pytest.approx(0.2)


def test_a_solver_that_gives_up_leaves_the_fast_methods_word(monkeypatch):
    def give_up(program, time_limit_s):
        raise PlanningError("the solver HiGHS gave up on this request")

    monkeypatch.setattr(exact, "_run", give_up)

    assert not plan(HALF_AN_ITEM_SHORT, TWINS).feasible
    with pytest.raises(PlanningError, match="gave up"):
        plan(HALF_AN_ITEM_SHORT, TWINS, strategy="milp")
