from __future__ import annotations

import math

import pytest
from test_dispatcher import plan_of
from world import request_of

from equipoise.core.request import Prefer, Requirement, WhenLate
from equipoise.dispatch.rest import Concession, Rest

REST = Rest(items=100, left_s=4.0, accuracy=0.7)


def asked(concession: Concession, rest: Rest = REST) -> Requirement:
    return rest.request(request_of(500, deadline_s=9.0, prefer=Prefer.ENERGY).requirement, concession).requirement


def test_as_long_as_nothing_is_conceded_both_promises_are_asked_for():
    requirement = asked(Concession.NOTHING)

    assert (requirement.deadline_s, requirement.min_accuracy, requirement.prefer) == (4.0, 0.7, Prefer.ENERGY)


@pytest.mark.parametrize(
    ("concession", "deadline_s", "min_accuracy", "prefer"),
    [
        (Concession.DEADLINE, None, 0.7, Prefer.LATENCY),
        (Concession.FLOOR, 4.0, 0.0, Prefer.ACCURACY),
        (Concession.BOTH, None, 0.0, Prefer.LATENCY),
    ],
)
def test_what_is_conceded_becomes_what_is_optimised(
    concession: Concession, deadline_s: float | None, min_accuracy: float, prefer: Prefer
):
    requirement = asked(concession)

    assert (requirement.deadline_s, requirement.min_accuracy, requirement.prefer) == (deadline_s, min_accuracy, prefer)


def test_what_is_left_of_a_budget_is_asked_for_however_little_it_is():
    assert asked(Concession.NOTHING, Rest(items=100, left_s=4.0, accuracy=0.7, energy_j=12.0)).max_energy_j == 12.0
    assert asked(Concession.NOTHING, Rest(items=100, left_s=4.0, accuracy=0.7, energy_j=-1.0)).max_energy_j > 0
    assert asked(Concession.NOTHING).max_energy_j is None


@pytest.mark.parametrize("concession", Concession)
def test_without_a_deadline_there_is_none_to_be_asked_for(concession: Concession):
    assert asked(concession, Rest(items=100, left_s=math.inf, accuracy=0.7)).deadline_s is None


@pytest.mark.parametrize("policy", [WhenLate.KEEP_FLOOR, WhenLate.STOP])
def test_who_keeps_the_floor_concedes_the_deadline(policy: WhenLate):
    assert Concession.NOTHING.next(policy) is Concession.DEADLINE
    assert Concession.DEADLINE.next(policy) is Concession.DEADLINE


def test_who_keeps_the_deadline_concedes_the_floor_and_in_the_end_both():
    conceded = Concession.NOTHING.next(WhenLate.KEEP_DEADLINE)

    assert conceded is Concession.FLOOR
    assert conceded.next(WhenLate.KEEP_DEADLINE) is Concession.BOTH


def test_a_plan_with_time_to_spare_takes_the_concession_back():
    plan = plan_of(fast=100)  # 1 s, 0.8

    assert REST.regained(plan, Concession.DEADLINE) is Concession.NOTHING
    assert REST.regained(plan, Concession.FLOOR) is Concession.NOTHING
    assert REST.regained(plan, Concession.BOTH) is Concession.FLOOR


def test_a_plan_that_only_just_keeps_the_deadline_does_not():
    tight = Rest(items=100, left_s=1.01, accuracy=0.9)
    plan = plan_of(fast=100)

    for concession in (Concession.DEADLINE, Concession.FLOOR, Concession.BOTH):
        assert tight.regained(plan, concession) is concession
