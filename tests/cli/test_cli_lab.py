"""`equipoise lab`, as a user meets it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def equipoise(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "equipoise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("study") / "paper"
    return equipoise("lab", "paper", "--quick", "--jobs", 1, "--out", out), out


def test_the_study_prints_gains_over_every_strategy_beside_the_papers(study):
    done, _ = study

    assert done.returncode == 0, done.stderr
    for words in ("Odroid XU4", "MobileNet ladders", "Random clusters", "proportional-variant", "best other"):
        assert words in done.stdout
    assert "The paper's averages: +41.52 %, +5.2 points." in done.stdout
    assert done.stderr == ""


def test_the_numbers_are_written_as_json_and_csv(study):
    _, out = study

    numbers = json.loads((out / "numbers.json").read_text())
    with (out / "gains.csv").open(newline="") as file:
        gains = list(csv.DictReader(file))
    with (out / "levels.csv").open(newline="") as file:
        levels = list(csv.DictReader(file))

    assert numbers["paper"] == {"throughput": 0.4152, "accuracy": 0.052}
    assert set(numbers["groups"]) == {"paper", "ladders", "random"}
    over = numbers["groups"]["paper"]["gains"]["single"]["throughput"]
    row = next(r for r in gains if (r["group"], r["strategy"], r["gain"]) == ("paper", "single", "throughput"))
    assert float(row["mean"]) == over["mean"] > 0
    assert {row["cluster"] for row in levels} >= {"paper", "mobilenet_v1", "random-0"}


def test_the_drift_and_the_time_lines_are_written_as_json_and_csv(study):
    _, out = study

    numbers = json.loads((out / "numbers.json").read_text())
    with (out / "drift.csv").open(newline="") as file:
        drift = list(csv.DictReader(file))
    with (out / "timelines.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert {row["drift"] for row in drift} == {"nothing", "slow", "leaves", "profiles", "all"}
    assert {row["strategy"] for row in drift} >= {
        "equipoise",
        "work-stealing",
        "join-shortest-queue",
        "bandit",
        "clairvoyant",
    }
    assert [limit["drift"] for limit in numbers["foreseen"]] == ["nothing", "slow", "leaves", "profiles", "all"]
    for line in numbers["time_lines"]:
        mine = [row for row in rows if row["strategy"] == line["strategy"]]
        answered = [int(row["items"]) for row in mine if (row["what"], row["how"]) == ("task", "answered")]
        assert sum(answered) >= line["items"] == 500
        assert [row["node"] for row in mine if row["how"] == "left"] == [line["unplugged"]]
        assert [float(row["from_s"]) for row in mine if row["what"] == "speed"] == [line["slowed_s"]]
    assert any((row["strategy"], row["how"]) == ("equipoise", "re-plan") for row in rows)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium is installed")
def test_the_page_shows_every_figure_without_a_network_and_without_complaints(study):
    assert CHROMIUM is not None, "continuous integration installs Chromium"
    from playwright.sync_api import sync_playwright

    _, out = study
    asked, complaints = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((out / "index.html").as_uri())
        heights = page.eval_on_selector_all("figure svg", "all => all.map(one => one.getBoundingClientRect().height)")
        title = page.inner_text("h1")
        browser.close()

    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    assert len(heights) == len(list((out / "figures").glob("*.svg"))) >= 10
    assert min(heights) > 100
    assert "throughput at equal accuracy" in title


def test_every_figure_is_there_as_svg_and_png_and_named_on_the_page_with_its_command(study):
    _, out = study
    text = (out / "index.html").read_text()

    figures = {path.stem for path in (out / "figures").glob("*.svg")}
    assert figures == {path.stem for path in (out / "figures").glob("*.png")}
    assert all(f"figures/{name}.png" in text for name in figures)
    assert text.count("equipoise lab paper --quick --out DIR") > len(figures)


def test_jobs_below_one_are_refused():
    done = equipoise("lab", "paper", "--jobs", 0)

    assert done.returncode == 2
    assert "--jobs must be at least 1, not 0" in done.stderr


def test_published_boards_are_listed_with_their_sources():
    done = equipoise("lab", "boards", "--json")

    boards = {board["name"]: board for board in json.loads(done.stdout)["boards"]}
    assert "Tencent/ncnn issue #4175" in boards["odroid-xu4"]["processors"][0]["source"]
    assert "odroid-xu4" in equipoise("lab", "boards").stdout


def test_a_cluster_of_published_boards_can_be_planned_with(tmp_path):
    described = tmp_path / "cluster.json"
    described.write_text(equipoise("lab", "boards", "odroid-xu4", "jetson-nano").stdout)

    done = equipoise("plan", described, "--items", 100, "--deadline-s", 2, "--min-accuracy", 0.7)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("boards", "pi-5"), "no published board 'pi-5'"), (("boards", "--set", "onnx"), "--set onnx: unknown")],
)
def test_unknown_boards_and_sets_are_refused_in_one_line(arguments, message):
    done = equipoise("lab", *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("boards") / "cluster.json"
    path.write_text(equipoise("lab", "boards", "odroid-xu4", "raspberry-pi-4b", "jetson-nano").stdout)
    return path


ASKED = ("--items", 500, "--throughput-per-s", 90, "--min-accuracy", 0.74)


def test_every_strategy_is_compared_on_the_users_own_cluster(boards):
    done = equipoise("lab", "compare", boards, *ASKED, "--json")

    plans = {plan["strategy"]: plan for plan in json.loads(done.stdout)}
    assert done.returncode == 0, done.stderr
    assert plans["equipoise"]["feasible"]
    assert not plans["uniform"]["feasible"]
    assert "both kept?" in equipoise("lab", "compare", boards, *ASKED, "--strategy", "single").stdout


def test_a_board_more_is_worth_something_and_a_board_less_costs_something(boards):
    changes = ("--add", "khadas-vim3", "--remove", "jetson-nano", "--without-variant", "efficientnet-b0-fp32")

    done = equipoise("lab", "whatif", boards, *ASKED, *changes, "--json")

    rows = {row["change"]: row["fastest_per_s"] for row in json.loads(done.stdout)["changes"]}
    assert rows["with khadas-vim3"] > rows["as it is"] > rows["without jetson-nano"]
    assert "without efficientnet-b0-fp32" in rows


def test_the_board_to_buy_next_is_named_and_so_are_variants_of_no_use(boards):
    done = equipoise("lab", "whatif", boards, *ASKED, "--buy")

    assert done.returncode == 0, done.stderr
    assert "would bring most" in done.stdout
    assert "Never of use here" in done.stdout
    assert "alexnet" in done.stdout.split("Never of use here")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to try"),
        (("--add", "pi-5"), "no published board 'pi-5'"),
        (("--remove", "pi-5"), "there is no node 'pi-5'; the cluster has: odroid-xu4"),
        (("--without-variant", "v9"), "there is no variant 'v9'"),
    ],
)
def test_changes_that_make_no_sense_are_refused_with_what_would(boards, arguments, message):
    done = equipoise("lab", "whatif", boards, *ASKED, *arguments)

    assert done.returncode == 2
    assert message in done.stderr


def test_under_drift_every_strategy_meets_the_same_requests():
    done = equipoise("lab", "drift", "--runs", 1, "--json")

    told = json.loads(done.stdout)
    rows = told["drift"]
    assert done.returncode == 0, done.stderr
    assert {limit["drift"]: limit["keepable"] for limit in told["foreseen"]}["nothing"] == 1
    assert {row["strategy"] for row in rows} >= {"equipoise", "milp", "work-stealing", "uniform", "infaas", "bandit"}
    assert {row["drift"] for row in rows} == {"nothing", "slow", "leaves", "profiles", "all"}
    assert all(row["attainment"]["requests"] == 1 for row in rows)
    assert all(
        row["attainment"]["kept"] == 1 for row in rows if (row["strategy"], row["drift"]) == ("equipoise", "nothing")
    )


def test_runs_below_one_are_refused():
    assert "--runs must be at least 1, not 0" in equipoise("lab", "drift", "--runs", 0).stderr
