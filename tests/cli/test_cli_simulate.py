"""`equipoise simulate` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from equipoise.cli import main
from equipoise.families.demo import demo_folder

BOARDS = str(demo_folder() / "boards.json")
DRIFT = str(Path(__file__).parents[2] / "docs" / "scenarios" / "drift.toml")


def simulate(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["simulate", *arguments])
    return int(left.value.code or 0)


def test_it_shows_what_came_of_every_request_under_every_strategy(capsys: pytest.CaptureFixture[str]):
    code = simulate(BOARDS, DRIFT, "--runs", "2", "--strategy", "equipoise", "--strategy", "work-stealing")

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    for words in ("equipoise, 2 runs", "work-stealing, 2 runs", "the-quick-one", "2 of 2", "All requests of all runs"):
        assert words in printed.out


def test_the_clairvoyant_is_shown_as_a_limit_beside_those_that_run(capsys: pytest.CaptureFixture[str]):
    code = simulate(BOARDS, DRIFT, "--strategy", "equipoise", "--strategy", "clairvoyant", "--runs", "2")

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    for words in (
        "clairvoyant: the limit, a bound and no run, 2 seeds",
        "least latency",
        "clairvoyant (limit)",
        "a bound",
    ):
        assert words in printed.out


def test_the_clairvoyant_alone_runs_nothing(capsys: pytest.CaptureFixture[str]):
    assert simulate(BOARDS, DRIFT, "--json", "--strategy", "clairvoyant", "--seed", "7") == 0

    summary = json.loads(capsys.readouterr().out)
    assert summary["strategies"] == []
    (run,) = summary["limits"]
    assert run["seed"] == 7
    assert [limit["request"] for limit in run["requests"]] == ["request-1", "the-quick-one"]
    assert all(limit["keepable"] and limit["of_deadline"] < 1 for limit in run["requests"])


def test_the_same_seed_prints_the_same_figures(capsys: pytest.CaptureFixture[str]):
    def printed(seed: str) -> str:
        assert simulate(BOARDS, DRIFT, "--json", "--seed", seed) == 0
        return capsys.readouterr().out

    first = printed("4")
    assert first == printed("4")
    assert first != printed("5")
    assert json.loads(first)["strategies"][0]["requests"]["request-1"]["admitted"] == 1


def test_time_lines_and_receipts_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"

    assert simulate(BOARDS, DRIFT, "--out", str(out), "--seed", "3") == 0

    run = out / "equipoise" / "seed-3"
    kinds = {json.loads(line)["kind"] for line in (run / "timeline.jsonl").read_text().splitlines()}
    assert kinds == {"task", "plan", "node", "speed", "request"}
    receipt = json.loads((run / "receipts" / "the-quick-one.json").read_text())
    assert (receipt["simulated"], receipt["emulated"], receipt["items"]) == (True, False, 300)
    assert json.loads((out / "summary.json").read_text())["seed"] == 3

    assert simulate(BOARDS, DRIFT, "--out", str(out)) == 2
    assert "not empty; pass --force" in capsys.readouterr().err
    assert simulate(BOARDS, DRIFT, "--out", str(out), "--force") == 0


def test_streams_are_shown_and_kept_beside_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scenario, out = tmp_path / "both.toml", tmp_path / "out"
    scenario.write_text(
        "[[requests]]\nitems = 100\n"
        "[[streams]]\nname = 'camera'\nfor_s = 5\narrivals_per_s = 20\nitem_latency_s = 0.5\n"
    )

    assert simulate(BOARDS, str(scenario), "--out", str(out)) == 0

    printed = capsys.readouterr().out
    for words in ("request-1", "camera", "20/s, 95 % <= 500 ms", "in time", "shed"):
        assert words in printed
    run = out / "equipoise" / "seed-0"
    outcome = json.loads((run / "streams" / "camera.json").read_text())
    assert outcome["arrived"] == outcome["answered"] + sum(outcome["shed"].values()) > 0
    kinds = {json.loads(line)["kind"] for line in (run / "timeline.jsonl").read_text().splitlines()}
    assert kinds == {"task", "plan", "stream-plan", "request"}
    summary = json.loads((out / "summary.json").read_text())["strategies"][0]["streams"]["camera"]
    assert (summary["admitted"], summary["items"]) == (1, outcome["arrived"])


def test_a_stream_is_refused_to_who_takes_none(capsys: pytest.CaptureFixture[str]):
    assert simulate(BOARDS, DRIFT.replace("drift", "streams"), "--strategy", "milp") == 2
    assert "milp takes requests but no streams" in capsys.readouterr().err


def test_streams_stand_beside_other_strategies_and_their_limit(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    scenario = tmp_path / "short.toml"
    scenario.write_text("[[streams]]\narrivals_per_s = 50\nitem_latency_s = 0.3\nfor_s = 3\nname = 'camera'\n")

    assert simulate(BOARDS, str(scenario), "--strategy", "power-of-two", "--strategy", "clairvoyant") == 0

    printed = capsys.readouterr().out
    for words in ("power-of-two, 1 run", "camera", "clairvoyant: the limit", "best accuracy"):
        assert words in printed

    assert simulate(BOARDS, str(scenario), "--strategy", "clairvoyant", "--json") == 0
    (limit,) = json.loads(capsys.readouterr().out)["limits"]
    assert limit["streams"][0]["keepable"]


def test_what_is_declined_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scenario = tmp_path / "hopeless.toml"
    scenario.write_text("[[requests]]\nitems = 1000\ndeadline_s = 0.5\n")

    assert simulate(BOARDS, str(scenario)) == 0
    assert "declined" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((BOARDS, DRIFT, "--strategy", "magic"), "unknown strategy 'magic'; known: equipoise"),
        ((BOARDS, DRIFT, "--runs", "0"), "--runs must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]):
    assert simulate(*arguments) == 2
    assert message in capsys.readouterr().err


def test_a_bad_scenario_is_one_line_with_file_line_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scenario = tmp_path / "bad.toml"
    scenario.write_text('[[requests]]\nitems = 9\n[[events]]\nat_s = 1\nkind = "leaves"\nnode = "pi"\n')

    assert simulate(BOARDS, str(scenario)) == 1

    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"{scenario}: there is no node 'pi'; known: odroid-xu4" in message
    assert "(at line 6, events[0].node)" in message
