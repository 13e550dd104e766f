from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.profiling.feedback import SpeedEstimator


def observe(estimator: SpeedEstimator, *speeds: float) -> float:
    for speed in speeds:
        estimator.observe(predicted_s=1.0, observed_s=1.0 / speed)
    return estimator.speed


def test_without_results_the_profile_is_believed():
    assert SpeedEstimator().speed == 1.0


def test_a_board_at_half_speed_is_recognised_by_its_second_result():
    assert observe(SpeedEstimator(), 0.5, 0.5) == pytest.approx(0.5, rel=0.02)


def test_a_slow_down_after_many_results_is_recognised_by_its_second_result():
    assert observe(SpeedEstimator(), *[1.0] * 50, 0.5, 0.5) == pytest.approx(0.5, rel=0.02)


def test_a_recovery_is_recognised_as_quickly():
    assert observe(SpeedEstimator(), *[0.5] * 20, 1.0, 1.0) == pytest.approx(1.0, rel=0.02)


def test_one_outlier_hardly_moves_the_estimate():
    settled = SpeedEstimator()
    observe(settled, *[1.0] * 20)

    assert observe(settled, 0.05) == pytest.approx(1.0, rel=0.05)


def test_outliers_on_either_side_are_no_change():
    assert observe(SpeedEstimator(), *[1.0] * 20, *[0.3, 3.0] * 10) == pytest.approx(1.0, rel=0.15)


def test_a_slow_drift_is_followed():
    speeds = [1.0 * 0.99**n for n in range(100)]

    assert observe(SpeedEstimator(), *speeds) == pytest.approx(speeds[-1], rel=0.06)


def test_the_spread_is_that_of_the_results():
    noise = random.Random(1)
    estimator = SpeedEstimator()

    observe(estimator, *(math.exp(noise.gauss(0, 0.1)) for _ in range(200)))

    assert estimator.spread == pytest.approx(0.1, rel=0.5)
    assert estimator.speed == pytest.approx(1.0, rel=0.15)


def test_nothing_is_learned_from_results_that_took_no_time():
    estimator = SpeedEstimator()

    estimator.observe(predicted_s=1.0, observed_s=0.0)
    estimator.observe(predicted_s=0.0, observed_s=1.0)

    assert estimator.speed == 1.0


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=50))
def test_the_estimate_stays_within_what_was_seen_and_what_was_believed(speeds: list[float]):
    speed = observe(SpeedEstimator(), *speeds)

    assert min([*speeds, 1.0]) * 0.999 <= speed <= max([*speeds, 1.0]) * 1.001


@given(st.floats(0.02, 50.0), st.randoms(use_true_random=False))
def test_a_steady_speed_is_found_whatever_came_before(speed: float, chance: random.Random):
    before = [math.exp(chance.uniform(-3, 3)) for _ in range(10)]

    assert observe(SpeedEstimator(), *before, *[speed] * 30) == pytest.approx(speed, rel=0.05)
