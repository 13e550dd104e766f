"""What the dispatcher of streams is made of: fractions, quantiles, rates, and the choice of where an item goes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_stream_any_order import plan_with
from world import cluster_of

from equipoise.core.request import WhenLate
from equipoise.core.stream import StreamRequest
from equipoise.dispatch.commands import SendTask
from equipoise.dispatch.events import NodeLost, NodeReturned, TaskDone, TaskFailed, Tick
from equipoise.dispatch.stream.arrivals import ArrivalRate
from equipoise.dispatch.stream.dispatcher import StreamDispatcher
from equipoise.dispatch.stream.events import AskForStreamPlan, ItemArrived, ShedItems, StreamCommand
from equipoise.dispatch.stream.fractions import Fractions
from equipoise.dispatch.stream.settings import StreamSettings
from equipoise.dispatch.stream.sketch import RELATIVE_ERROR, Sketch

BOARDS = cluster_of(fast=0.05, slow=0.1, third=0.07, batch=2)
ALL_TO_FAST = plan_with((1.0, 0.0, 0.0))  # with the small variant: 75 ms an item, 100 ms for two


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12))
def test_after_every_item_each_route_has_had_its_fraction_to_within_one(weights: list[int]):
    fractions, total = Fractions(dict(enumerate(weights))), sum(weights)
    had = [0] * len(weights)

    for dealt in range(1, 400):
        turn = fractions.turn()
        fractions.take(turn)
        had[turn] += 1
        assert all(abs(n - dealt * weight / total) < 1 for n, weight in zip(had, weights, strict=True))


def test_a_route_that_was_passed_over_catches_up():
    fractions = Fractions({"a": 1.0, "b": 1.0})

    for _ in range(10):
        fractions.take("a")

    turns = []
    for _ in range(10):
        turns.append(fractions.turn())
        fractions.take(turns[-1])
    assert turns.count("b") == 10


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": 1.0, "b": -1.0}])
def test_fractions_that_are_none_are_refused(weights: dict[str, float]):
    with pytest.raises(ValueError, match="weights must be"):
        Fractions(weights)


@given(st.lists(st.floats(1e-5, 1e4), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_right_to_half_a_per_cent(times_s: list[float], fraction: float):
    sketch = Sketch()
    for seconds in times_s:
        sketch.add(seconds)

    exact = sorted(times_s)[math.ceil(fraction * len(times_s)) - 1]

    assert sketch.quantile(fraction) == pytest.approx(exact, rel=RELATIVE_ERROR * 1.0001)


def test_of_nothing_there_is_no_quantile():
    assert Sketch().quantile(0.5) is None


def test_the_rate_of_late_follows_the_arrivals():
    rate = ArrivalRate(10.0, items=100)
    assert rate.per_s(0.0) == 10.0

    for number in range(2000):
        rate.arrived(number / 20)

    assert rate.per_s(100.0) == pytest.approx(20.0, rel=0.02)
    assert rate.per_s(200.0) < 0.01


# --- the machine -----------------------------------------------------------------------------------------------------


def machine(late: WhenLate = WhenLate.STOP, **more: float) -> StreamDispatcher:
    asked = {"arrivals_per_s": 10.0, "item_latency_s": 0.5, "min_accuracy": 0.6} | more
    dispatcher = StreamDispatcher(StreamRequest(**asked, when_late=late), BOARDS)  # type: ignore[arg-type]
    dispatcher.start(0.0, ALL_TO_FAST)
    return dispatcher


def arrive(dispatcher: StreamDispatcher, *items: int, now_s: float = 0.0) -> list[StreamCommand]:
    return [command for item in items for command in dispatcher.handle(ItemArrived(now_s=now_s, item=item))]


def sent(commands: list[StreamCommand]) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(c.pid.node, c.variant, c.items) for c in commands if isinstance(c, SendTask)]


def shed(commands: list[StreamCommand]) -> list[int]:
    return [item for c in commands if isinstance(c, ShedItems) for item in c.items]


def test_an_item_is_sent_at_once_where_it_is_its_turn():
    assert sent(arrive(machine(), 1)) == [("fast", "small", (1,))]


def test_items_that_wait_are_inferred_together_where_that_is_quicker():
    dispatcher = machine()

    assert sent(arrive(dispatcher, 1, 2, 3, 4)) == [("fast", "small", (1,)), ("fast", "small", (2,))]
    assert sent(dispatcher.handle(TaskDone(now_s=0.075, task=0, busy_s=0.075))) == [("fast", "small", (3, 4))]


def test_what_would_be_late_goes_elsewhere_and_what_is_late_everywhere_is_shed():
    dispatcher = machine()

    commands = arrive(dispatcher, *range(40))

    assert {node for node, _, _ in sent(commands)} == {"fast", "slow", "third"}
    assert shed(commands)
    assert dispatcher.tally.shed == {"it could not be answered as required": len(shed(commands))}


def test_who_keeps_the_floor_sheds_nothing():
    dispatcher = machine(WhenLate.KEEP_FLOOR)

    assert not shed(arrive(dispatcher, *range(40)))
    assert dispatcher.unsettled_items == 40


def test_below_the_floor_only_who_keeps_the_deadline_goes():
    few = {"item_latency_s": 0.12, "min_accuracy": 0.7}  # in time nobody has but the small variant, of 0.6

    assert shed(arrive(machine(WhenLate.STOP, **few), 1, 2, 3))
    assert sent(arrive(machine(WhenLate.KEEP_DEADLINE, **few), 1))


def test_what_a_lost_node_had_goes_elsewhere_and_the_rest_of_the_stream_is_planned_anew():
    dispatcher = machine()
    arrive(dispatcher, 1, 2, 3)

    commands = dispatcher.handle(NodeLost(now_s=0.01, node="fast", reason="gone"))

    assert sorted(item for node, _, items in sent(commands) for item in items) == [1, 2, 3]
    assert {node for node, _, _ in sent(commands)} <= {"slow", "third"}
    assert any(isinstance(command, AskForStreamPlan) for command in commands)


def test_items_wait_for_a_node_that_may_return_as_long_as_they_are_of_use():
    dispatcher = machine()
    for node in ("fast", "slow", "third"):
        dispatcher.handle(NodeLost(now_s=0.0, node=node, reason="gone"))
    arrive(dispatcher, 1)
    arrive(dispatcher, 2, now_s=0.4)

    assert shed(dispatcher.handle(Tick(now_s=0.5))) == [1]
    assert sent(dispatcher.handle(NodeReturned(now_s=0.6, node="fast"))) == [("fast", "small", (2,))]


def test_an_item_that_fails_wherever_it_is_sent_is_shed_with_the_reason():
    dispatcher = machine(item_latency_s=10.0)
    commands = arrive(dispatcher, 1)

    for task in range(StreamSettings().max_failures):
        assert len(sent(commands)) == 1
        commands = dispatcher.handle(TaskFailed(now_s=0.1 * (task + 1), task=task, reason="out of memory"))

    assert shed(commands) == [1]
    assert "failed 3 times, at last because out of memory" in next(iter(dispatcher.tally.shed))


def test_a_surge_has_the_stream_planned_for_more():
    dispatcher = machine(WhenLate.KEEP_FLOOR)

    commands = [c for number in range(300) for c in arrive(dispatcher, number, now_s=number / 30)]

    asked = [command.request.arrivals_per_s for command in commands if isinstance(command, AskForStreamPlan)]
    assert asked
    assert 10.0 < asked[0] < 33.0


def test_beyond_what_can_wait_items_are_shed_whatever_the_policy():
    request = StreamRequest(arrivals_per_s=10.0, item_latency_s=0.5, when_late=WhenLate.KEEP_FLOOR)
    dispatcher = StreamDispatcher(request, BOARDS, settings=StreamSettings(max_unsettled_items=20))
    dispatcher.start(0.0, ALL_TO_FAST)

    assert shed(arrive(dispatcher, *range(30))) == list(range(20, 30))


def test_an_item_cannot_arrive_twice():
    dispatcher = machine()
    arrive(dispatcher, 1)

    with pytest.raises(ValueError, match="item 1 has arrived already"):
        arrive(dispatcher, 1)


def test_an_item_that_was_answered_late_is_not_done_once_more_when_its_second_task_fails():
    dispatcher = machine(WhenLate.KEEP_FLOOR)
    arrive(dispatcher, 1)
    again = dispatcher.handle(Tick(now_s=10.0))  # nobody believes any more that it comes
    assert [items for _, _, items in sent(again)] == [(1,)]

    dispatcher.handle(TaskDone(now_s=10.1, task=0, busy_s=10.0))
    commands = dispatcher.handle(TaskFailed(now_s=10.2, task=1, reason="out of memory"))

    assert not sent(commands)
    assert not shed(commands)
    assert (dispatcher.tally.answered, dispatcher.unsettled_items) == (1, 0)
