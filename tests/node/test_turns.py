"""Whose turn it is when several coordinators share a processor."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from equipoise.node.turns import Turns

Arrival = tuple[str, float, float]  # request, seconds after the arrival before, seconds until due

ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.floats(0, 20), st.one_of(st.floats(-5, 100), st.just(math.inf))
    ),
    min_size=1,
    max_size=40,
)  # fmt: skip


def served(arrivals: list[Arrival], *, patience_s: float = 10.0, taken_after_each: int = 0) -> list[int]:
    """The numbers of the arrivals in the order in which they have their turns."""
    turns: Turns[int] = Turns(patience_s)
    now_s, order = 0.0, []
    for number, (request, later_s, due_in_s) in enumerate(arrivals):
        now_s += later_s
        turns.add(request, number, arrived_s=now_s, due_s=now_s + due_in_s)
        order += [turns.take() for _ in range(taken_after_each) if len(turns)]
    while len(turns):
        order.append(turns.take())
    return order


def test_of_two_coordinators_the_one_whose_deadline_is_first_goes_first() -> None:
    assert served([("a", 0, 8.0), ("b", 0, 2.0)]) == [1, 0]


def test_a_task_without_a_deadline_waits_for_those_that_have_one_but_not_for_ever() -> None:
    urgent = [("b", 1.0, 0.5)] * 30

    order = served([("a", 0, math.inf), *urgent], patience_s=10.0)

    assert order.index(0) == 9  # the nine that were due within its ten seconds went before it


def test_what_is_overdue_does_not_push_out_what_came_before_it() -> None:
    assert served([("a", 0, 1.0), ("b", 3.0, -100.0)]) == [0, 1]


@given(ARRIVALS, st.integers(0, 2))
def test_every_task_has_exactly_one_turn(arrivals: list[Arrival], taken_after_each: int) -> None:
    assert sorted(served(arrivals, taken_after_each=taken_after_each)) == list(range(len(arrivals)))


@given(ARRIVALS, st.integers(0, 2))
def test_tasks_of_one_request_keep_their_order(arrivals: list[Arrival], taken_after_each: int) -> None:
    order = served(arrivals, taken_after_each=taken_after_each)

    for request in "abc":
        own = [number for number in order if arrivals[number][0] == request]
        assert own == sorted(own)


@given(ARRIVALS)
def test_nobody_is_overtaken_by_what_comes_after_his_patience_is_over(arrivals: list[Arrival]) -> None:
    """First tasks of a request are compared: those behind them wait for their own request besides."""
    came_s = [sum(later_s for _, later_s, _ in arrivals[: number + 1]) for number in range(len(arrivals))]
    first = {
        request: min(n for n, arrival in enumerate(arrivals) if arrival[0] == request)
        for request in {arrival[0] for arrival in arrivals}
    }
    order = served(arrivals, patience_s=10.0)

    for number in first.values():
        overtaking = order[: order.index(number)]
        assert all(came_s[other] <= came_s[number] + 10.0 + 1e-9 for other in overtaking)


def test_the_tasks_that_wait_are_listed_by_their_turns() -> None:
    turns: Turns[str] = Turns()
    turns.add("a", "late", arrived_s=0.0, due_s=9.0)
    turns.add("b", "soon", arrived_s=0.0, due_s=1.0)

    assert list(turns) == ["soon", "late"]
    assert turns.next() == "soon"
    assert len(turns) == 2
