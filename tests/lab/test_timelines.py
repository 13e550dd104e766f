"""Who ran what when a board slows down and another is unplugged."""

from __future__ import annotations

import pytest

from equipoise.lab.drift import ITEMS, uncertain_boards
from equipoise.lab.timelines import SHOWN, UNPLUGGED, TimeLine, time_line
from equipoise.simulation.records import PlanRecord, TaskRecord


@pytest.fixture(scope="module", params=SHOWN)
def line(request: pytest.FixtureRequest) -> TimeLine:
    return time_line(uncertain_boards(), request.param)


def test_nothing_runs_on_the_board_that_was_unplugged(line: TimeLine):
    tasks = [record for record in line.records if isinstance(record, TaskRecord) and record.node == UNPLUGGED]

    assert max(task.ended_s for task in tasks) <= line.unplugged_s
    assert any(task.ending == "lost" for task in tasks)


def test_every_item_is_answered_and_the_time_line_ends_with_the_last_one(line: TimeLine):
    tasks = [r for r in line.records if isinstance(r, TaskRecord) and r.ending == "answered"]

    assert line.items == ITEMS <= sum(task.items for task in tasks)
    assert line.latency_s == pytest.approx(max(task.ended_s for task in tasks))


def test_all_meet_the_same_events(line: TimeLine):
    ours = time_line(uncertain_boards(), SHOWN[0])

    assert (line.deadline_s, line.slowed_s, line.unplugged_s) == (ours.deadline_s, ours.slowed_s, ours.unplugged_s)
    assert [record.first for record in line.records if isinstance(record, PlanRecord)].count(True) == 1


def test_it_repeats_to_the_last_bit(line: TimeLine):
    assert time_line(uncertain_boards(), line.strategy) == line
