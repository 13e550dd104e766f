"""What the dispatcher expects of a link that several processors share."""

from __future__ import annotations

import pytest

from equipoise.core.cluster import Link
from equipoise.dispatch.uplink import Uplink


def uplink(**link: float) -> Uplink:
    return Uplink(Link(**link))


def test_inputs_follow_each_other_and_latency_delays_them_alike():
    way = uplink(latency_s=0.5, bandwidth_bytes_per_s=100.0)

    way.send(200, now_s=10.0)

    assert way.arrives_s(100, now_s=11.0) == pytest.approx(13.5)
    assert way.arrives_s(100, now_s=20.0) == pytest.approx(21.5)


def test_a_free_link_costs_nothing():
    way = uplink()

    way.send(10**9, now_s=1.0)

    assert way.arrives_s(10**9, now_s=1.0) == pytest.approx(1.0)


def test_what_can_arrive_in_time_leaves_after_what_was_sent_before():
    way = uplink(latency_s=0.5, bandwidth_bytes_per_s=100.0)
    way.send(100, now_s=0.0)

    assert way.capacity_bytes(now_s=0.0, until_s=2.0) == pytest.approx(50.0)
    assert way.capacity_bytes(now_s=0.0, until_s=1.0) == 0.0


def test_a_node_that_went_takes_with_it_what_was_on_its_way():
    way = uplink(bandwidth_bytes_per_s=1.0)
    way.send(1000, now_s=0.0)

    way.forget()

    assert way.arrives_s(1, now_s=5.0) == pytest.approx(6.0)


def told(way: Uplink, *transfers: tuple[int, float, float]) -> list[bool]:
    return [way.learn(size, sent_s, arrived_s, worked_s=0.01) for size, sent_s, arrived_s in transfers]


def test_a_link_that_has_become_slow_is_known_after_two_transfers():
    way = uplink(latency_s=0.1, bandwidth_bytes_per_s=1000.0)

    news = told(way, (500, 0.0, 0.6), (500, 1.0, 1.6), (500, 2.0, 7.1), (500, 8.0, 13.1))

    assert news == [False, False, False, True]
    assert way.link.bandwidth_bytes_per_s == pytest.approx(100.0)
    assert way.link.latency_s == 0.1
    assert way.transfer_s(500) == pytest.approx(5.0)


def test_one_mishap_is_none():
    way = uplink(bandwidth_bytes_per_s=1000.0)

    assert told(way, (500, 0.0, 0.5), (500, 1.0, 5.0), (500, 6.0, 6.5), (500, 7.0, 7.5)) == [False] * 4
    assert way.link.bandwidth_bytes_per_s == 1000.0


def test_a_link_that_recovers_is_believed_step_by_step():
    way = uplink(bandwidth_bytes_per_s=1000.0)

    for number in range(12):
        way.learn(5000, 10.0 * number, 10.0 * number + 0.5, worked_s=0.01)

    assert way.link.bandwidth_bytes_per_s == pytest.approx(10_000.0)


def test_what_anything_may_have_delayed_is_no_matter_of_bandwidth():
    """Two of them are on their way at any time, each 40 ms longer than the link needs."""
    way = uplink(bandwidth_bytes_per_s=1e6)
    sent_s = [0.0, 0.0, *(0.05 * number for number in range(1, 30))]

    assert not any(told(way, *((10_000, at_s, at_s + 0.05) for at_s in sent_s)))


def test_a_transfer_begins_when_the_one_before_it_is_over():
    way = uplink(bandwidth_bytes_per_s=1e6)

    told(way, *((250_000, 0.0, 0.5 * number) for number in range(1, 6)))

    assert way.link.bandwidth_bytes_per_s == pytest.approx(5e5)


def test_what_takes_no_longer_than_the_work_is_no_news():
    way = uplink(bandwidth_bytes_per_s=1e6)

    assert not any(way.learn(10_000, float(number), number + 0.3, worked_s=0.4) for number in range(9))


def test_small_transfers_tell_nothing_about_a_link_that_has_just_had_large_ones():
    way = uplink(bandwidth_bytes_per_s=1e6)

    for number in range(0, 12, 4):
        assert not any(told(way, (400_000, float(number), number + 0.4)))
        assert not any(told(way, *((50_000, float(late), late + 0.6) for late in range(number + 1, number + 4))))


def test_where_only_small_transfers_are_left_they_tell():
    """Whoever is behind a link that has become slow gets little to do: without that, it would never be known."""
    way = uplink(bandwidth_bytes_per_s=1e6)
    told(way, (400_000, 0.0, 0.4))

    assert any(told(way, *((50_000, float(number), number + 0.6) for number in range(1, 9))))
    assert way.link.bandwidth_bytes_per_s < 2e5


def test_a_free_link_stays_free():
    way = uplink()

    assert not any(told(way, *((10**6, float(number), number + 9.0) for number in range(5))))
    assert way.transfer_s(10**9) == 0.0


def pinged(way: Uplink, *took_s: float, from_s: float = 0.0) -> list[bool]:
    return [way.learn_round_trip(from_s + number, from_s + number + s) for number, s in enumerate(took_s)]


def test_a_way_that_has_become_longer_is_known_after_five_round_trips():
    way = uplink(latency_s=0.01, bandwidth_bytes_per_s=1e6)

    assert pinged(way, 0.31, 0.3, 0.35, 0.32, 0.4) == [False, False, False, False, True]
    assert way.link.latency_s == pytest.approx(0.3)
    assert way.link.bandwidth_bytes_per_s == 1e6


def test_one_quick_round_trip_tells_that_a_way_has_become_shorter():
    way = uplink(latency_s=0.3, bandwidth_bytes_per_s=1e6)

    assert pinged(way, 0.31, 0.05) == [False, True]
    assert way.link.latency_s == pytest.approx(0.05)


def test_a_busy_machine_does_not_make_a_way_longer():
    way = uplink(latency_s=0.001, bandwidth_bytes_per_s=1e6)

    assert not any(pinged(way, *(0.02 if number % 5 == 0 else 0.5 for number in range(30))))


def test_a_round_trip_says_nothing_while_inputs_are_on_their_way_before_it():
    way = uplink(latency_s=0.01, bandwidth_bytes_per_s=1e6)
    for number in range(10):
        way.send(900_000, float(number))

    assert not any(pinged(way, *([0.9] * 10), from_s=0.1))
    assert pinged(way, *([0.9] * 5), from_s=20.0)[-1]


def test_what_was_taken_for_a_longer_way_is_taken_back_if_the_link_turns_out_to_be_slower():
    way = uplink(latency_s=0.01, bandwidth_bytes_per_s=1e6)
    pinged(way, *([1.0] * 5))

    told(way, *((400_000, 10.0, 10.0 + 4.0 * number) for number in range(1, 6)))

    assert way.link.latency_s == 0.01
    assert way.link.bandwidth_bytes_per_s == pytest.approx(1e5)


def test_a_longer_way_is_not_taken_for_a_slower_link_for_ever():
    way = uplink(latency_s=0.01, bandwidth_bytes_per_s=1e6)

    for number in range(0, 40, 2):  # inputs that take 0.1 s, and a ping after them
        way.send(100_000, float(number))
        told(way, (100_000, float(number), number + 0.6))
        pinged(way, 0.5, from_s=number + 1.5)

    assert way.link.latency_s == pytest.approx(0.5)
    assert way.link.bandwidth_bytes_per_s > 5e5  # it needs five times as long at first sight


def test_no_way_is_found_to_a_free_link():
    assert not any(pinged(uplink(), *([0.5] * 9)))
