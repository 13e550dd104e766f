"""`equipoise run`, with real processes that play boards: plan, predictions, receipt and exit code."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.cli import main
from equipoise.core.family import Family

ITEMS = 40
Run = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Grey images as rows of an array with their labels, and two boards; as the working directory."""
    monkeypatch.chdir(tmp_path)
    brightness = np.arange(ITEMS) * 255 // (ITEMS - 1)
    pixels = np.broadcast_to(brightness[:, None, None, None], (ITEMS, 8, 8, 3)).astype(np.uint8)
    np.save(tmp_path / "grey.npy", pixels)
    lines = [f"grey.npy#{row},{value // 64}" for row, value in enumerate(brightness)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,class_index", *lines]) + "\n")
    (tmp_path / "boards.json").write_text(json.dumps(BOARDS))
    return tmp_path


def board(name: str, small_s: float, large_s: float) -> dict[str, Any]:
    profiles = [{"variant": "small", "latency_s": {"1": small_s}}, {"variant": "large", "latency_s": {"1": large_s}}]
    return {"name": name, "processors": [{"name": "cpu", "profiles": profiles}]}


BOARDS = {
    "family": "tiny",
    "variants": [{"name": "small", "accuracy": 0.6}, {"name": "large", "accuracy": 0.9}],
    "nodes": [board("pi", 0.02, 0.05), board("nano", 0.01, 0.03)],
}


@pytest.fixture
def run(folder: Path, tiny_family: Family) -> Run:
    """Runs the grey images on the emulated boards; returns the exit code."""

    def run(*options: str, inputs: tuple[str, ...] = ("grey.npy",)) -> int:
        boards = ("--cluster", "boards.json", "--emulate")
        with pytest.raises(SystemExit) as left:
            main(["run", *inputs, "--family", str(tiny_family.folder), *boards, *options])
        code = left.value.code
        return code if isinstance(code, int) else 0

    return run


def test_both_promises_are_kept_and_the_receipt_says_so(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]):
    code = run("--deadline-s", "30", "--min-accuracy", "0.8", "--labels", "labels.csv", "--receipt", "receipt.json")

    receipt = json.loads((folder / "receipt.json").read_text())
    assert code == 0
    assert receipt["met"] == {"performance": True, "accuracy": True, "energy": True}
    assert (receipt["emulated"], receipt["answered"], receipt["unanswered"]) == (True, ITEMS, [])
    assert receipt["accuracy"]["measured"]["items"] == ITEMS
    assert sum(share["items"] for share in receipt["shares"]) == ITEMS
    printed = capsys.readouterr().out
    assert printed.index("emulated") < printed.index("Expected:") < printed.index("Receipt (emulated, answered)")


def test_a_budget_of_energy_is_planned_for_and_is_on_the_receipt(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
):
    nodes = [
        {**node, "processors": [{**node["processors"][0], "idle_w": 1.0, "active_w": 5.0}]} for node in BOARDS["nodes"]
    ]
    (folder / "boards.json").write_text(json.dumps({**BOARDS, "nodes": nodes}))

    run("--deadline-s", "30", "--min-accuracy", "0.7", "--max-energy-j", "4", "--receipt", "receipt.json")

    receipt = json.loads((folder / "receipt.json").read_text())
    busy_s = sum(share["busy_s"] for share in receipt["shares"])
    assert receipt["plan"]["energy_j"] <= 4
    assert receipt["energy_j"] == pytest.approx(4.0 * busy_s)
    assert receipt["met"]["energy"] == (receipt["energy_j"] <= 4)
    assert "<= 4 J" in capsys.readouterr().out


def test_every_item_is_predicted_once_as_json_lines(run: Run, folder: Path):
    assert run("--deadline-s", "30", "--out", "p.jsonl") == 0

    rows = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    assert sorted(row["item"] for row in rows) == sorted(f"grey.npy#{row}" for row in range(ITEMS))
    darkest = next(row for row in rows if row["item"] == "grey.npy#0")
    assert (darkest["class_index"], darkest["label"]) == (0, "black")


def test_the_log_has_every_task_and_every_accepted_answer(run: Run, folder: Path):
    assert run("--deadline-s", "30", "--out", "p.jsonl", "--log", "log.jsonl") == 0

    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    tasks = {sent["task"]: sent for line in lines for sent in line.get("sent", ())}
    accepted = {item: tasks[line["task"]] for line in lines for item in line.get("accepted", ())}
    rows = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    assert {f"grey.npy#{item}": (task["node"], task["variant"]) for item, task in accepted.items()} == {
        row["item"]: (row["node"], row["variant"]) for row in rows
    }
    assert sum(len(line.get("accepted", ())) for line in lines) == ITEMS
    assert lines[-1]["finished"]["outcome"] == "answered"


def test_with_json_the_receipt_is_all_that_is_printed(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run("--throughput-per-s", "2", "--min-accuracy", "0.5", "--json") == 0

    receipt = json.loads(capsys.readouterr().out)
    assert receipt["requirement"]["throughput_per_s"] == 2
    assert receipt["plan"]["throughput_per_s"] >= 2


def test_a_floor_alone_is_enough_of_a_promise_and_time_is_saved(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run("--min-accuracy", "0.6", "--json") == 0

    assert json.loads(capsys.readouterr().out)["plan"]["prefer"] == "latency"


def test_what_cannot_be_done_is_declined_with_what_could_be(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run("--deadline-s", "30", "--min-accuracy", "0.95", "--out", "p.csv", "--receipt", "r.json") == 3

    printed = capsys.readouterr().out
    assert "Both promises together cannot be kept" in printed
    assert "no variant reaches 95.0 %; the best one here is 90.0 %" in printed
    assert "a floor of 90.0 % would do" in printed
    assert not (folder / "p.csv").exists()
    assert not (folder / "r.json").exists()


def test_declined_as_json_is_the_plan_with_its_closest(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run("--deadline-s", "0.001", "--min-accuracy", "0.9", "--json") == 3

    plan = json.loads(capsys.readouterr().out)
    assert plan["feasible"] is False
    assert plan["closest"]["fastest_at_floor"]["throughput_per_s"] > 0


def test_best_effort_runs_the_closest_plan_and_owns_up(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run("--deadline-s", "30", "--min-accuracy", "0.95", "--best-effort", "--json") == 4

    receipt = json.loads(capsys.readouterr().out)
    assert receipt["met"] == {"performance": True, "accuracy": False, "energy": True}
    assert receipt["answered"] == ITEMS


def test_unreadable_images_are_named_and_the_others_answered(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    (folder / "empty.png").write_bytes(b"")

    code = run("--deadline-s", "30", "--out", "p.csv", inputs=("grey.npy", "broken.png", "empty.png"))

    printed = capsys.readouterr().out
    assert code == 0
    assert "2 unreadable items:" in printed
    rows = {row["item"]: row for row in csv.DictReader((folder / "p.csv").read_text().splitlines())}
    assert len(rows) == ITEMS + 2
    assert rows["broken.png"]["error"]
    assert rows["broken.png"]["class_index"] == ""


def test_a_full_disk_ends_the_run_with_a_receipt(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "full.jsonl").symlink_to("/dev/full")

    assert run("--deadline-s", "30", "--out", "full.jsonl", "--receipt", "receipt.json") == 1

    assert "full.jsonl: cannot be written: No space left on device; 0 predictions are kept" in capsys.readouterr().err
    receipt = json.loads((folder / "receipt.json").read_text())
    assert receipt["answered"] == 0
    assert len(receipt["unanswered"]) == ITEMS
    assert "No space left" in receipt["unanswered"][0]["reason"]


def test_a_board_that_this_machine_cannot_play_is_refused_with_the_figures(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "boards.json").write_text(json.dumps(BOARDS | {"nodes": [board("quantum", 1e-7, 1e-7)]}))

    (folder / "p.csv").write_text("precious")

    assert run("--deadline-s", "30", "--out", "p.csv", "--force") == 1

    assert (folder / "p.csv").read_text() == "precious"
    assert "large on quantum/cpu is described as 0.0001 ms per item" in capsys.readouterr().err


def test_a_name_that_is_no_utf8_is_answered_and_named(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]):
    broken = os.fsdecode(b"bad\xff.jpg")
    (folder / broken).write_bytes(b"no image")

    code = run("--deadline-s", "30", "--out", "p.jsonl", "--receipt", "r.json", inputs=("grey.npy", broken))

    assert (code, r"bad\udcff.jpg: " in capsys.readouterr().out) == (0, True)
    assert b'"bad\xff.jpg"' in (folder / "r.json").read_bytes()
    assert b'"bad\xff.jpg"' in (folder / "p.jsonl").read_bytes()


def test_a_request_without_one_readable_item_is_an_error_and_still_has_a_receipt(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    (folder / "empty.png").write_bytes(b"")

    code = run("--deadline-s", "30", "--receipt", "r.json", inputs=("broken.png", "empty.png"))

    assert code == 1
    assert "error: none of the 2 items could be read; the first: broken.png: " in capsys.readouterr().err
    assert len(json.loads((folder / "r.json").read_text())["bad"]) == 2


def test_labels_of_other_items_are_warned_about(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]):
    np.save(folder / "other.npy", np.zeros((1, 8, 8, 3), dtype=np.uint8))
    (folder / "others.csv").write_text("file,class_index\nother.npy#0,0\n")

    assert run("--deadline-s", "30", "--labels", "others.csv") == 0

    assert "warning: others.csv labels none of the items" in capsys.readouterr().err
