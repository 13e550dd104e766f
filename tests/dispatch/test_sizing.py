from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from equipoise.dispatch.settings import Settings
from equipoise.dispatch.sizing import task_items

SETTINGS = Settings(tasks_per_share=16, min_task_s=0.03, max_task_s=0.5, max_task_bytes=1_000_000)


def sizes_of(items: int, batch: int, item_s: float, **more: int) -> list[int]:
    """All tasks of a share, first to last."""
    sizes = []
    while items:
        sizes.append(task_items(items, batch, item_s, SETTINGS, **more))
        items -= sizes[-1]
    return sizes


def test_tasks_shrink_towards_the_end_of_a_share():
    sizes = sizes_of(1600, batch=1, item_s=0.001)

    assert sizes[0] == 100
    assert sizes == sorted(sizes, reverse=True)


def test_a_task_is_worth_its_overhead_even_if_the_share_is_short():
    assert task_items(100, 1, 0.001, SETTINGS) == 30


def test_a_task_is_never_longer_than_what_may_be_lost():
    assert task_items(1_000_000, 1, 0.001, SETTINGS) == 500


def test_a_task_is_never_larger_than_what_may_be_lost():
    assert task_items(1_000_000, 1, 0.0001, SETTINGS, item_bytes=10_000) == 100


def test_tasks_are_smaller_where_several_processors_draw_on_a_share():
    assert task_items(1600, 1, 0.001, SETTINGS, sharers=2) == 50


def test_a_task_is_no_larger_than_what_arrives_before_the_processor_is_idle_unless_it_is_too_short():
    assert task_items(1600, 1, 0.001, SETTINGS, timely_items=50) == 50
    assert task_items(1600, 1, 0.001, SETTINGS, timely_items=5) == 30


def test_a_remnant_too_short_for_a_task_of_its_own_joins_the_last_one():
    assert sizes_of(35, batch=1, item_s=0.001) == [35]


def test_one_slow_item_is_a_task():
    assert sizes_of(3, batch=1, item_s=10.0) == [1, 1, 1]


@given(st.integers(1, 5000), st.sampled_from([1, 2, 4, 8, 32]), st.floats(1e-5, 2.0), st.integers(0, 200_000))
def test_a_share_is_cut_into_whole_batches_and_nothing_else(items: int, batch: int, item_s: float, item_bytes: int):
    sizes = sizes_of(items, batch, item_s, item_bytes=item_bytes)

    assert sum(sizes) == items
    assert all(size % batch == 0 for size in sizes[:-1])
