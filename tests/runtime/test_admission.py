"""The plan that a request begins with."""

from __future__ import annotations

import pytest

from equipoise.core.request import Prefer
from equipoise.dispatch.settings import Settings
from equipoise.planning.planner import plan
from equipoise.runtime.admission import admit
from tests.planning.worlds import cluster_of, request_of

BOARDS = cluster_of({"big": 0.9, "small": 0.6}, fast={"big": 0.1, "small": 0.02}, slow={"big": 0.4, "small": 0.05})


def test_a_deadline_that_would_be_filled_keeps_a_reserve():
    request = request_of(200, deadline_s=6.0, min_accuracy=0.6)

    admitted = admit(request, BOARDS)

    assert admitted.feasible
    assert admitted.latency_s <= 6.0 - Settings().reserve_before_s(6.0)
    assert admitted.bound == plan(request, BOARDS).bound
    assert admitted.accuracy <= admitted.bound


def test_a_throughput_keeps_the_same_reserve():
    admitted = admit(request_of(200, throughput_per_s=200 / 6), BOARDS)

    assert admitted.latency_s <= 6.0 - Settings().reserve_before_s(6.0)


def test_a_request_that_needs_all_its_time_is_admitted_without_one():
    tightest_s = plan(request_of(200, Prefer.LATENCY, min_accuracy=0.7), BOARDS).latency_s

    admitted = admit(request_of(200, deadline_s=tightest_s, min_accuracy=0.7), BOARDS)

    assert admitted.feasible
    assert admitted.latency_s == pytest.approx(tightest_s)


def test_other_strategies_and_plans_with_time_to_spare_are_left_as_they_are():
    tight, roomy = request_of(200, deadline_s=3.5), request_of(200, deadline_s=100)

    assert admit(tight, BOARDS, "work-stealing") == plan(tight, BOARDS, strategy="work-stealing")
    assert admit(roomy, BOARDS) == plan(roomy, BOARDS)


def test_what_cannot_be_had_is_declined_with_the_closest_plans():
    declined = admit(request_of(200, deadline_s=0.5, min_accuracy=0.9), BOARDS)

    assert not declined.feasible
    assert declined.closest is not None
