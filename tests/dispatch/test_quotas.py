from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from world import cluster_of, pid

from equipoise.core.cluster import ProcessorId
from equipoise.core.plan import Share
from equipoise.dispatch.lane import Lane, lanes_of
from equipoise.dispatch.quotas import apportion, assign_quotas


def lanes_abc() -> dict[ProcessorId, Lane]:
    return lanes_of(cluster_of(a=0.001, b=0.002, c=0.004), {})


def share(node: str, variant: str, items: int) -> Share:
    return Share(node=node, processor="cpu", variant=variant, batch=4, items=items, finish_s=1.0)


def quotas(lanes: dict[ProcessorId, Lane], node: str) -> list[tuple[str, int]]:
    return [(quota.variant, quota.items) for quota in lanes[pid(node)].quotas]


@given(st.lists(st.integers(0, 10_000), max_size=8), st.integers(0, 100_000))
def test_what_is_apportioned_adds_up_and_is_less_than_one_off(weights: list[int], total: int):
    counts = apportion(weights, total)

    assert sum(counts) == (total if any(weights) else 0)
    assert all(
        abs(count * sum(weights) - total * weight) < sum(weights)
        for count, weight in zip(counts, weights, strict=True)
        if any(weights)
    )


def test_a_current_plan_is_followed_to_the_letter():
    lanes = lanes_abc()

    assert assign_quotas([share("a", "large", 70), share("b", "small", 30)], lanes, Counter(), 100, pooled=False)

    assert quotas(lanes, "a") == [("large", 70)]
    assert quotas(lanes, "b") == [("small", 30)]
    assert quotas(lanes, "c") == []


def test_what_was_sent_since_the_plan_was_asked_for_is_taken_off_it():
    lanes = lanes_abc()
    sent = Counter({(pid("a"), "large"): 20})

    assign_quotas([share("a", "large", 70), share("b", "small", 30)], lanes, sent, 80, pooled=False)

    assert quotas(lanes, "a") == [("large", 50)]
    assert quotas(lanes, "b") == [("small", 30)]


def test_shares_of_a_lost_processor_go_to_the_others_in_proportion():
    lanes = lanes_abc()
    lanes[pid("a")].available = False

    assign_quotas(
        [share("a", "large", 50), share("b", "small", 30), share("c", "small", 20)], lanes, Counter(), 100, pooled=False
    )

    assert quotas(lanes, "a") == []
    assert quotas(lanes, "b") == [("small", 60)]
    assert quotas(lanes, "c") == [("small", 40)]


def test_a_plan_for_processors_that_are_all_gone_cannot_be_followed():
    lanes = lanes_abc()
    lanes[pid("a")].available = False

    assert not assign_quotas([share("a", "large", 50)], lanes, Counter(), 50, pooled=False)


def test_the_variant_that_is_running_comes_first():
    lanes = lanes_abc()
    lanes[pid("a")].variant = "small"

    assign_quotas([share("a", "large", 70), share("a", "small", 30)], lanes, Counter(), 100, pooled=False)

    assert quotas(lanes, "a") == [("small", 30), ("large", 70)]


def test_in_a_pool_everybody_draws_on_the_same_quota():
    lanes = lanes_abc()

    assign_quotas([share("a", "medium", 70), share("b", "medium", 30)], lanes, Counter(), 100, pooled=True)

    (of_a,), (of_c,) = lanes[pid("a")].quotas, lanes[pid("c")].quotas
    assert of_a is of_c
    assert of_a.items == 100
