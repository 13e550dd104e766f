"""A run that was cut short: what its rest has to reach, and both parts as one."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import msgspec
import pytest
from grey_items import GreyItems
from receipts import NANO, PI, plan_of, progress_of, receipt_of, scored, share_of

from equipoise.core.receipt import RUNNING, Origin, Receipt
from equipoise.core.request import Prefer, Requirement, WhenLate
from equipoise.dispatch.progress import ShareDone
from equipoise.errors import UsageError
from equipoise.runtime.earlier import Earlier, RestItems, earlier_run
from equipoise.runtime.predictions import Kept, Row

BEGAN = dt.datetime(2026, 11, 25, 12, 0, 0, tzinfo=dt.timezone.utc)
ORIGIN = Origin(
    folder="/",
    inputs=("x",),
    inputs_sha256="",
    family="f",
    family_sha256="",
    cluster_name="c",
    started_at=BEGAN.isoformat(),
    accuracies={"v": 0.6, "w": 0.9},
)


def seconds_on(seconds: float) -> dt.datetime:
    return BEGAN + dt.timedelta(seconds=seconds)


def running(**requirement: object) -> Receipt:
    """A run of 10 items that was killed after it had noted an answer of NANO's at 1.6 s."""
    receipt = receipt_of(scored(1))
    wanted = Requirement(**{"deadline_s": 10.0, "min_accuracy": 0.8} | requirement)  # type: ignore[arg-type]
    return msgspec.structs.replace(receipt, outcome=RUNNING, items=10, requirement=wanted, origin=ORIGIN)


def by(item: int, variant: str) -> Row:
    return Row(item=f"item {item}", class_index=1, node="nano", processor="gpu", variant=variant)


def after(rows: list[Row], *, since_s: float = 4.0, more_s: float | None = None, **requirement: object) -> Earlier:
    return earlier_run(
        running(**requirement),
        ORIGIN,
        Kept(rows=tuple(rows)),
        GreyItems(10),
        now=seconds_on(since_s),
        last_written=seconds_on(2.0),
        more_s=more_s,
    )


def test_the_rest_has_the_seconds_left_and_owes_what_is_missing_to_the_floor():
    earlier = after([by(0, "v"), by(5, "v"), Row(item="item 7", error="broken")])

    rest = earlier.rest()

    assert (earlier.left, rest.items) == ((1, 2, 3, 4, 6, 8, 9), 7)
    assert rest.requirement.deadline_s == pytest.approx(6)
    assert 2 * 0.6 + 7 * rest.requirement.min_accuracy == pytest.approx(0.8 * 9)


def test_a_rate_is_a_deadline_of_the_whole():
    earlier = after([by(0, "w")], deadline_s=None, throughput_per_s=2.0)

    assert earlier.rest().requirement.deadline_s == pytest.approx(1)
    assert earlier.rest().requirement.throughput_per_s is None


def test_past_the_deadline_the_rest_is_in_a_hurry_or_given_up_as_the_policy_says():
    late = after([by(0, "w")], since_s=60)

    assert not late.given_up
    assert late.rest().requirement.prefer is Prefer.LATENCY
    assert late.rest().requirement.deadline_s is None
    assert after([by(0, "w")], since_s=60, when_late=WhenLate.STOP).given_up
    assert after([by(0, "w")], since_s=60, when_late=WhenLate.KEEP_DEADLINE).given_up


def test_more_time_counts_from_when_the_run_is_gone_on_with():
    earlier = after([by(0, "w")], since_s=60, more_s=5, when_late=WhenLate.STOP)

    assert not earlier.given_up
    assert earlier.rest().requirement.deadline_s == pytest.approx(5)
    assert earlier.request.deadline_s == pytest.approx(65)
    later = earlier.at(seconds_on(62))
    assert (later.left_s, later.request.deadline_s) == (pytest.approx(5), pytest.approx(67))


def test_a_clock_that_was_set_back_makes_no_run_younger():
    assert after([by(0, "w")], since_s=-3600).since_s == 1.6


def test_both_parts_are_one_progress_on_one_time_line():
    earlier = after([by(0, "v"), by(1, "v"), by(2, "w"), by(3, "w")])
    rest = replace(
        progress_of(
            accuracy=0.9,
            shares=(
                ShareDone(pid=NANO, variant="v", items=4, busy_s=2, load_s=0, first_sent_s=0.5, last_answer_s=3),
                ShareDone(pid=PI, variant="w", items=2, busy_s=1, load_s=0, first_sent_s=0.5, last_answer_s=2.5),
            ),
            last_answer_s=3.0,
        ),
        items=6,
        answered=6,
        first_sent_s=0.5,
    )

    whole = earlier.joined(rest)

    assert (whole.items, whole.answered, whole.bad) == (10, 10, 0)
    assert whole.accuracy == pytest.approx((2 * 0.6 + 2 * 0.9 + 6 * 0.9) / 10)
    assert (whole.first_sent_s, whole.last_answer_s) == (0.1, 7.0)
    assert whole.replanned == 2 + 1 + 2  # going on is planning anew
    shares = {(share.pid, share.variant): share for share in whole.shares}
    assert shares[NANO, "v"].busy_s == pytest.approx(1.2 + 2)
    assert (shares[NANO, "v"].first_sent_s, shares[NANO, "v"].last_answer_s) == (0.1, 7.0)
    assert (shares[PI, "w"].items, shares[PI, "w"].first_sent_s) == (2, 4.5)


def test_answers_that_the_receipt_does_not_know_of_were_there_when_the_file_was_written():
    assert after([by(0, "w")]).joined().last_answer_s == 2.0


def test_items_that_are_left_have_numbers_of_their_own():
    items = GreyItems(10)

    rest = RestItems(items, (1, 2, 9))

    assert (len(rest), rest.name(2), rest.payload(2) == items.payload(9)) == (3, "item 9", True)


@pytest.mark.parametrize("row", [by(10, "w"), by(1, "unknown")])
def test_an_answer_that_the_request_cannot_have_is_refused(row: Row):
    with pytest.raises(UsageError, match="which the request does not have"):
        after([row])


def test_the_plan_of_the_receipt_stays_the_first_one():
    earlier = after([by(0, "w")])

    receipt = earlier.receipt_of(
        progress=None, finish=None, lost=(), scorecard=scored(1), items=GreyItems(10), origin=ORIGIN
    )

    assert receipt.plan == plan_of(share_of(PI, 3), share_of(NANO, 1))
    assert [(one.after_s, one.answered) for one in receipt.resumed] == [(4.0, 1)]
