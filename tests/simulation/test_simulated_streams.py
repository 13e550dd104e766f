"""Streams in virtual time, through the real planner and the dispatcher of streams."""

from __future__ import annotations

from itertools import islice, pairwise
from random import Random

import msgspec
import pytest
from boards import THREE, asking, boards
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.request import WhenLate
from equipoise.core.stream import StreamRequest
from equipoise.errors import UsageError
from equipoise.planning.stream_baselines import STREAM_BASELINES
from equipoise.planning.streams import plan_stream
from equipoise.policies.registry import STREAM_MAKERS
from equipoise.simulation import (
    Bursty,
    Diurnal,
    Heats,
    Leaves,
    Load,
    Poisson,
    Recorded,
    Scenario,
    Stragglers,
    Stream,
    StreamOutcome,
    Truth,
    simulate,
)
from equipoise.simulation.clairvoyant import limits
from equipoise.simulation.events import NodeEvent
from equipoise.simulation.records import NodeRecord, Record, StreamPlanRecord, TaskRecord

NOISY = boards(stddev=0.1, load_s=0.05, a=0.02, b=0.04, c=0.08)
MOST_PER_S = plan_stream(
    StreamRequest(arrivals_per_s=1e-3, item_latency_s=0.5, min_accuracy=0.65), NOISY
).max_rate_per_s


def stream(**more: object) -> Stream:
    asked = {"arrivals_per_s": 0.7 * MOST_PER_S, "item_latency_s": 0.5, "min_accuracy": 0.65, "for_s": 30.0} | more
    return Stream(**asked)  # type: ignore[arg-type]


def outcome_of(asked: Stream, *events: NodeEvent, seed: int = 0, **truth: float) -> StreamOutcome:
    run = Scenario(streams=(asked,), events=events, truth=Truth(**truth))  # type: ignore[arg-type]
    return simulate(NOISY, run, seed=seed).streams[0]


def share(found: StreamOutcome) -> float:
    return found.in_time / found.arrived


# --- arrivals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arrivals", [Poisson(), Bursty(peak=3, burst_s=1, calm_s=3), Bursty(peak=2, burst_s=1, calm_s=1),
                 Diurnal(swing=0.8, period_s=10)]
)  # fmt: skip
def test_items_arrive_in_order_at_the_mean_rate(arrivals: Poisson | Bursty | Diurnal):
    times = list(islice(arrivals.times_s(20.0, Random(1)), 40_000))

    assert times == sorted(times)
    assert len(times) / times[-1] == pytest.approx(20.0, rel=0.03)


def test_bursts_and_days_are_where_they_are_said_to_be():
    burst = list(islice(Bursty(peak=4, burst_s=1, calm_s=3).times_s(20.0, Random(1)), 20_000))
    assert sum(b - a > 0.2 for a, b in pairwise(burst)) > 100, "nothing comes between full bursts"

    day = [t % 10 < 5 for t in islice(Diurnal(swing=1.0, period_s=10).times_s(20.0, Random(1)), 20_000)]
    assert sum(day) / len(day) == pytest.approx(0.5 + 1 / 3.14159, abs=0.01)


def test_recorded_items_arrive_when_they_did_as_long_as_the_stream_lasts():
    records: list[Record] = []
    asked = stream(arrivals=Recorded(times=(0.25, 1.0, 1.0, 40.0)), at_s=2.0, arrivals_per_s=1.0)

    found = simulate(NOISY, Scenario(streams=(asked,)), record=records.append)

    assert (found.streams[0].arrived, found.ended_s) == (3, 32.0)
    assert sorted(r.sent_s for r in records if isinstance(r, TaskRecord)) == [2.25, 3.0, 3.0]


# --- promises --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_promised_is_kept(load: float, seed: int):
    found = outcome_of(stream(arrivals_per_s=load * MOST_PER_S, for_s=60.0), seed=seed)

    assert found.plan is not None and found.plan.feasible
    assert found.kept
    assert found.accuracy == pytest.approx(found.plan.accuracy, abs=0.01)


def test_a_stream_that_cannot_be_promised_is_declined_unless_the_best_will_do():
    too_much = stream(arrivals_per_s=1.5 * MOST_PER_S, for_s=10.0)

    declined = outcome_of(too_much)
    assert (declined.admitted, declined.arrived, declined.kept) == (False, 0, False)

    best = outcome_of(msgspec.structs.replace(too_much, best_effort=True))
    assert best.arrived > 0
    assert share(best) > 0.6


def test_a_stream_survives_boards_that_slow_down_leave_and_return():
    asked = stream(arrivals_per_s=0.4 * MOST_PER_S)

    found = outcome_of(asked, Load(at_s=5, node="a", speed=0.6, for_s=5), Leaves(at_s=15, node="b", for_s=5))

    assert found.kept
    assert found.replanned >= 3
    assert share(found) > 0.98


def test_when_it_is_late_the_policy_decides_what_gives():
    asked = stream(arrivals_per_s=2 * MOST_PER_S, min_accuracy=0.72, for_s=10.0, best_effort=True)

    found = {late: outcome_of(msgspec.structs.replace(asked, when_late=late)) for late in WhenLate}

    assert found[WhenLate.STOP].shed
    assert found[WhenLate.STOP].met_floor
    assert not found[WhenLate.KEEP_FLOOR].shed
    assert found[WhenLate.KEEP_FLOOR].met_floor
    assert share(found[WhenLate.KEEP_DEADLINE]) > share(found[WhenLate.STOP])
    assert not found[WhenLate.KEEP_DEADLINE].met_floor


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    asked, event = stream(for_s=5.0, arrivals=Bursty(peak=2, burst_s=1, calm_s=1)), Leaves(at_s=2, fraction=0.4)

    assert outcome_of(asked, event, seed=3) == outcome_of(asked, event, seed=3)
    assert outcome_of(asked, event, seed=3) != outcome_of(asked, event, seed=4)


def test_without_any_node_a_stream_ends_all_the_same_with_every_item_named():
    found = outcome_of(stream(for_s=10.0), Leaves(at_s=5, fraction=1.0))

    assert found.shed["no processor is left"] > 0
    assert found.answered + sum(found.shed.values()) == found.arrived


def test_streams_and_batches_share_the_boards():
    both = Scenario(requests=(asking(500),), streams=(stream(arrivals_per_s=0.3 * MOST_PER_S),))

    found = simulate(NOISY, both)

    assert found.requests[0].receipt is not None
    assert found.requests[0].receipt.outcome == "answered"
    assert found.streams[0].answered + sum(found.streams[0].shed.values()) == found.streams[0].arrived


# --- other strategies ------------------------------------------------------------------------------------------------

PLANNED, ONLINE = [*STREAM_BASELINES], [*STREAM_MAKERS]
EVERYBODY = list(dict.fromkeys(["equipoise", *PLANNED, *ONLINE]))


def under(strategy: str, asked: Stream, *events: NodeEvent, seed: int = 0) -> StreamOutcome:
    return simulate(NOISY, Scenario(streams=(asked,), events=events), strategy, seed).streams[0]


@pytest.mark.parametrize("strategy", EVERYBODY)
def test_every_strategy_answers_or_names_every_item_though_a_board_leaves_and_another_slows_down(strategy: str):
    asked = stream(arrivals_per_s=0.3 * MOST_PER_S, min_accuracy=0.6, for_s=20.0, best_effort=True)
    events = (Load(at_s=4, node="b", speed=0.5), Leaves(at_s=8, node="c", for_s=5))

    found = under(strategy, asked, *events)

    assert found.admitted
    assert found.arrived == found.answered + sum(found.shed.values()) > 0
    assert found == under(strategy, asked, *events), "the same seed gives the same run"


@pytest.mark.parametrize("strategy", [name for name in PLANNED if name not in ONLINE])
def test_what_the_literature_s_plans_promise_is_kept(strategy: str):
    asked = stream(arrivals_per_s=0.2 * MOST_PER_S, item_latency_s=2.0, min_accuracy=0.6, for_s=60.0)

    found = under(strategy, asked)

    assert found.plan is not None
    assert found.admitted == found.plan.feasible
    assert not found.admitted or found.kept


def test_the_literature_answers_late_what_ours_sheds_or_sends_elsewhere():
    asked = stream(arrivals_per_s=0.5 * MOST_PER_S, min_accuracy=0.6)
    slows = Load(at_s=3, node="a", speed=0.2)

    ours, theirs = under("equipoise", asked, slows), under("proportional-variant", asked, slows)

    assert (theirs.shed, theirs.diverted, theirs.replanned) == ({}, 0, 0)
    assert ours.diverted > 0
    assert share(ours) > share(theirs)


def test_work_stealing_leaves_nobody_idle_while_items_wait():
    records: list[Record] = []
    run = Scenario(streams=(stream(arrivals=Recorded(times=(0.0,) * 9), arrivals_per_s=1.0, min_accuracy=0.6),))

    simulate(NOISY, run, "work-stealing", record=records.append)

    tasks = _tasks(records)
    assert {task.node for task in tasks if task.sent_s == 0.0} == {"a", "b", "c"}
    assert all(task.sent_s == 0.0 or task.sent_s in {other.ended_s for other in tasks} for task in tasks)


def test_model_switching_takes_a_quicker_variant_for_more_load():
    calm = stream(arrivals_per_s=0.2 * MOST_PER_S, min_accuracy=0.0)
    busy = msgspec.structs.replace(calm, arrivals_per_s=1.2 * MOST_PER_S)

    accuracies = [under("model-switching", asked).accuracy for asked in (calm, busy)]

    assert accuracies[0] is not None
    assert accuracies[1] is not None
    assert accuracies[0] > accuracies[1] + 0.05


def test_a_strategy_that_takes_no_streams_says_so():
    with pytest.raises(UsageError, match="milp takes requests but no streams; streams are taken by equipoise, single"):
        simulate(THREE, Scenario(streams=(stream(),)), "milp")


# --- the limit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", EVERYBODY)
@pytest.mark.parametrize("seed", [0, 1])
def test_nobody_beats_the_limit(strategy: str, seed: int):
    exact = boards(a=0.02, b=0.04, c=0.08)
    asked = stream(arrivals_per_s=(0.3, 0.8)[seed] * MOST_PER_S, item_latency_s=1.0, min_accuracy=0.6, for_s=20.0)
    run = Scenario(streams=(asked,), events=(Leaves(at_s=5, fraction=0.3), Load(at_s=8, node="a", speed=0.7)))

    found, (limit,) = simulate(exact, run, strategy, seed).streams[0], limits(exact, run, seed).streams

    assert limit.keepable >= found.kept
    if found.met_latency and found.accuracy is not None:
        assert limit.accuracy is not None
        assert found.accuracy <= limit.accuracy + 1e-9


def test_the_limit_of_a_stream_by_hand():
    """One board needs 0.03 s for medium items and 0.06 s for large ones; 20 come a second."""
    asked = stream(arrivals=Recorded(times=tuple(n / 20 for n in range(200))), for_s=10.0, item_latency_s=0.4)
    run = Scenario(streams=(asked,))

    (limit,) = limits(boards(a=0.01), run).streams

    # 190 items in 10.4 s: x of them large, the rest medium: 0.03 x 190 + 0.03 x = 10.4; ten may be late, and large.
    large = (10.4 - 5.7) / 0.03
    assert limit.accuracy == pytest.approx((large * 0.8 + (190 - large) * 0.7 + 10 * 0.8) / 200)
    assert limit.keepable


# --- whatever happens ------------------------------------------------------------------------------------------------

_NODES = st.sampled_from(["a", "b", "c"])
_TIMES = st.floats(0.0, 6.0)
_EVENTS = st.lists(
    st.one_of(
        st.builds(Leaves, at_s=_TIMES, fraction=st.floats(0.1, 1.0), for_s=st.floats(0.1, 5.0), silent=st.booleans()),
        st.builds(Load, at_s=_TIMES, node=_NODES, speed=st.floats(0.02, 2.0), for_s=st.floats(0.1, 5.0)),
        st.builds(Heats, at_s=_TIMES, node=_NODES, speed=st.floats(0.2, 1.0), time_constant_s=st.floats(0.5, 5.0)),
    ),
    max_size=4,
)
_ARRIVALS = st.sampled_from([Poisson(), Bursty(peak=3, burst_s=1, calm_s=3), Diurnal(swing=0.9, period_s=4)])


@settings(max_examples=6, deadline=None)  # each plans some ten times, 0.2 s each
@given(_EVENTS, _ARRIVALS, st.sampled_from(WhenLate), st.floats(0.2, 1.5), st.integers(0, 9))
def test_every_item_is_answered_once_or_named_as_shed_and_nothing_is_sent_to_a_lost_node(
    events: list[NodeEvent], arrivals: Poisson | Bursty | Diurnal, late: WhenLate, load: float, seed: int
):
    asked = stream(arrivals=arrivals, when_late=late, arrivals_per_s=load * MOST_PER_S, for_s=6.0, best_effort=True)
    truth = Truth(speed_error=0.2, stragglers=Stragglers(probability=0.01))
    run = Scenario(streams=(asked,), events=tuple(sorted(events, key=lambda event: event.at_s)), truth=truth)
    records: list[Record] = []

    found = simulate(NOISY, run, seed=seed, record=records.append)

    one = found.streams[0]
    assert one.arrived == one.answered + sum(one.shed.values())
    assert one.in_time <= one.answered
    for record in _tasks(records):
        assert not _is_lost(records, record.node, record.sent_s)


def _tasks(records: list[Record]) -> list[TaskRecord]:
    return [record for record in records if isinstance(record, TaskRecord)]


def _is_lost(records: list[Record], node: str, at_s: float) -> bool:
    """True if the node had been noticed to be lost before this moment, and had not returned until then."""
    changes = [r for r in records if isinstance(r, NodeRecord) and r.node == node and r.change != "left"]
    before = [r.change for r in changes if r.at_s < at_s or (r.change == "returned" and r.at_s == at_s)]
    return bool(before) and before[-1] == "lost"


def test_the_time_line_has_every_plan():
    records: list[Record] = []
    run = Scenario(streams=(stream(for_s=5.0),), events=(Leaves(at_s=1, node="c"),))

    simulate(NOISY, run, record=records.append)

    plans = [record for record in records if isinstance(record, StreamPlanRecord)]
    assert [plan.first for plan in plans[:2]] == [True, False]
    assert "c" not in {node for node, _, _, _ in plans[-1].routes}
