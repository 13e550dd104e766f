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
