"""What a person sees: the live view, and plans and receipts in words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from equipoise.cli.console import console_for
from equipoise.cli.render import infeasible_summary, percent, plan_summary, plan_table, promise, seconds
from equipoise.cli.render_live import LiveView, PlainView
from equipoise.core.cluster import ProcessorId
from equipoise.core.plan import Closest, Needs, Plan, Share
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.dispatch.progress import ProcessorProgress, Progress

PI, NANO = ProcessorId("pi[4]", "cpu"), ProcessorId("nano", "gpu")


def plan_of(*shares: Share, gap: float | None = None) -> Plan:
    return Plan(
        feasible=True,
        strategy="equipoise",
        prefer=Prefer.ACCURACY,
        items=100,
        latency_s=2.0,
        accuracy=0.75,
        energy_j=None,
        bound=None,
        gap=gap,
        solve_s=0.0003,
        shares=shares,
    )


def share(variant: str, finish_s: float) -> Share:
    return Share(node=PI.node, processor=PI.processor, variant=variant, batch=1, items=50, finish_s=finish_s)


def progress_of(*, elapsed_s: float = 1.0) -> Progress:
    def processor(pid: ProcessorId, *, usable: bool) -> ProcessorProgress:
        return ProcessorProgress(
            pid=pid, usable=usable, items_done=20, items_in_flight=4, variant="[v1]", items_per_s=20.0, speed=0.5
        )

    return Progress(
        items=100,
        answered=40,
        bad=0,
        in_flight=8,
        elapsed_s=elapsed_s,
        deadline_s=2.0,
        accuracy=0.75,
        replanned=0,
        resent=0,
        duplicated=0,
        dropped=0,
        first_sent_s=0.0,
        last_answer_s=1.0,
        processors=(processor(PI, usable=True), processor(NANO, usable=False)),
        shares=(),
    )


def text_of(renderable: object) -> str:
    console = console_for(io.StringIO())
    console.print(renderable)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_live_view_shows_items_rate_variant_and_speed_of_each_processor():
    view = LiveView(console_for(io.StringIO()), plan_of(share("[v1]", 2.0)), title="digits")

    shown = text_of(view.table(progress_of()))

    pi, nano = (next(line for line in shown.splitlines() if name in line) for name in ("pi[4]/cpu", "nano/gpu"))
    assert ("[v1]" in pi, "20/50" in pi, "20/s" in pi, "0.50x" in pi) == (True, True, True, True)
    assert "gone" in nano
    assert ("1 s of 2 s" in shown, "40/100" in shown, "75.0 %" in shown) == (True, True, True)


def test_in_a_pipe_the_live_view_writes_nothing():
    pipe = io.StringIO()

    with LiveView(console_for(pipe), plan_of(), title="digits") as view:
        view(progress_of())

    assert pipe.getvalue() == ""


def test_on_a_terminal_the_live_view_leaves_no_lines_behind():
    terminal = io.StringIO()

    with LiveView(Console(file=terminal, force_terminal=True, width=100), plan_of(), title="digits") as view:
        view(progress_of())

    assert "digits" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")  # the last thing it does is to erase itself


def test_the_plain_view_says_now_and_then_how_far_it_is():
    said: list[str] = []

    view = PlainView(said.append, "digits")
    for elapsed_s in (0.5, 2.0, 2.1, 4.0):
        view(progress_of(elapsed_s=elapsed_s))

    assert [line.partition(":")[0].strip() for line in said] == ["digits, 2 s", "digits, 4 s"]
    assert "40 of 100 answered" in said[0]


def test_shares_of_one_processor_follow_each_other_in_a_plan():
    shown = text_of(plan_table(plan_of(share("heavy", 1.5), share("light", 2.0)), title="Plan [emulated]"))

    light = next(line for line in shown.splitlines() if "light" in line)
    assert ("500 ms" in light, "2 s" in light) == (True, True)
    assert "Plan [emulated]" in shown


@pytest.mark.parametrize(("gap", "words"), [(None, "no bound"), (0.0, "proven optimal"), (0.001, "within 0.1 %")])
def test_a_plan_says_how_good_it_is(gap: float | None, words: str):
    assert words in plan_summary(plan_of(gap=gap))


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        (Requirement(deadline_s=2), "every answer within 2 s; slack goes to accuracy"),
        (
            Requirement(throughput_per_s=50, min_accuracy=0.8, prefer=Prefer.ENERGY),
            "at least 50/s and at least 80.0 % accuracy; slack goes to less energy",
        ),
    ],
)
def test_a_promise_is_put_in_words(requirement: Requirement, words: str):
    assert promise(requirement) == words


def test_what_would_help_is_said_with_what_comes_closest():
    request = Request(items=100, requirement=Requirement(deadline_s=1, min_accuracy=0.9))
    closest = Closest(most_accurate_at_deadline=None, fastest_at_floor=plan_of(), least_violation=None)

    lines = list(infeasible_summary(request, closest, Needs(deadline_s=2.0, min_accuracy=None, speed_factor=1.5)))

    assert lines[1:] == [
        "  fastest that is accurate enough: 75.0 % accuracy in 2 s",
        "  a deadline of 2 s would do",
        "  processors 1.5 times as fast would do",
    ]


@pytest.mark.parametrize(
    ("value", "words"), [(12.3456, "12.35 s"), (1, "1 s"), (0.0852, "85.2 ms"), (0.00024, "240 us"), (12345, "12345 s")]
)
def test_durations_are_readable(value: float, words: str):
    assert seconds(value) == words


def test_accuracies_are_percentages():
    assert percent(0.8125) == "81.2 %"


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        (Needs(deadline_s=3.77912, min_accuracy=None, speed_factor=None), "a deadline of 3.78 s would do"),
        (Needs(deadline_s=3.7780001, min_accuracy=None, speed_factor=None), "a deadline of 3.779 s would do"),
        (Needs(deadline_s=0.08521, min_accuracy=None, speed_factor=None), "a deadline of 85.3 ms would do"),
        (Needs(deadline_s=1234.2, min_accuracy=None, speed_factor=None), "a deadline of 1235 s would do"),
        (Needs(deadline_s=None, min_accuracy=0.97999, speed_factor=None), "a floor of 97.9 % would do"),
        (Needs(deadline_s=None, min_accuracy=0.7, speed_factor=None), "a floor of 70.0 % would do"),
        (Needs(deadline_s=None, min_accuracy=None, speed_factor=1.0004), "processors 1.01 times as fast would do"),
        (Needs(deadline_s=None, min_accuracy=None, speed_factor=1234.5), "processors 1235 times as fast would do"),
    ],
)
def test_what_would_help_still_does_when_it_is_typed_back(needs: Needs, said: str):
    request = Request(items=100, requirement=Requirement(deadline_s=1, min_accuracy=0.9))

    assert list(infeasible_summary(request, None, needs))[1:] == [f"  {said}"]


@pytest.mark.parametrize(
    ("best", "said"),
    [
        (0.988, ["  no variant reaches 99.0 %; the best one here is 98.8 %"]),
        (0.98999, ["  no variant reaches 99.000 %; the best one here is 98.999 %"]),
        (0.99, []),
    ],
)
def test_a_floor_above_every_variant_is_told_with_the_best_that_there_is(best: float, said: list[str]):
    request = Request(items=100, requirement=Requirement(deadline_s=1, min_accuracy=0.99))

    assert list(infeasible_summary(request, None, None, best_accuracy=best))[1:] == said


def test_on_a_narrow_terminal_names_are_folded_and_not_cut():
    variant = "mobilenet_v1_1.00_224_quantised_by_hand"
    narrow = Console(file=io.StringIO(), width=80)

    narrow.print(plan_table(plan_of(share(variant, 1.5)), title="Plan"))

    assert isinstance(narrow.file, io.StringIO)
    shown = narrow.file.getvalue()
    assert "…" not in shown
    assert "mobilenet_" in shown
