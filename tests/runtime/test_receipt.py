from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from receipts import NANO, PI, REQUEST, receipt_of, scored

from equipoise.core.receipt import AccuracyResult, MeasuredAccuracy, Receipt, judge
from equipoise.core.request import Request, Requirement
from equipoise.dispatch.progress import ShareDone
from equipoise.errors import OutputError
from equipoise.fabric.messages import Answer
from equipoise.runtime.receipt import write_receipt


def test_a_receipt_sets_what_ran_beside_what_was_planned():
    receipt = receipt_of(scored(1, 2, 3, 4))

    assert [(s.node, s.planned_items, s.items) for s in receipt.shares] == [("pi4", 3, 0), ("nano", 1, 4)]
    assert (receipt.latency_s, receipt.throughput_per_s) == (1.5, pytest.approx(4 / 1.5))
    assert receipt.met.both


def test_bad_items_are_named_with_their_reason_and_break_nothing():
    scorecard = scored(1, 2, 3)
    scorecard.accept(Answer(item=3, error="truncated image"), PI, "v")

    receipt = receipt_of(scorecard, bad=1)

    assert [(fault.item, fault.reason) for fault in receipt.bad] == [("d", "truncated image")]
    assert receipt.met.both


def test_items_given_up_are_named_and_break_the_performance_promise():
    receipt = receipt_of(scored(1, 2, 3), unanswered=(3,))

    assert [(fault.item, fault.reason) for fault in receipt.unanswered] == [("d", "the deadline passed")]
    assert not receipt.met.performance


def test_labels_give_a_measured_accuracy_with_its_interval():
    receipt = receipt_of(scored(1, 2, 3, 9, truth={0: 1, 1: 2, 2: 3, 3: 4}))

    measured = receipt.accuracy.measured
    assert measured is not None
    assert (measured.value, measured.items) == (0.75, 4)
    assert measured.low < 0.75 < measured.high


def measured_accuracy(value: float, high: float) -> MeasuredAccuracy:
    return MeasuredAccuracy(value=value, low=0.0, high=high, items=100)


@pytest.mark.parametrize(
    ("accuracy", "kept"),
    [
        (AccuracyResult(expected=0.7), True),
        (AccuracyResult(expected=0.69), False),
        (AccuracyResult(expected=0.7, measured=measured_accuracy(0.65, high=0.72)), True),
        (AccuracyResult(expected=0.7, measured=measured_accuracy(0.6, high=0.69)), False),
        (AccuracyResult(expected=0.69, measured=measured_accuracy(0.8, high=0.9)), False),
    ],
)
def test_the_floor_is_kept_by_expectation_unless_labels_refute_it(accuracy: AccuracyResult, kept: bool):
    met = judge(REQUEST, answered=4, unanswered=0, latency_s=1.0, accuracy=accuracy)

    assert met.accuracy is kept


@pytest.mark.parametrize(
    ("answered", "latency_s", "kept"), [(4, 2.0, True), (4, 2.001, False), (0, None, False), (0, 1.0, False)]
)
def test_performance_is_kept_when_every_answer_is_in_by_the_deadline(answered: int, latency_s: float, kept: bool):
    met = judge(REQUEST, answered=answered, unanswered=0, latency_s=latency_s, accuracy=AccuracyResult(expected=0.8))

    assert met.performance is kept


def test_a_rate_is_kept_when_all_items_took_no_longer_than_the_rate_allows():
    request = Request(items=100, requirement=Requirement(throughput_per_s=50))
    accuracy = AccuracyResult(expected=0.8)

    assert judge(request, answered=100, unanswered=0, latency_s=2.0, accuracy=accuracy).performance
    assert not judge(request, answered=100, unanswered=0, latency_s=2.1, accuracy=accuracy).performance


def test_a_receipt_is_read_back_from_its_file_as_it_was(tmp_path: Path):
    receipt = receipt_of(scored(1, 2, 3, 4, truth={0: 1}))

    write_receipt(tmp_path / "receipt.json", receipt)

    text = (tmp_path / "receipt.json").read_bytes()
    assert msgspec.json.decode(text, type=Receipt) == receipt
    assert json.loads(text)["plan"]["throughput_per_s"] == receipt.plan.throughput_per_s
    assert [path.name for path in tmp_path.iterdir()] == ["receipt.json"]


def test_a_receipt_that_cannot_be_written_is_an_error_with_the_cause(tmp_path: Path):
    with pytest.raises(OutputError, match="the receipt cannot be written: No space left"):
        write_receipt(Path("/dev/full"), receipt_of(scored(1)))


def test_a_name_that_is_no_utf8_is_written_byte_for_byte(tmp_path: Path):
    name = os.fsdecode(b"bad\xff.jpg")
    receipt = receipt_of(scored(1, 2, 3), unanswered=(3,))
    fault = msgspec.structs.replace(receipt.unanswered[0], item=name)

    write_receipt(tmp_path / "receipt.json", msgspec.structs.replace(receipt, unanswered=(fault,)))

    assert b'"bad\xff.jpg"' in (tmp_path / "receipt.json").read_bytes()


def test_a_pair_that_answered_nothing_has_no_last_answer():
    silent = ShareDone(pid=NANO, variant="v", items=0, busy_s=0.0, load_s=0.0, first_sent_s=0.1, last_answer_s=0.1)

    receipt = receipt_of(scored(1, 2, 3, 4), shares=(silent,))

    assert [share.last_answer_s for share in receipt.shares if share.node == "nano"] == [None]
