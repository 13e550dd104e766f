"""`equipoise plan` and `equipoise frontier`, as a user meets them."""

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
                        {"variant": "big", "latency_s": {"1": big_s}},
                        {"variant": "small", "latency_s": {"1": small_s}},
                    ],
                }
            ],
        }
        for name, big_s, small_s in (("fast", 0.1, 0.02), ("slow", 0.4, 0.05))
    ],
}


def equipoise(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "equipoise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def described(folder: Path, **changes: object) -> Path:
    path = folder / "cluster.json"
    path.write_text(json.dumps({**CLUSTER, **changes}))
    return path


def test_a_plan_names_shares_totals_and_proof(tmp_path):
    done = equipoise("plan", described(tmp_path), "--items", 100, "--deadline-s", 5, "--min-accuracy", 0.7)

    assert done.returncode == 0, done.stderr
    assert "fast" in done.stdout
    assert "slow" in done.stdout
    assert "100 items in 5 s (20/s), 77.1 % accuracy expected" in done.stdout
    assert "of what is possible" in done.stdout or "proven optimal" in done.stdout


def test_json_has_the_documented_keys(tmp_path):
    done = equipoise("plan", described(tmp_path), "--items", 100, "--throughput-per-s", 20, "--json")

    plan = json.loads(done.stdout)
    assert done.returncode == 0
    assert plan["feasible"] is True
    documented = (
        "feasible, strategy, items, latency_s, throughput_per_s, accuracy, energy_j, bound, gap, solve_s, shares"
    )
    assert set(documented.split(", ")) <= set(plan)
    assert set(plan["shares"][0]) == {"node", "processor", "variant", "batch", "items", "finish_s"}
    assert sum(share["items"] for share in plan["shares"]) == 100


def test_an_infeasible_request_exits_with_3_and_says_what_would_help(tmp_path):
    cluster = described(tmp_path)

    told = equipoise("plan", cluster, "--items", 100, "--deadline-s", 2, "--min-accuracy", 0.8)
    plan = json.loads(
        equipoise("plan", cluster, "--items", 100, "--deadline-s", 2, "--min-accuracy", 0.8, "--json").stdout
    )

    assert told.returncode == 3
    assert "cannot be kept" in told.stdout
    assert "would do" in told.stdout
    assert plan["feasible"] is False
    assert plan["closest"]["most_accurate_at_deadline"]["latency_s"] <= 2
    assert plan["closest"]["fastest_at_floor"]["accuracy"] >= 0.8 - 1e-9
    helped = equipoise(
        "plan", cluster, "--items", 100, "--deadline-s", plan["needs"]["deadline_s"], "--min-accuracy", 0.8
    )
    assert helped.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--items", "0", "--deadline-s", "1"], "--items must be from 1 to 1000000000, not 0"),
        (["--items", "5", "--deadline-s", "0"], "--deadline-s must be a positive, finite number, not 0.0"),
        (["--items", "5", "--deadline-s", "nan"], "--deadline-s must be a positive, finite number, not nan"),
        (
            ["--items", "5", "--throughput-per-s", "-3"],
            "--throughput-per-s must be a positive, finite number, not -3.0",
        ),
        (
            ["--items", "5", "--deadline-s", "1", "--min-accuracy", "70"],
            "--min-accuracy must be a fraction from 0 to 1",
        ),
        (["--items", "5", "--deadline-s", "1", "--strategy", "magic"], "unknown strategy 'magic'; known: equipoise"),
        (
            ["--items", "5", "--deadline-s", "1", "--strategy", "infaas"],
            "decides online, item by item, and makes no plan",
        ),
        (
            ["--items", "5", "--deadline-s", "1", "--strategy", "clairvoyant"],
            "strategy 'clairvoyant' needs a scenario to foresee",
        ),
    ],
)
def test_wrong_arguments_exit_with_2_and_name_the_value(tmp_path, arguments, message):
    done = equipoise("plan", described(tmp_path), *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "unknown field `colour`"),
        ({"variants": []}, "the cluster has no variants"),
        ({"nodes": []}, "the cluster has no nodes"),
        ({"nodes": CLUSTER["nodes"] * 2}, "duplicate node: 'fast'"),
        ({"variants": CLUSTER["variants"] * 2}, "duplicate variant: 'big'"),
        ({"variants": CLUSTER["variants"][:1]}, "processor fast/cpu has a profile of unknown variant 'small'"),
    ],
)
def test_a_wrong_description_exits_with_1_and_says_where(tmp_path, changes, message):
    done = equipoise("plan", described(tmp_path, **changes), "--items", 5, "--deadline-s", 1)

    assert done.returncode == 1
    assert message in done.stderr
    assert "cluster.json" in done.stderr


@pytest.mark.parametrize("seconds", [0, -0.1, 1e400])
def test_impossible_latencies_are_refused_with_their_place(tmp_path, seconds):
    path = described(tmp_path)
    path.write_text(path.read_text().replace("0.05", json.dumps(seconds).replace("Infinity", "1e400")))

    done = equipoise("plan", path, "--items", 5, "--deadline-s", 1)

    assert done.returncode == 1
    assert "nodes[1].processors[0].profiles[1]" in done.stderr


def test_a_missing_description_is_one_line(tmp_path):
    done = equipoise("plan", tmp_path / "none.json", "--items", 5, "--deadline-s", 1)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "none.json" in done.stderr


def test_the_frontier_stands_beside_every_strategys_and_is_drawn(tmp_path):
    picture = tmp_path / "frontier.png"

    done = equipoise("frontier", described(tmp_path), "--items", 100, "--plot", picture)

    assert done.returncode == 0, done.stderr
    for strategy in ("equipoise", "single", "uniform-variant", "work-stealing"):
        assert strategy in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_frontier_as_json_rises_with_latency(tmp_path):
    done = equipoise("frontier", described(tmp_path), "--items", 100, "--json")

    points = json.loads(done.stdout)["strategies"]["equipoise"]
    latencies, accuracies = ([point[key] for point in points] for key in ("latency_s", "accuracy"))
    assert latencies == sorted(latencies)
    assert accuracies == sorted(accuracies)
    assert len(points) > 5


def test_a_plot_of_an_unknown_kind_is_refused_before_any_work(tmp_path):
    done = equipoise("frontier", described(tmp_path), "--items", 100, "--plot", tmp_path / "frontier.gif")

    assert done.returncode == 2
    assert "must end in one of .png, .svg, .pdf" in done.stderr
