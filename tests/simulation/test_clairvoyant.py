"""The limit that no strategy can beat."""

from __future__ import annotations

import msgspec
import pytest
from boards import ACCURACIES, THREE, asking, boards, scenario
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.planning.strategies import ONLINE, STRATEGIES
from equipoise.simulation import Outcome, simulate
from equipoise.simulation.clairvoyant import Limit, limits
from equipoise.simulation.events import Heats, Leaves, Load, Returns
from equipoise.simulation.pace import Heat, Pace, most_work_s
from equipoise.simulation.scenario import Scenario, Stragglers, Truth

EVERYBODY = [*(name for name, known in STRATEGIES.items() if not known.solver), *ONLINE]
ROUNDING = 1e-9


def the_limit(asked: Scenario, cluster=THREE, seed: int = 0) -> Limit:
    (limit,) = limits(cluster, asked, seed).requests
    return limit


def assert_not_beaten(outcome: Outcome, known: tuple[Limit, ...]) -> None:
    for asked, limit in zip(outcome.requests, known, strict=True):
        receipt = asked.receipt
        if receipt is None or receipt.unanswered:
            continue
        assert not receipt.met.both or limit.keepable
        if receipt.met.accuracy:
            assert limit.latency_s is not None
            assert receipt.latency_s >= limit.latency_s * (1 - ROUNDING)
        if receipt.met.performance:
            assert limit.accuracy is not None
            assert receipt.accuracy.expected <= limit.accuracy + ROUNDING


# --- by hand -----------------------------------------------------------------------------------------------------


def test_of_one_board_it_is_what_the_board_can_do():
    """Small items take 10 ms and medium ones 30: half of each is 20 ms per item, and in 3 s all are medium."""
    one = boards(a=0.01)

    limit = the_limit(scenario(requests=(asking(100, deadline_s=3.0, min_accuracy=0.65),)), one)

    assert limit.latency_s == pytest.approx(2.0)
    assert limit.of_deadline == pytest.approx(2 / 3)
    assert limit.accuracy == pytest.approx(0.7)
    assert limit.keepable


@pytest.mark.parametrize(
    ("events", "latency_s"),
    [
        ((Load(at_s=0.5, node="a", speed=0.5),), 1.5),
        ((Load(at_s=0.5, node="a", speed=0.5, for_s=0.5),), 1.25),
        ((Leaves(at_s=0.5, node="a"), Returns(at_s=2.0, node="a")), 2.5),
        ((Leaves(at_s=0.5, node="a", silent=True), Returns(at_s=1.0, node="a")), 1.0),  # it worked on, unheard
        ((Leaves(at_s=0.5, node="a", silent=True), Returns(at_s=4.0, node="a")), 4.5),  # for nothing
        ((Leaves(at_s=0.5, node="a"),), None),
    ],
)
def test_it_knows_what_will_happen(events, latency_s):
    asked = scenario(*events, requests=(asking(100, min_accuracy=0.6),))

    limit = the_limit(asked, boards(a=0.01))

    assert limit.latency_s == (None if latency_s is None else pytest.approx(latency_s))


def test_it_counts_from_when_the_request_comes():
    asked = scenario(Load(at_s=1.0, node="a", speed=0.5), requests=(asking(100, at_s=0.5, min_accuracy=0.6),))

    assert the_limit(asked, boards(a=0.01)).latency_s == pytest.approx(1.5)


def test_the_first_request_has_to_load_something_and_a_later_one_may_find_it_loaded():
    cluster = boards(a=0.01, load_s=0.5)

    both = scenario(requests=(asking(100, min_accuracy=0.6), asking(100, 9, min_accuracy=0.6)))
    first, later = limits(cluster, both).requests

    assert first.latency_s == pytest.approx(1.5)
    assert later.latency_s == pytest.approx(1.0)


def test_a_floor_that_no_variant_has_can_never_be_kept():
    limit = the_limit(scenario(requests=(asking(100, deadline_s=9.0, min_accuracy=0.81),)))

    assert (limit.latency_s, limit.of_deadline, limit.keepable) == (None, None, False)
    assert limit.accuracy == pytest.approx(0.8)


def test_what_cannot_be_answered_in_time_has_no_accuracy():
    limit = the_limit(scenario(requests=(asking(1000, deadline_s=0.1),)))

    assert (limit.accuracy, limit.keepable) == (None, False)
    assert limit.of_deadline > 1


def test_it_knows_true_speeds_and_they_are_those_of_the_run():
    """One board, one variant good enough: the run takes exactly as long as the limit says, whatever the seed."""
    asked = scenario(requests=(asking(100, min_accuracy=0.8),), speed_error=0.3, variant_error=0.2)
    one = boards(a=0.01)

    for seed in range(3):
        receipt = simulate(one, asked, "single", seed).requests[0].receipt
        assert receipt.latency_s == pytest.approx(the_limit(asked, one, seed).latency_s)


# --- heat --------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    speed=st.floats(0.05, 1.0),
    constant_s=st.floats(0.1, 10.0),
    seconds=st.floats(0.1, 20.0),
    parts=st.lists(st.tuples(st.floats(0.01, 1.0), st.booleans()), min_size=1, max_size=40),
)
def test_no_course_of_work_and_rest_does_more_than_the_most_work(speed, constant_s, seconds, parts):
    pace, done_s = Pace(heat=Heat(speed, constant_s)), 0.0
    whole = sum(length for length, _ in parts)
    for length, working in parts:
        part_s = seconds * length / whole
        done_s += pace.work_in(part_s) if working else 0.0
        pace.elapse(part_s, working=working)

    assert done_s <= most_work_s(1.0, Heat(speed, constant_s), seconds) * (1 + ROUNDING)


def test_pausing_in_time_does_more_than_working_through_and_comes_close_to_the_most():
    """At a fifth of the speed when hot: warm to h* = 0.625, stay there by short pauses, work through at the end."""
    heat, seconds, step_s = Heat(0.2, 1.0), 20.0, 0.001
    through_s = 0.98083  # T ln(2 L / (2 L - 1)) with L = 0.8
    pace, done_s = Pace(heat=heat), 0.0
    for step in range(int(seconds / step_s)):
        working = pace.warmth < 0.625 or step * step_s > seconds - through_s
        done_s += pace.work_in(step_s) if working else 0.0
        pace.elapse(step_s, working=working)

    assert done_s > Pace(heat=heat).work_in(seconds) * 1.3
    assert done_s == pytest.approx(most_work_s(1.0, heat, seconds), rel=1e-3)


# --- nothing beats it --------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c")
SPEEDS = st.floats(0.1, 1.5)
TIMES = st.floats(0.0, 3.0)
LASTING = st.none() | st.floats(0.05, 2.0)
LOADS = st.builds(Load, at_s=TIMES, node=st.sampled_from(NAMES), speed=SPEEDS, for_s=LASTING)
HEATS = st.builds(
    Heats,
    at_s=TIMES,
    node=st.sampled_from(NAMES),
    speed=st.floats(0.1, 1.0),
    time_constant_s=st.floats(0.05, 3.0),
    for_s=LASTING,
)
LEAVES = st.builds(Leaves, at_s=TIMES, fraction=st.just(0.3), for_s=st.floats(0.05, 4.0), silent=st.booleans())
TRUTHS = st.builds(
    Truth,
    speed_error=st.floats(0.0, 0.5),
    variant_error=st.floats(0.0, 0.3),
    stragglers=st.none() | st.builds(Stragglers, probability=st.floats(0.001, 0.1)),
)
REQUESTS = st.builds(
    lambda items, deadline_s, floor, at_s: asking(items, at_s, deadline_s=deadline_s, min_accuracy=floor),
    items=st.integers(1, 300),
    deadline_s=st.floats(0.05, 3.0),
    floor=st.floats(min(ACCURACIES.values()), max(ACCURACIES.values())),
    at_s=st.floats(0.0, 1.0),
)


@pytest.mark.parametrize("name", EVERYBODY)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_strategy_beats_the_limit(name: str, data: st.DataObject):
    events = sorted(data.draw(st.lists(LOADS | HEATS | LEAVES, max_size=4)), key=lambda event: event.at_s)
    drawn = sorted(data.draw(st.lists(REQUESTS, min_size=1, max_size=2)), key=lambda asked: asked.at_s)
    requests = tuple(msgspec.structs.replace(one, best_effort=True) for one in drawn)
    asked = Scenario(requests=requests, events=tuple(events), truth=data.draw(TRUTHS))
    cluster = boards(load_s=data.draw(st.sampled_from([0.0, 0.1])), a=0.002, b=0.004, c=0.008)
    seed = data.draw(st.integers(0, 99))

    assert_not_beaten(simulate(cluster, asked, name, seed), limits(cluster, asked, seed).requests)
