"""When a request that may still lose a node hurries, and how it is planned while it runs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.cluster import Cluster, Node, Processor, ProcessorId, Profile, Variant
from equipoise.core.plan import Condition, Conditions, HurriedPlan, Plan
from equipoise.core.request import Prefer, Request, Requirement, WhenLate
from equipoise.planning.fleet import Fleet
from equipoise.planning.problem import Problem
from equipoise.planning.security import Hurry, hurry
from equipoise.planning.underway import plan_underway


def boards(**small_item_s: float) -> Cluster:
    """One node per keyword; the accurate variant takes three times as long as the small one."""

    def processor(item_s: float) -> Processor:
        costs = {"small": item_s, "large": 3 * item_s}
        return Processor(name="cpu", profiles=tuple(Profile(variant=v, latency_s={1: s}) for v, s in costs.items()))

    return Cluster(
        family="test",
        variants=(Variant(name="small", accuracy=0.6), Variant(name="large", accuracy=0.8)),
        nodes=tuple(Node(name=name, processors=(processor(item_s),)) for name, item_s in small_item_s.items()),
    )


EQUAL = boards(a=0.01, b=0.01, c=0.01)
LOPSIDED = boards(big=0.002, small=0.02)


def asking(items: int = 300, **requirement: object) -> Request:
    defaults = {"deadline_s": 2.0, "min_accuracy": 0.6, "confidence": 0.9}
    return Request(items=items, requirement=Requirement(**(defaults | requirement)))


def hurry_of(request: Request, cluster: Cluster, conditions: Conditions | None = None) -> Hurry | None:
    return hurry(Problem(request=request, fleet=Fleet.of(cluster), conditions=conditions or {}))


def under_way(request: Request, cluster: Cluster, conditions: Conditions | None = None) -> Plan:
    return plan_underway(request, cluster, conditions or {}, "equipoise")


# --- hurrying --------------------------------------------------------------------------------------------------------


def test_a_request_that_could_bear_any_loss_has_time():
    assert hurry_of(asking(deadline_s=2.4), EQUAL) is None


def test_a_request_that_depends_on_one_node_hurries_until_it_does_not():
    request = asking(deadline_s=3.0)

    found = hurry_of(request, LOPSIDED)

    assert found is not None
    assert 0 < found.for_s < found.deadline_s < 3.0
    done = found.for_s / found.deadline_s
    assert (1 - done) * 300 * 0.02 <= 3.0 - found.for_s  # without the big node, with the small variant


def test_who_asks_for_no_confidence_is_not_made_to_hurry():
    assert hurry_of(asking(deadline_s=3.0, confidence=None), LOPSIDED) is None


def test_where_slack_goes_to_latency_there_is_nothing_to_add():
    assert hurry_of(asking(deadline_s=3.0, prefer=Prefer.LATENCY), LOPSIDED) is None


def test_what_no_hurry_makes_safe_is_not_paid_for():
    assert hurry_of(asking(min_accuracy=0.8, deadline_s=1.9), boards(a=0.002)) is None


def test_a_lone_node_hurries_so_that_it_may_slow_down():
    found = hurry_of(asking(deadline_s=1.1), boards(only=0.002))

    assert found is not None


def test_a_node_that_is_away_can_be_lost_no_more():
    away = {ProcessorId("big", "cpu"): Condition(available=False)}

    assert hurry_of(asking(items=100, deadline_s=10.0), LOPSIDED, away) is None


@settings(max_examples=60, deadline=None)
@given(
    speeds=st.lists(st.floats(0.001, 0.05), min_size=1, max_size=6),
    items=st.integers(1, 500),
    deadline_s=st.floats(0.01, 20.0),
    floor=st.floats(0.0, 0.8),
    busy_s=st.floats(0.0, 1.0),
)
def test_a_hurry_ends_before_its_deadline_and_that_before_the_true_one(
    speeds: list[float], items: int, deadline_s: float, floor: float, busy_s: float
):
    cluster = boards(**{f"n{k}": s for k, s in enumerate(speeds)})
    busy = {ProcessorId("n0", "cpu"): Condition(busy_s=busy_s)}

    found = hurry_of(asking(items=items, deadline_s=deadline_s, min_accuracy=floor), cluster, busy)

    assert found is None or 0 < found.for_s <= found.deadline_s * (1 + 1e-9) <= deadline_s * (1 + 1e-9)


# --- plans for what is under way -------------------------------------------------------------------------------------


def test_a_plan_in_a_hurry_keeps_the_floor_and_says_for_how_long_it_hurries():
    plan = under_way(asking(deadline_s=3.0), LOPSIDED)

    assert plan.feasible
    assert isinstance(plan, HurriedPlan)
    assert plan.accuracy >= 0.6
    assert plan.latency_s < 3.0 * 0.9


def test_without_need_the_plan_is_that_of_the_planner():
    request = asking(deadline_s=2.4)

    assert not isinstance(under_way(request, EQUAL), HurriedPlan)
    assert under_way(request, EQUAL).accuracy == pytest.approx(0.74)


@pytest.mark.parametrize(
    ("when_late", "kept"),
    [(WhenLate.KEEP_FLOOR, "fastest_at_floor"), (WhenLate.KEEP_DEADLINE, "most_accurate_at_deadline")],
)
def test_what_can_no_longer_be_kept_is_conceded_as_the_policy_says(when_late: WhenLate, kept: str):
    plan = under_way(asking(deadline_s=1.2, min_accuracy=0.75, when_late=when_late), EQUAL)

    assert not plan.feasible
    followed = plan.to_follow(when_late)
    assert followed is not None
    assert followed is getattr(plan.closest, kept)
    if when_late is WhenLate.KEEP_FLOOR:
        assert followed.accuracy >= 0.75 - 1e-9
        assert followed.latency_s > 1.2
    else:
        assert followed.accuracy < 0.75
        assert followed.latency_s <= 1.2 + 1e-9


def test_strategies_of_the_literature_do_not_hurry():
    plan = plan_underway(asking(deadline_s=3.0), LOPSIDED, {}, "proportional-variant")

    assert not isinstance(plan, HurriedPlan)
