"""`equipoise plan --explain`, as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
import pytest

from tests.planning.worlds import cluster_of

BOARDS = cluster_of(
    {"big": 0.9, "small": 0.6, "poor": 0.5},
    fast={"big": 0.1, "small": 0.02, "poor": 0.03},
    slow={"big": 0.4, "small": 0.05, "poor": 0.06},
    crawling={"small": 50.0},
)


@pytest.fixture
def cluster(tmp_path):
    path = tmp_path / "cluster.json"
    described = msgspec.to_builtins(BOARDS)
    path.write_text(json.dumps(described))
    return path


def equipoise(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "equipoise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def told(cluster, *arguments: object) -> str:
    """What is said after the plan, on one line."""
    done = equipoise("plan", cluster, "--explain", *arguments)
    assert done.returncode in {0, 3}, done.stderr
    return " ".join(done.stdout.split("Why:")[1].split())


def test_a_plan_is_explained_in_sentences(cluster):
    why = told(cluster, "--items", 1000, "--deadline-s", 40, "--min-accuracy", 0.7)

    assert "The deadline binds: it is used up, and with more time the plan would be more accurate." in why
    assert "The accuracy floor does not bind:" in why
    assert "One more point of accuracy would take 2.3" in why
    assert "One more second would buy 0.4" in why
    assert why.count("planned again; by the dual price at the margin") == 2
    assert "fast does 400 of 1000 items (40.0 %) at 90.0 %" in why
    assert "without it the promises could not be kept: at least 166." in why
    assert "poor is never worth using: on every processor small is faster and at least as accurate." in why
    assert "Idle: crawling/cpu, because it is too slow; even one item would take 50 s." in why


def test_with_nothing_left_to_buy_it_says_so(cluster):
    why = told(cluster, "--items", 100, "--deadline-s", 1000)

    assert "No more accuracy can be bought" in why
    assert "One more second would buy nothing." in why


def test_the_explanation_is_part_of_the_json(cluster):
    done = equipoise("plan", cluster, "--items", 100, "--deadline-s", 5, "--explain", "--json")

    explanation = json.loads(done.stdout)["explanation"]
    assert done.returncode == 0
    assert explanation["promises"]["deadline_binds"] is True
    assert {role["node"] for role in explanation["nodes"]} == {"fast", "slow"}
    assert explanation["idle"][0]["why"] == "too-slow"


def test_without_the_option_nothing_is_explained(cluster):
    assert "Why:" not in equipoise("plan", cluster, "--items", 100, "--deadline-s", 5).stdout
    assert "explanation" not in json.loads(
        equipoise("plan", cluster, "--items", 100, "--deadline-s", 5, "--json").stdout
    )


@pytest.mark.parametrize(
    ("deadline_s", "floor", "obstacle"),
    [
        (0.1, 0.7, "The deadline alone cannot be kept: 100 items in 100 ms are too many; at the fastest"),
        (100, 0.95, "The floor alone cannot be kept: no plan reaches 95.0 %; the most accurate variant"),
        (2, 0.85, "Each promise can be kept alone, but not both together: in 2 s at most"),
    ],
)
def test_an_infeasible_request_is_told_its_obstacle_and_what_would_help(cluster, deadline_s, floor, obstacle):
    why = told(cluster, "--items", 100, "--deadline-s", deadline_s, "--min-accuracy", floor)

    assert obstacle in why
    assert "would do: " in why
