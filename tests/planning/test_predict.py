"""The cost model against sums done by hand."""

from __future__ import annotations

import math

import pytest

from equipoise.core.cluster import Cluster, Link, Node, Processor, ProcessorId, Profile, Variant
from equipoise.core.plan import Condition, Share
from equipoise.planning.predict import predict

PI = ProcessorId("pi", "cpu")


def board(link: Link = Link(), **profile: object) -> Cluster:  # noqa: B008 - a frozen default
    profiles = (
        Profile(variant="big", latency_s={1: 1.0, 4: 2.0}, **profile),
        Profile(variant="small", latency_s={1: 0.1}),
    )
    processor = Processor(name="cpu", profiles=profiles, idle_w=2.0, active_w=5.0)
    variants = (
        Variant(name="big", accuracy=0.9, input_bytes=1000),
        Variant(name="small", accuracy=0.5, input_bytes=1000),
    )
    return Cluster(family="f", variants=variants, nodes=(Node(name="pi", link=link, processors=(processor,)),))


def share(variant: str, items: int, batch: int = 1) -> Share:
    return Share(node="pi", processor="cpu", variant=variant, batch=batch, items=items, finish_s=0.0)


def test_shares_of_a_processor_run_one_after_the_other():
    expected = predict(board(), [share("big", 2), share("small", 5)])

    assert [s.finish_s for s in expected.shares] == [2.0, 2.5]
    assert expected.latency_s == 2.5
    assert expected.accuracy == pytest.approx((2 * 0.9 + 5 * 0.5) / 7)


def test_a_last_incomplete_batch_costs_what_the_straight_line_between_measured_sizes_says():
    expected = predict(board(), [share("big", 6, batch=4)])

    assert expected.latency_s == pytest.approx(2.0 + (1.0 + 1.0 / 3))  # 4 items, then 2


def test_loading_is_paid_once_unless_the_variant_is_resident():
    cold = predict(board(load_s=0.5), [share("big", 1), share("big", 1)])
    warm = predict(board(load_s=0.5), [share("big", 1)], {PI: Condition(resident=frozenset({"big"}))})

    assert cold.latency_s == 2.5
    assert warm.latency_s == 1.0


def test_a_slow_and_busy_processor_starts_later_and_takes_longer():
    expected = predict(board(), [share("big", 2)], {PI: Condition(speed=0.5, busy_s=3.0)})

    assert expected.latency_s == 3.0 + 4.0


def test_a_link_delays_the_start_and_may_be_what_takes_longest():
    late = predict(board(Link(latency_s=0.2)), [share("small", 10)])
    narrow = predict(board(Link(latency_s=0.2, bandwidth_bytes_per_s=2000)), [share("small", 10)])

    assert late.latency_s == pytest.approx(1.2)
    assert narrow.latency_s == pytest.approx(0.2 + 10 * 1000 / 2000 + 0.1)


def test_energy_is_what_the_request_adds_to_idling():
    assert predict(board(), [share("big", 2)]).energy_j == pytest.approx(3.0 * 2.0)


def test_energy_is_unknown_without_watts():
    cluster = board()
    processor = Processor(name="cpu", profiles=cluster.nodes[0].processors[0].profiles)
    plain = Cluster(family="f", variants=cluster.variants, nodes=(Node(name="pi", processors=(processor,)),))

    assert predict(plain, [share("big", 1)]).energy_j is None


def two_boards(*, uplink_bytes_per_s: float = math.inf, memory_bytes: int | None = None, **profile: object) -> Cluster:
    profile = {name.removeprefix("profile_"): value for name, value in profile.items()}

    def node(name: str) -> Node:
        profiles = tuple(
            Profile(variant=variant, latency_s={1: seconds}, **profile)
            for variant, seconds in (("big", 1.0), ("small", 0.1))
        )
        processors = tuple(Processor(name=p, profiles=profiles, idle_w=1.0, active_w=5.0) for p in ("cpu", "gpu"))
        return Node(name=name, processors=processors, memory_bytes=memory_bytes)

    return Cluster(
        family="f",
        variants=tuple(Variant(name=n, accuracy=a, input_bytes=1000) for n, a in (("big", 0.9), ("small", 0.5))),
        nodes=(node("one"), node("two")),
        uplink_bytes_per_s=uplink_bytes_per_s,
    )


def work(node: str, processor: str, variant: str, items: int) -> Share:
    return Share(node=node, processor=processor, variant=variant, batch=1, items=items, finish_s=0.0)


def test_all_nodes_share_the_uplink_and_the_last_call_waits_for_the_last_input():
    expected = predict(
        two_boards(uplink_bytes_per_s=1000.0), [work("one", "cpu", "small", 5), work("two", "gpu", "small", 15)]
    )

    assert expected.latency_s == pytest.approx(20 * 1000 / 1000 + 0.1)


def test_power_is_that_of_all_boards_idling_and_of_those_at_work():
    expected = predict(two_boards(), [work("one", "cpu", "small", 5), work("one", "gpu", "small", 5)])

    assert expected.power_w == pytest.approx(4 * 1.0 + 2 * 4.0)


def test_variants_of_all_processors_of_a_node_have_to_fit_into_its_memory_together():
    boards = two_boards(memory_bytes=100, profile_memory_bytes=60)

    assert predict(boards, [work("one", "cpu", "small", 5), work("two", "gpu", "small", 5)]).overfull == ()
    assert predict(boards, [work("one", "cpu", "small", 5), work("one", "gpu", "small", 5)]).overfull == ("one",)


def test_with_a_confidence_scatter_adds_up_as_variances_do():
    scattering = two_boards(latency_stddev_s={1: 0.02})
    expected = predict(scattering, [work("one", "cpu", "big", 100)], confidence=0.95)
    both = predict(scattering, [work("one", "cpu", "big", 100), work("two", "cpu", "big", 100)], confidence=0.95)

    assert expected.latency_s == pytest.approx(100.0 + 1.6449 * 0.02 * 10, abs=1e-4)
    assert both.latency_s == pytest.approx(100.0 + 1.9545 * 0.02 * 10, abs=1e-4)  # each at sqrt(0.95)


def test_an_item_weighs_what_its_processor_is_sent_where_that_is_not_what_its_variant_says():
    narrow = Link(bandwidth_bytes_per_s=1000)

    assert predict(board(narrow), [share("big", 4, batch=4)]).latency_s == 4.0 + 2.0
    assert predict(board(narrow, input_bytes=250), [share("big", 4, batch=4)]).latency_s == 1.0 + 2.0
    assert predict(board(narrow, input_bytes=0), [share("big", 4, batch=4)]).latency_s == 2.0
