"""Schedules of emulated processors and links; the clock is stopped, so that nothing here depends on the machine."""

from __future__ import annotations

import math

import pytest

from equipoise.core.cluster import Link, Profile
from equipoise.node import pacing
from equipoise.node.pacing import AsDescribed, Wire


class StoppedClock:
    """Stands in for the time module: sleeping is what lets time pass, a little more than asked for."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds + 0.001


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    clock = StoppedClock()
    monkeypatch.setattr(pacing, "time", clock)
    return clock


def board() -> AsDescribed:
    return AsDescribed({"v": Profile(variant="v", latency_s={1: 0.010, 4: 0.020}, load_s=0.5)})


def test_a_call_takes_the_described_seconds(clock: StoppedClock) -> None:
    pace = board()
    pace.begin(100.0)
    pace.call("v", 4)

    assert clock.now_s == pytest.approx(100.020, abs=0.0011)


def test_late_wake_ups_do_not_add_up(clock: StoppedClock) -> None:
    pace = board()
    pace.begin(100.0)
    for _ in range(100):
        pace.call("v", 1)

    assert clock.now_s == pytest.approx(101.0, abs=0.0011)


def test_a_task_that_waited_starts_when_the_processor_is_free(clock: StoppedClock) -> None:
    pace = board()
    for _ in range(2):
        pace.begin(100.0)
        pace.call("v", 4)

    assert clock.now_s == pytest.approx(100.040, abs=0.0011)


def test_a_processor_that_was_idle_starts_when_the_task_arrives(clock: StoppedClock) -> None:
    pace = board()
    pace.begin(100.0)
    pace.call("v", 1)
    clock.now_s = 105.0
    pace.begin(105.0)
    pace.call("v", 1)

    assert clock.now_s == pytest.approx(105.010, abs=0.0011)


def test_a_call_that_was_held_up_for_a_moment_is_made_up_for(clock: StoppedClock) -> None:
    pace = board()
    pace.begin(100.0)
    clock.now_s += 0.030  # of real inference, for what is described as 10 ms
    for _ in range(4):
        pace.call("v", 1)

    assert clock.now_s == pytest.approx(100.040, abs=0.0011)


def test_a_processor_that_was_stopped_for_long_does_not_come_back_faster(clock: StoppedClock) -> None:
    pace = board()
    pace.begin(100.0)
    clock.now_s += 60.0
    for _ in range(1000):
        pace.call("v", 1)

    assert clock.now_s >= 160.0 + 1000 * 0.010 - pacing.MOST_CATCHING_UP_S - 0.010


def test_speed_divides_what_is_described_from_the_next_call_on(clock: StoppedClock) -> None:
    pace = board()
    pace.begin(100.0)
    pace.call("v", 1)
    pace.speed = 0.5
    pace.call("v", 1)

    assert clock.now_s == pytest.approx(100.030, abs=0.0011)


def test_loading_takes_the_described_seconds(clock: StoppedClock) -> None:
    pace = board()
    pace.begin(100.0)
    pace.load("v")

    assert clock.now_s == pytest.approx(100.5, abs=0.0011)


def test_payloads_share_the_bandwidth_and_not_the_latency() -> None:
    wire = Wire(Link(latency_s=0.5, bandwidth_bytes_per_s=1000))

    assert [wire.arrives_s(10.0, 1000), wire.arrives_s(10.0, 2000)] == [11.5, 13.5]


def test_a_wire_that_was_idle_starts_when_the_payload_is_sent() -> None:
    wire = Wire(Link(bandwidth_bytes_per_s=1000))

    assert [wire.arrives_s(10.0, 1000), wire.arrives_s(20.0, 1000)] == [11.0, 21.0]


def test_a_link_without_figures_is_free_and_instant() -> None:
    assert Wire(Link()).arrives_s(10.0, 10**9) == 10.0
    assert Wire(Link()).arrives_s(-math.inf, 1) == -math.inf
