"""`equipoise stream`, as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CLUSTER = {
    "family": "test",
    "variants": [{"name": "big", "accuracy": 0.9}, {"name": "small", "accuracy": 0.6}],
    "nodes": [
        {
            "name": name,
            "processors": [
                {
                    "name": "cpu",
                    "profiles": [
                        {"variant": "big", "latency_s": {"1": big_s}, "latency_stddev_s": {"1": big_s / 10}},
                        {"variant": "small", "latency_s": {"1": small_s}},
                    ],
                }
            ],
        }
        for name, big_s, small_s in (("fast", 0.1, 0.02), ("slow", 0.4, 0.05))
    ],
}


def stream(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    path = folder / "cluster.json"
    path.write_text(json.dumps(CLUSTER))
    command = [sys.executable, "-m", "equipoise", "stream", str(path), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_plan_names_routes_totals_and_the_largest_rate(tmp_path):
    done = stream(tmp_path, "--arrivals-per-s", 20, "--item-latency-s", 0.5, "--min-accuracy", 0.65)

    assert done.returncode == 0, done.stderr
    assert "20/s with 95 % of the items within 500 ms and at least 65.0 % accuracy" in done.stdout
    assert "fast" in done.stdout
    assert "slow" in done.stdout
    assert "can be promised with this latency and floor" in done.stdout
    assert "of what is possible" in done.stdout or "proven optimal" in done.stdout


def test_json_has_the_documented_keys(tmp_path):
    done = stream(tmp_path, "--arrivals-per-s", 20, "--item-latency-s", 0.5, "--confidence", 0.9, "--json")

    plan = json.loads(done.stdout)
    assert done.returncode == 0
    documented = (
        "feasible, prefer, rate_per_s, routes, accuracy, item_latency_s, utilisation, bound, gap, max_rate_per_s, "
        "max_rate_bound_per_s, solve_s, needs"
    )
    assert set(plan) == set(documented.split(", "))
    of_a_route = "node, processor, variant, batch, fraction, rate_per_s, utilisation, item_latency_s"
    assert set(plan["routes"][0]) == set(of_a_route.split(", "))
    assert sum(route["fraction"] for route in plan["routes"]) == pytest.approx(1)


def test_slack_goes_where_it_is_wanted(tmp_path):
    wanted = ("--arrivals-per-s", 5, "--item-latency-s", 1, "--min-accuracy", 0.65, "--json")

    accurate = json.loads(stream(tmp_path, *wanted).stdout)
    quick = json.loads(stream(tmp_path, *wanted, "--prefer", "latency").stdout)

    assert quick["item_latency_s"] < accurate["item_latency_s"]
    assert 0.65 - 1e-9 <= quick["accuracy"] < accurate["accuracy"]


def test_what_cannot_be_promised_exits_with_3_and_says_what_would_help(tmp_path):
    wanted = ("--item-latency-s", 0.3, "--min-accuracy", 0.7)

    told = stream(tmp_path, "--arrivals-per-s", 30, *wanted)
    plan = json.loads(stream(tmp_path, "--arrivals-per-s", 30, *wanted, "--json").stdout)

    assert told.returncode == 3
    assert "cannot be promised" in told.stdout
    assert "would do" in told.stdout
    assert plan["feasible"] is False
    most = plan["needs"]["arrivals_per_s"]
    assert most == plan["max_rate_per_s"] < 30
    assert stream(tmp_path, "--arrivals-per-s", most, *wanted).returncode == 0


def test_the_figures_that_are_said_to_do_do(tmp_path):
    told = stream(tmp_path, "--arrivals-per-s", 30, "--item-latency-s", 0.3, "--min-accuracy", 0.7).stdout
    lines = [line.split() for line in told.splitlines() if line.endswith("would do")]

    rate = next(words[0].removesuffix("/s") for words in lines if words[0].endswith("/s"))
    floor = next(float(words[3]) / 100 for words in lines if words[0] == "a")

    assert stream(tmp_path, "--arrivals-per-s", rate, "--item-latency-s", 0.3, "--min-accuracy", 0.7).returncode == 0
    assert stream(tmp_path, "--arrivals-per-s", 30, "--item-latency-s", 0.3, "--min-accuracy", floor).returncode == 0


def test_what_no_change_alone_makes_possible_is_said_to_be_so(tmp_path):
    done = stream(tmp_path, "--arrivals-per-s", 30, "--item-latency-s", 0.001, "--min-accuracy", 0.95)

    assert done.returncode == 3
    assert "no slower rate, longer latency or lower floor alone would do" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arrivals-per-s", "0", "--item-latency-s", "1"], "--arrivals-per-s must be a positive, finite number"),
        (["--arrivals-per-s", "nan", "--item-latency-s", "1"], "--arrivals-per-s must be a positive, finite number"),
        (["--arrivals-per-s", "1", "--item-latency-s", "inf"], "--item-latency-s must be a positive, finite number"),
        (
            ["--arrivals-per-s", "1", "--item-latency-s", "1", "--confidence", "95"],
            "--confidence must lie between 0 and 1, not 95.0",
        ),
        (
            ["--arrivals-per-s", "1", "--item-latency-s", "1", "--min-accuracy", "70"],
            "--min-accuracy must be a fraction from 0 to 1, not 70.0",
        ),
        (
            ["--arrivals-per-s", "1", "--item-latency-s", "1", "--prefer", "energy"],
            "--prefer must be accuracy or latency for a stream, not energy",
        ),
    ],
)
def test_wrong_arguments_exit_with_2_and_name_the_value(tmp_path, arguments, message):
    done = stream(tmp_path, *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
