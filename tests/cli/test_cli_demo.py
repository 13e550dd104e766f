"""The demo, as somebody who has never heard of the project sees it in a pipe."""

from __future__ import annotations

import asyncio
import io

import pytest

from equipoise.cli.clusters import load_cluster
from equipoise.cli.console import console_for
from equipoise.cli.demo import DEADLINE_S, Demo, _slowed
from equipoise.core.cluster import ProcessorId
from equipoise.families.demo import demo_folder
from equipoise.runtime.inputs import find_items


class FirstOf:
    """The first few of the held-out digits."""

    def __init__(self, count: int) -> None:
        digits = find_items([str(demo_folder() / "digits-heldout.npy")])
        self.name, self.payload = digits.name, digits.payload
        self._count = count

    def __len__(self) -> int:
        return self._count


@pytest.fixture(scope="module")
def shown() -> str:
    """What the demo prints, with a fifth of the digits in a fifth of the time."""
    pipe = io.StringIO()

    answered = asyncio.run(Demo(console_for(pipe), FirstOf(120), deadline_s=DEADLINE_S / 5).show())

    assert answered
    return pipe.getvalue()


def test_the_demo_has_a_plan_a_receipt_a_comparison_and_a_loss_in_this_order(shown: str):
    parts = ["1. Two promises", "Expected:", "Receipt (emulated", "2. The same request", "work-stealing", "3. The same"]

    places = [shown.index(part) for part in parts]

    assert places == sorted(places)


def test_every_digit_is_answered_exactly_once_though_a_board_is_killed(shown: str):
    assert "kill -9 of the process that is the raspberry-pi-4" in shown
    assert "120 digits, 120 answers, each exactly once" in shown


def test_every_strategy_is_really_run(shown: str):
    table = shown[shown.index("both kept?") : shown.index("3. The same request")]

    rows = [line.split()[0] for line in table.splitlines() if "kept" in line.split() or "broken" in line.split()]

    assert rows == [
        "equipoise", "single", "uniform", "uniform-variant", "proportional", "proportional-variant", "work-stealing",
    ]  # fmt: skip


def test_nothing_in_a_pipe_is_for_terminals_only(shown: str):
    assert "\x1b" not in shown


def test_boards_slowed_down_take_as_many_times_as_long_for_everything():
    boards = load_cluster(demo_folder() / "boards.json")

    profile, slow = (c.profile(ProcessorId("jetson-nano", "gpu"), "d6w32-32") for c in (boards, _slowed(boards, 2)))

    assert slow.latency_s == {batch: 2 * seconds for batch, seconds in profile.latency_s.items()}
    assert slow.load_s == 2 * profile.load_s
