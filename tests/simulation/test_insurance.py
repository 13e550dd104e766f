"""Promises under a second, late event, and what being safe against it costs when nothing happens."""

from __future__ import annotations

import msgspec
import pytest

from equipoise.lab.drift import asked, uncertain_boards
from equipoise.simulation import BatchRequest, Leaves, Load, Outcome, Scenario, simulate

BOARDS = uncertain_boards()


def outcome_of(request: BatchRequest, *events: Load | Leaves, seed: int = 0) -> Outcome:
    return simulate(BOARDS, Scenario(requests=(request,), events=events), "equipoise", seed)


def without_confidence(request: BatchRequest) -> BatchRequest:
    requirement = msgspec.structs.replace(request.requirement, confidence=None)
    return msgspec.structs.replace(request, requirement=requirement)


@pytest.mark.parametrize("run", [0, 3, 6])
def test_the_board_that_does_most_may_leave_after_another_has_slowed_down(run: int):
    request = asked(BOARDS, run)
    deadline_s = request.requirement.deadline_s
    assert deadline_s is not None
    events = (
        Load(at_s=deadline_s / 4, node="odroid-xu4", speed=0.5),
        Leaves(at_s=deadline_s / 2, node="jetson-nano"),
    )

    assert outcome_of(request, *events).kept == 1
    assert outcome_of(without_confidence(request), *events).kept == 0  # which is why it is worth something


def test_to_be_safe_costs_little_accuracy_when_nothing_happens():
    request = asked(BOARDS, 2)

    insured, not_insured = (
        outcome.requests[0].receipt for outcome in (outcome_of(request), outcome_of(without_confidence(request)))
    )

    assert insured is not None
    assert not_insured is not None
    assert insured.met.both
    assert not_insured.accuracy.expected - 0.005 <= insured.accuracy.expected
