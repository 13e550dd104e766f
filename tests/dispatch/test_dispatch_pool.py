from __future__ import annotations

import pytest
from invariants import check_pool

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.pool import Pool

PI, NANO = ProcessorId("pi", "cpu"), ProcessorId("nano", "gpu")


def pool_of(items: int) -> Pool:
    return Pool(range(items))


def test_items_are_taken_in_the_given_order():
    pool = Pool([2, 0, 1])

    assert pool.take(2) == (2, 0)
    assert pool.take(2) == (1,)
    assert pool.take(2) == ()


@pytest.mark.parametrize("order", [[0, 0], [0, 2], [1, 2]])
def test_an_order_that_misses_an_item_is_refused(order: list[int]):
    with pytest.raises(ValueError, match="every item from 0 to 1"):
        Pool(order)


def test_released_items_are_taken_again_before_all_others():
    pool = pool_of(6)
    task = pool.take(2)
    pool.take(2)

    assert pool.release(task) == (0, 1)
    assert pool.take(3) == (0, 1, 4)
    assert pool.resent_items == 2


def test_an_item_is_answered_only_once():
    pool = pool_of(2)
    task = pool.take(2)

    assert pool.answer(task) == (0, 1)
    assert pool.answer(task) == ()


def test_a_late_answer_settles_an_item_that_is_open_again():
    pool = pool_of(2)
    task = pool.take(1)
    pool.release(task)

    assert pool.answer(task) == (0,)
    assert pool.take(2) == (1,)


def test_an_item_held_by_two_tasks_is_open_again_only_when_both_let_go():
    pool = pool_of(1)
    first = pool.take(1)
    second = pool.share(first)

    assert pool.release(first) == ()
    assert pool.release(second) == (0,)


def test_what_failed_together_is_tried_again_in_halves():
    pool = pool_of(5)

    pool.retry(pool.take(4), PI, attempts=3, processors=1)

    assert pool.take(5) == (0, 1)
    assert pool.take(5) == (2, 3)
    assert pool.take(5) == (4,)


def test_an_item_that_keeps_failing_alone_is_given_up():
    pool = pool_of(1)
    for _ in range(3):
        assert not pool.settled
        pool.retry(pool.take(1), PI, attempts=3, processors=1)

    assert pool.settled
    assert pool.given_up_items == 1
    assert pool.unanswered() == (0,)


def test_failures_on_one_processor_of_several_count_half():
    pool = pool_of(1)
    for _ in range(5):
        pool.retry(pool.take(1), PI, attempts=3, processors=2)

    assert not pool.settled
    pool.retry(pool.take(1), NANO, attempts=3, processors=2)
    assert pool.settled


def test_nothing_is_lost_through_all_of_it():
    pool = pool_of(20)
    first, second = pool.take(8), pool.take(4)
    third = pool.share(second)
    check_pool(pool, [first, second, third])

    pool.retry(first, PI, attempts=3, processors=1)
    pool.answer(third[:2])
    pool.release(third)
    check_pool(pool, [second])

    pool.release(second)
    check_pool(pool, [])
    assert (pool.open_items, pool.in_flight_items, pool.answered_items) == (18, 0, 2)
