"""`equipoise run --resume` where it cannot go on, or has nothing to do: what it says, and that it changes nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.cli import main
from equipoise.cli.console import console_for
from equipoise.cli.report import TextReport
from equipoise.core.family import Family

ITEMS = 12
PROFILE = {"variant": "small", "latency_s": {"1": 0.005}}
BOARDS = {
    "family": "tiny",
    "variants": [{"name": "small", "accuracy": 0.6}],
    "nodes": [{"name": "pi", "processors": [{"name": "cpu", "profiles": [PROFILE]}]}],
}


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["run", *arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, tiny_family: Family) -> Path:
    """A run of 12 items that is over: its folder, with the family in it."""
    folder = tmp_path_factory.mktemp("answered")
    shutil.copytree(tiny_family.folder, folder / "family")
    np.save(folder / "grey.npy", np.stack([np.full((8, 8, 3), 32 + 64 * (i % 4), np.uint8) for i in range(ITEMS)]))
    (folder / "boards.json").write_text(json.dumps(BOARDS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        files = ("--out", "p.jsonl", "--receipt", "r.json")
        boards = ("--cluster", "boards.json", "--emulate")
        assert code_of("grey.npy", "--family", "family", "--deadline-s", "60", *files, *boards) == 0
    return folder


@pytest.fixture
def killed(answered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """The same run as if it had been killed after five answers, three of them acknowledged; in its folder."""

    def killed(**origin: Any) -> Path:
        folder = tmp_path / "killed"
        shutil.copytree(answered, folder)
        monkeypatch.chdir(folder)
        lines = (folder / "p.jsonl").read_bytes().splitlines(keepends=True)[:5]
        (folder / "p.jsonl").write_bytes(b"".join(lines))
        acknowledged = b"".join(lines[:3])
        receipt = json.loads((folder / "r.json").read_text()) | {"outcome": "running"}
        receipt["origin"] |= {
            "folder": str(folder),
            "predictions": {
                "lines": 3,
                "bytes": len(acknowledged),
                "sha256": hashlib.sha256(acknowledged).hexdigest(),
            },
        } | origin
        (folder / "r.json").write_text(json.dumps(receipt))
        return folder

    return killed


def test_what_is_left_is_answered_in_this_process_too(killed: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    folder = killed()

    assert code_of("--resume", "r.json") == 0

    assert "Going on with " in capsys.readouterr().out
    rows = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    assert sorted(row["item"] for row in rows) == sorted(f"grey.npy#{row}" for row in range(ITEMS))
    assert Path.cwd() == folder


def test_all_that_was_missing_was_the_receipt(killed: Callable[..., Path], answered: Path):
    folder = killed()
    shutil.copy(answered / "p.jsonl", folder / "p.jsonl")

    assert code_of("--resume", "r.json") == 0

    receipt = json.loads((folder / "r.json").read_text())
    assert (receipt["outcome"], receipt["answered"], receipt["unanswered"]) == ("answered", ITEMS, [])
    assert receipt["origin"]["predictions"]["lines"] == ITEMS


def _other_inputs(folder: Path) -> None:
    np.save(folder / "grey.npy", np.zeros((ITEMS, 8, 8, 3), np.uint8))


def _more_inputs(folder: Path) -> None:
    np.save(folder / "grey.npy", np.zeros((ITEMS + 1, 8, 8, 3), np.uint8))


def _other_family(folder: Path) -> None:
    labels = folder / "family" / "labels.txt"
    labels.write_text(labels.read_text().replace("dark", "gloomy"))


def _other_answers(folder: Path) -> None:
    predictions = folder / "p.jsonl"
    predictions.write_text(predictions.read_text().replace("small", "large"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_other_inputs, "the inputs have changed since the run began: grey.npy; put them back"),
        (_more_inputs, "the inputs have changed since the run began: there are 13 items now, and were 12"),
        (lambda folder: (folder / "grey.npy").unlink(), "there is no file or folder 'grey.npy'"),
        (_other_family, "family family has changed since the run began"),
        (_other_answers, "p.jsonl is no longer what the run wrote: its first 3 lines have changed"),
        (lambda folder: (folder / "p.jsonl").unlink(), "p.jsonl, which has the answers so far, is not there"),
    ],
)
def test_what_has_changed_since_is_named(
    killed: Callable[..., Path], change: Callable[[Path], None], complaint: str, capsys: pytest.CaptureFixture[str]
):
    folder = killed()
    change(folder)
    before = (folder / "r.json").read_bytes()

    assert code_of("--resume", "r.json") == 2

    assert complaint in capsys.readouterr().err
    assert (folder / "r.json").read_bytes() == before


def test_without_kept_answers_there_is_nothing_to_go_on_from(
    killed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    killed(out=None)

    assert code_of("--resume", "r.json") == 2

    said = capsys.readouterr().err
    assert "r.json cannot be gone on with: its answers were not kept: --out was not given; run the request anew" in said
    assert "needs both --out FILE, for its answers, and --receipt FILE, for --resume" in said


def test_a_run_that_ends_early_says_how_to_go_on_with_it(
    killed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    past = "2020-01-01T00:00:00+00:00"
    folder = killed(started_at=past)
    receipt = json.loads((folder / "r.json").read_text())
    receipt["requirement"]["when_late"] = "stop"
    (folder / "r.json").write_text(json.dumps(receipt))

    assert code_of("--resume", "r.json") == 4

    assert f"To go on with it: equipoise run --resume {folder / 'r.json'}" in capsys.readouterr().out


def test_one_that_kept_no_answers_says_what_it_would_have_taken(capsys: pytest.CaptureFixture[str]):
    TextReport(console_for()).cut_short(None)

    assert "It cannot be gone on with: that takes --out and --receipt from the start." in capsys.readouterr().out


def test_a_folder_that_is_gone_is_named(killed: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    killed(folder="/nowhere")

    assert code_of("--resume", "r.json") == 2

    assert "the run was started in /nowhere: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", '{"outcome": "running"}', "{" * 100_000, '"\ud83d'])
def test_what_is_no_receipt_is_refused(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "r.json").write_text(content, errors="surrogatepass")

    assert code_of("--resume", str(tmp_path / "r.json")) == 1

    assert "r.json: is no receipt of `equipoise run`" in capsys.readouterr().err


def test_a_receipt_that_is_not_there_is_said_to_be_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert code_of("--resume", str(tmp_path / "r.json")) == 1

    said = capsys.readouterr().err
    assert "r.json: cannot be read: no such file" in said
    assert "needs both --out FILE, for its answers, and --receipt FILE, for --resume" in said


def test_what_the_receipt_says_cannot_be_said_anew(killed: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    killed()

    assert code_of("grey.npy", "--family", "demo", "--resume", "r.json", "--seed", "1") == 2

    assert "--resume takes inputs, --family, --seed from the receipt" in capsys.readouterr().err


def test_without_resume_inputs_and_family_must_be_given(capsys: pytest.CaptureFixture[str]):
    assert code_of("--deadline-s", "5") == 2
    assert "inputs (files, folders, patterns or .npy arrays) must be given" in capsys.readouterr().err
    assert code_of("grey.npy", "--deadline-s", "5") == 2
    assert "--family DIR must be given" in capsys.readouterr().err


def test_time_for_the_rest_must_make_sense(killed: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    killed()

    assert code_of("--resume", "r.json", "--deadline-s", "-5") == 2

    assert "--deadline-s must be" in capsys.readouterr().err
