"""A coordinator that is killed (SIGKILL), and `equipoise run --resume` on what it left behind."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.family import Family

ITEMS = 120
BOARDS = {
    "family": "tiny",
    "variants": [{"name": "small", "accuracy": 0.6}],
    "nodes": [
        {"name": name, "processors": [{"name": "cpu", "profiles": [{"variant": "small", "latency_s": {"1": 0.02}}]}]}
        for name in ("pi", "nano")
    ],
}
EVERY_ITEM = sorted(f"grey.npy#{row}" for row in range(ITEMS))
EMULATED = ("--cluster", "boards.json", "--emulate")


class Folder:
    """Where a request is run, with what it needs."""

    def __init__(self, path: Path, family: Family) -> None:
        self.path, self.family = path, family
        np.save(path / "grey.npy", np.stack([np.full((8, 8, 3), 32 + 64 * (i % 4), np.uint8) for i in range(ITEMS)]))
        rows = [f"grey.npy#{i},{i % 4}" for i in range(ITEMS)]
        (path / "labels.csv").write_text("\n".join(["file,class_index", *rows]) + "\n")
        (path / "boards.json").write_text(json.dumps(BOARDS))
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, where: Path | None = None) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"}
        process = subprocess.Popen(
            [sys.executable, "-m", "equipoise", "run", *arguments],
            cwd=where or self.path,
            env=environment | {"EQUIPOISE_DATA_DIR": str(self.path / "data")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def request(self, out: str, *more: str) -> subprocess.Popen[str]:
        files = ("--labels", "labels.csv", "--out", out, "--receipt", "r.json")
        return self.start("grey.npy", "--family", str(self.family.folder), *files, *more)

    def kill_after(self, process: subprocess.Popen[str], answers: int, out: str) -> None:
        """SIGKILL once the file has so many lines more than when this was called."""
        path = self.path / out
        before = path.read_bytes().count(b"\n") if path.exists() else 0
        while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < before + answers):
            time.sleep(0.005)
        process.kill()
        _, complaints = process.communicate()
        assert process.returncode == -9, f"it ended before it could be killed: {complaints}"

    def resume(self, *more: str) -> tuple[int, str, str]:
        process = self.start("--resume", "r.json", *more)
        printed, complaints = process.communicate(timeout=60)
        return process.returncode, printed, complaints

    def receipt(self) -> dict[str, Any]:
        receipt: dict[str, Any] = json.loads((self.path / "r.json").read_text())
        return receipt

    def rows(self, out: str) -> list[dict[str, Any]]:
        text = (self.path / out).read_text()
        return list(csv.DictReader(text.splitlines())) if out.endswith("csv") else [*map(json.loads, text.splitlines())]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def folder(tmp_path: Path, tiny_family: Family) -> Iterator[Folder]:
    folder = Folder(tmp_path, tiny_family)
    yield folder
    folder.close()


def assert_answered_once_and_rightly(folder: Folder, out: str) -> None:
    rows = folder.rows(out)
    assert sorted(row["item"] for row in rows) == EVERY_ITEM
    assert all(int(row["class_index"]) == int(row["item"].split("#")[1]) % 4 for row in rows)


@pytest.mark.parametrize("out", ["p.jsonl", "p.csv"])
def test_the_rest_is_answered_and_the_receipt_covers_the_whole(folder: Folder, out: str):
    folder.kill_after(folder.request(out, "--deadline-s", "600", *EMULATED), 30, out)
    with (folder.path / out).open("ab") as file:
        file.write(b'{"item": "grey.npy#7", "clas')  # torn, as a crash may leave it
    kept = len(folder.rows(out)[:-1]) if out.endswith("csv") else (folder.path / out).read_bytes().count(b"\n")

    code, printed, complaints = folder.resume()

    assert (code, complaints) == (0, ""), printed
    assert f"{kept} of {ITEMS} items are answered" in printed
    assert_answered_once_and_rightly(folder, out)
    receipt = folder.receipt()
    assert (receipt["outcome"], receipt["items"], receipt["answered"]) == ("answered", ITEMS, ITEMS)
    assert (receipt["accuracy"]["expected"], receipt["accuracy"]["measured"]["value"]) == (pytest.approx(0.6), 1.0)
    assert receipt["accuracy"]["measured"]["items"] == ITEMS
    assert sum(share["items"] for share in receipt["shares"]) == ITEMS
    assert receipt["plan"]["items"] == ITEMS
    (resumed,) = receipt["resumed"]
    assert resumed["answered"] == kept
    assert 0 < resumed["after_s"] < receipt["latency_s"]
    assert receipt["origin"]["predictions"]["lines"] == ITEMS


def test_who_goes_on_may_be_killed_as_well_and_again(folder: Folder):
    folder.kill_after(folder.request("p.jsonl", "--deadline-s", "600", *EMULATED), 15, "p.jsonl")
    for _ in range(2):
        folder.kill_after(folder.start("--resume", "r.json"), 15, "p.jsonl")

    assert folder.resume()[0] == 0

    assert_answered_once_and_rightly(folder, "p.jsonl")
    receipt = folder.receipt()
    answered = [one["answered"] for one in receipt["resumed"]]
    assert len(answered) == 3
    assert answered == sorted(answered)
    assert sum(share["items"] for share in receipt["shares"]) == ITEMS
    assert receipt["answered"] == ITEMS


def test_on_this_machine_alone_as_well(folder: Folder):
    warm = folder.request("warm.jsonl", "--deadline-s", "600")  # measures the family, this once
    assert warm.wait(timeout=120) == 0
    (folder.path / "p.jsonl").touch()
    run = folder.request("p.jsonl", "--deadline-s", "600", "--force")
    run.communicate(timeout=60)
    as_if_killed(folder, answers=50)

    code, printed, complaints = folder.resume()

    assert (code, complaints) == (0, ""), printed
    assert_answered_once_and_rightly(folder, "p.jsonl")


def as_if_killed(folder: Folder, *, answers: int) -> None:
    """What a run that is over would have left after so many answers."""
    lines = (folder.path / "p.jsonl").read_bytes().splitlines(keepends=True)[:answers]
    (folder.path / "p.jsonl").write_bytes(b"".join(lines))
    receipt = folder.receipt() | {"outcome": "running"}
    acknowledged = b"".join(lines[: answers // 2])
    receipt["origin"]["predictions"] = {
        "lines": answers // 2,
        "bytes": len(acknowledged),
        "sha256": hashlib.sha256(acknowledged).hexdigest(),
    }
    (folder.path / "r.json").write_text(json.dumps(receipt))


@pytest.fixture
def killed(folder: Folder) -> Callable[..., Folder]:
    """A run that was killed in the middle, with these options."""

    def killed(*more: str) -> Folder:
        folder.kill_after(folder.request("p.jsonl", *more, *EMULATED), 10, "p.jsonl")
        return folder

    return killed


def began_earlier(folder: Folder, by_s: float) -> None:
    receipt = folder.receipt()
    began = dt.datetime.fromisoformat(receipt["origin"]["started_at"]) - dt.timedelta(seconds=by_s)
    receipt["origin"]["started_at"] = began.isoformat()
    (folder.path / "r.json").write_text(json.dumps(receipt))


def test_a_deadline_goes_on_counting_and_the_rest_runs_late(killed: Callable[..., Folder]):
    folder = killed("--deadline-s", "600")
    began_earlier(folder, 3600)

    code, printed, _ = folder.resume()

    assert code == 4
    assert "the deadline passed" in printed
    assert "the rest runs late" in printed
    receipt = folder.receipt()
    assert (receipt["outcome"], receipt["met"]["performance"], receipt["answered"]) == ("answered", False, ITEMS)
    assert receipt["latency_s"] > 3600


def test_what_is_given_up_at_the_deadline_is_named_and_may_be_given_more_time(killed: Callable[..., Folder]):
    folder = killed("--deadline-s", "600", "--when-late", "stop")
    began_earlier(folder, 3600)

    code, printed, _ = folder.resume()

    assert code == 4
    assert "--deadline-s gives it more time" in printed
    receipt = folder.receipt()
    assert receipt["outcome"] == "stopped"
    assert receipt["answered"] + len(receipt["unanswered"]) == ITEMS
    assert {one["item"] for one in receipt["unanswered"]} == set(EVERY_ITEM) - {
        r["item"] for r in folder.rows("p.jsonl")
    }

    code, printed, _ = folder.resume("--deadline-s", "60")

    assert code == 0, printed
    assert_answered_once_and_rightly(folder, "p.jsonl")
    receipt = folder.receipt()
    assert receipt["met"]["performance"]
    assert receipt["requirement"]["deadline_s"] > 3600
    assert [one["deadline_s"] for one in receipt["resumed"]] == [None, 60]


def test_a_run_that_still_goes_on_is_left_alone(folder: Folder):
    run = folder.request("p.jsonl", "--deadline-s", "600", *EMULATED)
    while not (folder.path / "p.jsonl").exists() or not folder.rows("p.jsonl"):
        time.sleep(0.005)

    run.send_signal(signal.SIGSTOP)  # so that it cannot end meanwhile
    code, _, complaints = folder.resume()
    run.send_signal(signal.SIGCONT)

    assert (code, "p.jsonl: another run is writing to it" in complaints) == (1, True)
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert_answered_once_and_rightly(folder, "p.jsonl")


def test_a_run_that_is_over_leaves_nothing_to_do(folder: Folder):
    run = folder.request("p.jsonl", "--deadline-s", "600", *EMULATED)
    run.communicate(timeout=60)
    before = (folder.path / "r.json").read_bytes(), (folder.path / "p.jsonl").read_bytes()

    code, printed, _ = folder.resume()

    assert (code, "Nothing is left to do: r.json has answered every item" in printed) == (0, True)
    assert ((folder.path / "r.json").read_bytes(), (folder.path / "p.jsonl").read_bytes()) == before


def test_from_another_folder_paths_are_seen_from_where_it_was_started(killed: Callable[..., Folder], tmp_path: Path):
    folder = killed("--deadline-s", "600")
    (tmp_path / "elsewhere").mkdir()

    process = folder.start("--resume", "../r.json", "--json", where=tmp_path / "elsewhere")
    printed, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert json.loads(printed)["answered"] == ITEMS
    assert_answered_once_and_rightly(folder, "p.jsonl")
