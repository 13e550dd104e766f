from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st

from equipoise.profiling.statistics import is_settled, median_interval, summarise

SECONDS = st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=200)


@given(SECONDS)
def test_the_figures_of_calls_are_ordered_and_within_what_was_seen(seconds: list[float]):
    times = summarise(seconds)

    assert times.calls == len(seconds)
    assert min(seconds) <= times.median_s <= times.p90_s <= times.p95_s <= times.p99_s <= max(seconds)
    assert times.stddev_s >= 0


@given(SECONDS)
def test_the_interval_of_a_median_contains_the_median(seconds: list[float]):
    low, high = median_interval(seconds)

    assert low <= statistics.median(seconds) <= high


def test_one_call_has_no_spread():
    times = summarise([0.25])

    assert (times.median_s, times.p99_s, times.stddev_s) == (0.25, 0.25, 0.0)


def test_equal_calls_settle_a_median_and_scattered_ones_do_not():
    assert is_settled([0.01] * 10, tolerance=0.02)
    assert not is_settled([0.01, 0.02] * 5, tolerance=0.02)


def test_one_slow_call_among_many_does_not_unsettle_a_median():
    assert is_settled([0.01] * 30 + [9.0], tolerance=0.02)


def test_more_calls_of_the_same_kind_narrow_the_interval():
    few, many = [0.01, 0.011, 0.012] * 3, [0.01, 0.011, 0.012] * 100

    def width(seconds: list[float]) -> float:
        low, high = median_interval(seconds)
        return high - low

    assert width(many) < width(few)
