"""Whole scenarios in virtual time, through the real planner and dispatcher."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from boards import THREE, asking, boards, scenario

from equipoise.core.cluster import Link
from equipoise.core.receipt import Receipt
from equipoise.core.request import Prefer
from equipoise.simulation import (
    Heats,
    Leaves,
    LinkChanges,
    Load,
    Returns,
    Scenario,
    Stragglers,
    UplinkChanges,
    simulate,
)
from equipoise.simulation.records import NodeRecord, PlanRecord, Record, RequestRecord, SpeedRecord, TaskRecord

DRIFT = scenario(
    Load(at_s=0.2, node="a", speed=0.5),
    Leaves(at_s=0.3, node="b", for_s=0.3),
    Heats(at_s=0.3, fraction=0.4, speed=0.6, time_constant_s=0.5),
    requests=(asking(200), asking(150, at_s=0.2), asking(100, at_s=0.5)),
    speed_error=0.2,
    variant_error=0.05,
    stragglers=Stragglers(probability=0.01),
)
NOISY = boards(stddev=0.1, load_s=0.05, link=Link(latency_s=0.002), a=0.002, b=0.004, c=0.008)


def receipt_of(run: Scenario, cluster=THREE, strategy: str = "equipoise", seed: int = 0, **kw: object) -> Receipt:
    receipt = simulate(cluster, run, strategy, seed, **kw).requests[0].receipt
    assert receipt is not None
    return receipt


def time_line(run: Scenario, cluster=THREE, strategy: str = "equipoise", seed: int = 0) -> list[Record]:
    records: list[Record] = []
    simulate(cluster, run, strategy, seed, record=records.append)
    return records


# --- nothing goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["equipoise", "single", "proportional-variant", "work-stealing"])
def test_where_nothing_goes_wrong_a_request_takes_what_its_plan_says(strategy: str):
    receipt = receipt_of(scenario(), strategy=strategy)

    assert receipt.outcome == "answered"
    assert receipt.simulated
    assert receipt.latency_s == pytest.approx(receipt.plan.latency_s, rel=0.03)
    assert receipt.accuracy.expected == pytest.approx(receipt.plan.accuracy, abs=0.005)
    assert receipt.met.both


def test_links_and_the_uplink_that_all_share_take_their_time():
    cluster = boards(a=0.002, b=0.002, link=Link(latency_s=0.01), input_bytes=1000, uplink=100_000.0)

    receipt = receipt_of(scenario(requests=(asking(1000),)), cluster)

    assert receipt.latency_s is not None
    assert receipt.latency_s >= 1000 * 1000 / 100_000 + 0.01
    assert receipt.latency_s == pytest.approx(receipt.plan.latency_s, rel=0.05)


def test_inputs_take_what_each_processor_is_sent():
    cluster = boards(a=0.002, link=Link(bandwidth_bytes_per_s=1e5), input_bytes=10_000)
    (node,) = cluster.nodes
    (processor,) = node.processors
    light = tuple(msgspec.structs.replace(profile, input_bytes=1000) for profile in processor.profiles)
    node = msgspec.structs.replace(node, processors=(msgspec.structs.replace(processor, profiles=light),))

    receipt = receipt_of(scenario(requests=(asking(1000),)), msgspec.structs.replace(cluster, nodes=(node,)))

    assert receipt.latency_s is not None
    assert 1000 * 1000 / 1e5 <= receipt.latency_s < 1000 * 10_000 / 1e5
    assert receipt.latency_s == pytest.approx(receipt.plan.latency_s, rel=0.05)


def test_a_variant_that_is_not_loaded_is_loaded_once():
    records = time_line(scenario(), boards(a=0.002, load_s=0.3))

    loads = [record.load_s for record in records if isinstance(record, TaskRecord) and record.load_s]
    variants = {record.variant for record in records if isinstance(record, TaskRecord)}
    assert loads == pytest.approx([0.3] * len(variants))


def test_what_cannot_be_kept_is_declined_and_nothing_is_run():
    outcome = simulate(THREE, scenario(requests=(asking(deadline_s=0.1),)))

    assert (outcome.admitted, outcome.kept, outcome.tasks) == (0, 0, 0)
    assert outcome.requests[0].plan is not None
    assert not outcome.requests[0].plan.feasible


def test_best_effort_runs_the_closest_plan():
    hopeless = msgspec.structs.replace(asking(deadline_s=0.1), best_effort=True)

    receipt = receipt_of(scenario(requests=(hopeless,)))

    assert receipt.outcome == "answered"
    assert not receipt.met.performance


def test_where_no_node_is_there_a_request_is_declined():
    outcome = simulate(boards(a=0.002), scenario(Leaves(at_s=0.0, node="a"), requests=(asking(at_s=1.0),)))

    assert (outcome.admitted, outcome.requests[0].plan) == (0, None)


def test_requests_at_the_same_time_share_the_boards():
    alone = simulate(THREE, scenario()).requests[0].receipt
    both = simulate(THREE, scenario(requests=(asking(), asking()))).requests

    assert alone is not None and alone.latency_s is not None
    for asked in both:
        assert asked.receipt is not None and asked.receipt.latency_s is not None
        assert asked.receipt.latency_s > 1.5 * alone.latency_s


# --- a run repeats ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["equipoise", "proportional-variant", "work-stealing"])
def test_the_same_seed_gives_the_same_run_to_the_last_bit(strategy: str):
    def run() -> bytes:
        records: list[Record] = []
        outcome = simulate(NOISY, DRIFT, strategy, 7, record=records.append)
        return msgspec.json.encode(outcome) + msgspec.json.encode(records)

    assert run() == run()


def test_another_seed_gives_another_run():
    latencies = {receipt_of(DRIFT, NOISY, seed=seed).latency_s for seed in range(3)}

    assert len(latencies) == 3


def test_chance_strikes_the_same_nodes_whatever_the_strategy():
    def struck(strategy: str) -> list[str]:
        run = scenario(Leaves(at_s=0.1, fraction=0.4))
        cluster = boards(a=0.002, b=0.002, c=0.002, d=0.002, e=0.002)
        return [
            r.node for r in time_line(run, cluster, strategy, 3) if isinstance(r, NodeRecord) and r.change == "left"
        ]

    assert struck("equipoise") == struck("proportional-variant")
    assert len(struck("equipoise")) == 2


# --- things go wrong -------------------------------------------------------------------------------------------------


def test_a_killed_node_is_noticed_at_once_and_its_items_go_elsewhere():
    run = scenario(Leaves(at_s=0.5, node="a"))

    receipt = receipt_of(run)

    assert receipt.outcome == "answered"
    assert [(loss.node, loss.after_s) for loss in receipt.lost] == [("a", 0.5)]
    assert receipt.resent > 0


def test_a_silent_node_is_noticed_when_its_lease_has_run_out():
    run = scenario(Leaves(at_s=0.5, node="a", silent=True), requests=(asking(3000),), lease_s=2.0)

    receipt = receipt_of(run)

    assert receipt.outcome == "answered"
    assert [(loss.node, loss.after_s) for loss in receipt.lost] == [("a", 2.5)]


def test_a_short_silence_loses_nothing():
    run = scenario(Leaves(at_s=0.5, node="a", silent=True, for_s=0.3), lease_s=2.0)

    receipt = receipt_of(run)

    assert (receipt.outcome, receipt.lost, receipt.resent) == ("answered", (), 0)


def test_a_node_that_returns_is_used_again():
    records = time_line(scenario(Leaves(at_s=0.3, node="a"), Returns(at_s=0.6, node="a")))

    answered = [r for r in records if isinstance(r, TaskRecord) and r.node == "a" and r.ending == "answered"]
    assert any(record.sent_s > 0.6 for record in answered)
    assert [r.change for r in records if isinstance(r, NodeRecord)] == ["left", "lost", "returned"]


def test_without_nodes_a_request_is_abandoned_with_the_reason():
    receipt = receipt_of(scenario(*(Leaves(at_s=0.2, node=name) for name in "abc")))

    assert receipt.outcome == "abandoned"
    assert receipt.unanswered
    assert "it left the network" in receipt.unanswered[0].reason


def test_a_request_that_comes_while_a_node_is_away_does_without_it():
    run = scenario(Leaves(at_s=0.0, node="a"), requests=(asking(at_s=1.0),))

    receipt = receipt_of(run)

    assert {share.node for share in receipt.plan.shares} == {"b", "c"}
    assert {share.node for share in receipt.shares if share.items} == {"b", "c"}


@pytest.mark.parametrize(
    "event",
    [
        Load(at_s=0.2, node="a", speed=0.5),
        Heats(at_s=0.0, node="a", speed=0.5, time_constant_s=0.2),
        Load(at_s=0.2, node="a", processor="cpu", speed=0.5),
    ],
)
def test_a_slow_board_is_noticed_and_the_rest_planned_again(event: Load | Heats):
    run = scenario(event, requests=(asking(2000, deadline_s=9.0, prefer=Prefer.ACCURACY),))

    adaptive, rigid = receipt_of(run), receipt_of(run, strategy="proportional-variant")

    assert adaptive.met.both
    assert adaptive.replanned > 0
    assert rigid.replanned == 0


def test_background_load_that_passes_leaves_no_trace():
    records = time_line(scenario(Load(at_s=0.2, node="a", speed=0.5, for_s=0.3)))

    assert [(r.at_s, r.speed) for r in records if isinstance(r, SpeedRecord)] == [(0.2, 0.5), (0.5, 1.0)]


def test_an_uplink_that_gets_slow_delays_everybody_until_it_is_as_it_was():
    cluster = boards(a=0.002, b=0.002, input_bytes=1000, uplink=1e7)
    request = asking(1000, min_accuracy=0.6)
    slow = UplinkChanges(at_s=0.2, bandwidth_bytes_per_s=1e5)

    calm, slowed, restored = (
        receipt_of(scenario(*events, requests=(request,)), cluster).latency_s
        for events in ((), (slow,), (msgspec.structs.replace(slow, for_s=0.5),))
    )

    assert calm < 1.1
    assert slowed > 4 * calm, "800 items of 1 kB need 8 s"
    assert calm + 0.3 < restored < slowed / 2


def test_a_link_that_gets_slow_delays_what_is_sent_from_then_on():
    cluster = boards(a=0.002, b=0.002, link=Link(bandwidth_bytes_per_s=1e7), input_bytes=1000)
    change = LinkChanges(at_s=0.2, node="a", bandwidth_bytes_per_s=20_000.0)

    slowed, free = receipt_of(scenario(change), cluster), receipt_of(scenario(), cluster)

    assert slowed.latency_s is not None and free.latency_s is not None
    assert slowed.latency_s > 1.2 * free.latency_s


def test_stragglers_cost_time():
    heavy = scenario(stragglers=Stragglers(probability=0.02, tail=1.1))

    assert (receipt_of(heavy).latency_s or 0) > (receipt_of(scenario()).latency_s or 0)


def test_profiles_that_are_wrong_are_corrected_by_feedback():
    run = scenario(requests=(asking(3000, deadline_s=12.0, prefer=Prefer.ACCURACY),), speed_error=0.2)

    kept = [receipt_of(run, seed=seed).met.both for seed in range(5)]

    assert all(kept)


# --- the time line ---------------------------------------------------------------------------------------------------


def test_the_time_line_accounts_for_every_item():
    records = time_line(DRIFT, NOISY)

    answered = sum(r.items for r in records if isinstance(r, TaskRecord) and r.ending == "answered")
    assert answered >= 450
    assert [r.change for r in records if isinstance(r, RequestRecord)].count("answered") == 3
    assert sum(isinstance(r, PlanRecord) and r.first for r in records) == 3


def test_a_processor_does_one_thing_at_a_time():
    tasks = [r for r in time_line(DRIFT, NOISY) if isinstance(r, TaskRecord) and r.began_s is not None]

    for node in "abc":
        spans = sorted((r.began_s, r.ended_s) for r in tasks if r.node == node)
        assert all(ended_s <= began_s + 1e-9 for (_, ended_s), (began_s, _) in pairwise(spans))
