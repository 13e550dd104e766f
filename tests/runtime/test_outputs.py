from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from equipoise.core.cluster import ProcessorId
from equipoise.errors import OutputError, UsageError
from equipoise.fabric.messages import Answer
from equipoise.runtime.outputs import Scorecard, Sinks, check_output
from equipoise.runtime.predictions import PredictionFile

PI = ProcessorId("pi4", "cpu")
CAT = Answer(item=0, classes=(281, 7), scores=(0.875, 0.125))
UNREADABLE = Answer(item=1, error="truncated image")
NAMES = ["photos/a,b.jpg", "photos/b.jpg"]


def predictions(path: Path) -> PredictionFile:
    return PredictionFile(path, name_of=NAMES.__getitem__, label_of=lambda index: f"class {index}").begin()


def test_json_lines_say_what_an_item_is_and_who_says_so(tmp_path: Path):
    with predictions(tmp_path / "p.jsonl") as file:
        file.accept(CAT, PI, "small")
        file.accept(UNREADABLE, PI, "small")

    cat, unreadable = map(json.loads, (tmp_path / "p.jsonl").read_text().splitlines())
    assert cat == {
        "item": "photos/a,b.jpg",
        "class_index": 281,
        "label": "class 281",
        "score": 0.875,
        "node": "pi4",
        "processor": "cpu",
        "variant": "small",
        "top": [
            {"class_index": 281, "label": "class 281", "score": 0.875},
            {"class_index": 7, "label": "class 7", "score": 0.125},
        ],
    }
    assert unreadable == {"item": "photos/b.jpg", "error": "truncated image"}


def test_csv_has_a_header_and_the_best_class_of_each_item(tmp_path: Path):
    with predictions(tmp_path / "p.csv") as file:
        file.accept(CAT, PI, "small")
        file.accept(UNREADABLE, PI, "small")

    cat, unreadable = csv.DictReader((tmp_path / "p.csv").read_text().splitlines())
    assert (cat["item"], cat["class_index"], cat["variant"]) == ("photos/a,b.jpg", "281", "small")
    assert (unreadable["item"], unreadable["class_index"], unreadable["error"]) == (NAMES[1], "", "truncated image")


def test_a_line_is_in_the_file_as_soon_as_the_answer_is_in(tmp_path: Path):
    file = predictions(tmp_path / "p.jsonl")

    file.accept(CAT, PI, "small")

    assert (tmp_path / "p.jsonl").read_text().count("\n") == 1
    file.close()


def test_names_that_are_not_unicode_come_out_byte_for_byte(tmp_path: Path):
    name = os.fsdecode(b"photos/caf\xe9.jpg")
    with PredictionFile(tmp_path / "p.jsonl", name_of=lambda _: name, label_of=str).begin() as file:
        file.accept(CAT, PI, "small")

    assert b"photos/caf\xe9.jpg" in (tmp_path / "p.jsonl").read_bytes()


def test_a_full_disk_is_an_error_that_says_how_much_is_kept(tmp_path: Path):
    (tmp_path / "p.jsonl").symlink_to("/dev/full")
    file = predictions(tmp_path / "p.jsonl")

    with pytest.raises(OutputError, match=r"No space left on device; 0 predictions are kept"):
        file.accept(CAT, PI, "small")
    file.close()


def test_what_could_not_be_written_whole_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = predictions(tmp_path / "p.jsonl")
    file.accept(CAT, PI, "small")
    whole = (tmp_path / "p.jsonl").read_bytes()
    file._file = FillsUp(file._file, room_bytes=10)

    with pytest.raises(OutputError, match="1 predictions are kept"):
        file.accept(CAT, PI, "small")

    assert (tmp_path / "p.jsonl").read_bytes() == whole
    file.close()


class FillsUp:
    """A file on a disk with little room left."""

    def __init__(self, file, room_bytes: int) -> None:
        self.file, self.room_bytes = file, room_bytes

    def write(self, data: bytes) -> int:
        if not self.room_bytes:
            raise OSError(28, "No space left on device")
        written = self.file.write(data[: self.room_bytes])
        self.room_bytes -= written
        return written

    def __getattr__(self, name: str):
        return getattr(self.file, name)


def test_an_ending_that_says_nothing_about_the_format_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"written as \.jsonl or \.csv, not as 'p\.txt'"):
        predictions(tmp_path / "p.txt")


def test_paths_that_cannot_be_written_are_refused_before_work_starts(tmp_path: Path):
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path, force=False)
    with pytest.raises(OutputError, match="does not exist"):
        check_output(tmp_path / "missing" / "p.csv", force=False)
    with pytest.raises(OutputError, match="permission denied or read-only"):
        check_output(Path("/proc/self/p.csv"), force=False)


def test_an_existing_file_is_replaced_only_on_demand(tmp_path: Path):
    path = tmp_path / "p.csv"
    path.write_text("precious")

    with pytest.raises(UsageError, match="exists; pass --force"):
        check_output(path, force=False)
    check_output(path, force=True)

    assert path.read_text() == "precious"


def test_the_scorecard_counts_hits_only_among_items_with_a_label():
    scorecard = Scorecard({0: 281, 1: 3})

    for answer in (CAT, UNREADABLE, Answer(item=2, classes=(5,), scores=(1.0,))):
        Sinks(scorecard).accept(answer, PI, "small")

    assert (scorecard.answered, scorecard.labelled, scorecard.hits) == (2, 1, 1)
    assert scorecard.faults == {1: "truncated image"}
