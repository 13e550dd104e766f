"""What a gain is."""

from __future__ import annotations

import numpy as np
import pytest

from equipoise.lab.gains import accuracy_gain, best_of, statistics, throughput_gain

NONE = np.nan


def test_a_throughput_gain_is_a_fraction_of_the_others_rate():
    ours, theirs = np.array([30.0, 10.0]), np.array([20.0, 10.0])

    assert throughput_gain(ours, theirs).tolist() == [0.5, 0.0]


def test_an_accuracy_gain_is_a_difference():
    assert accuracy_gain(np.array([0.75]), np.array([0.7])).tolist() == pytest.approx([0.05])


def test_statistics_count_only_levels_at_which_both_have_a_plan():
    ours, theirs = np.array([30.0, 20.0, 10.0, NONE]), np.array([20.0, 20.0, NONE, NONE])

    gain = statistics(ours, theirs, throughput_gain(ours, theirs))

    assert (gain.levels, gain.mean, gain.median, gain.worst, gain.best) == (2, 0.25, 0.25, 0.0, 0.5)
    assert gain.lacking == pytest.approx(1 / 3)


def test_where_the_other_never_has_a_plan_there_is_no_gain_to_speak_of():
    ours, theirs = np.array([30.0]), np.array([NONE])

    gain = statistics(ours, theirs, throughput_gain(ours, theirs))

    assert (gain.levels, gain.mean, gain.lacking) == (0, None, 1.0)


def test_the_best_of_others_is_chosen_level_by_level_among_those_that_have_a_plan():
    best = best_of({"a": np.array([1.0, NONE, 3.0]), "b": np.array([2.0, 5.0, NONE])})

    assert best.tolist() == [2.0, 5.0, 3.0]
