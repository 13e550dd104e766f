"""How fast a processor is when it heats up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.simulation.pace import Heat, Pace

PACES = st.builds(
    Pace,
    steady=st.floats(0.05, 4.0),
    heat=st.none() | st.builds(Heat, speed=st.floats(0.05, 1.0), time_constant_s=st.floats(0.01, 1000.0)),
    warmth=st.floats(0.0, 1.0),
)


@given(pace=PACES, work_s=st.floats(1e-6, 1e4))
def test_the_time_for_some_work_is_the_time_in_which_it_gets_done(pace: Pace, work_s: float):
    assert pace.work_in(pace.seconds_for(work_s)) == pytest.approx(work_s, rel=1e-9)


@given(pace=PACES, first_s=st.floats(0.0, 100.0), second_s=st.floats(0.0, 100.0))
def test_it_makes_no_difference_when_one_looks(pace: Pace, first_s: float, second_s: float):
    at_once = pace.work_in(first_s + second_s)

    done = pace.work_in(first_s)
    pace.elapse(first_s, working=True)

    assert done + pace.work_in(second_s) == pytest.approx(at_once, rel=1e-9, abs=1e-9)


def test_lasting_work_slows_it_down_to_the_hot_speed_and_rest_lets_it_recover():
    pace = Pace(steady=0.8, heat=Heat(speed=0.5, time_constant_s=10.0))

    pace.elapse(10.0, working=True)
    assert pace.speed == pytest.approx(0.8 * (1 - 0.5 * (1 - math.exp(-1))))

    pace.elapse(1000.0, working=True)
    assert pace.speed == pytest.approx(0.4)

    pace.elapse(1000.0, working=False)
    assert pace.speed == pytest.approx(0.8)
