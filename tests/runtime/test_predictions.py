"""Predictions read back after a crash: every whole line, whatever comes behind."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equipoise.core.cluster import ProcessorId
from equipoise.core.receipt import Acknowledged
from equipoise.errors import UsageError
from equipoise.fabric.messages import Answer
from equipoise.runtime.predictions import Kept, PredictionFile, Row, read_kept

PI = ProcessorId("pi 4", "cpu, slow")
NAMES = ['a"b.jpg', "two\nlines.jpg", "c,d.jpg", os.fsdecode(b"caf\xe9.jpg"), "plain.jpg"]
ANSWERS = [
    Answer(item=item, error=f'no "image",\nbut {item}')
    if item % 3 == 2
    else Answer(item=item, classes=(item, 9), scores=(0.75, 0.25))
    for item in range(len(NAMES))
]
BEGUN = Acknowledged(lines=0, bytes=0, sha256=hashlib.sha256().hexdigest())
ENDINGS = ("jsonl", "csv")


def opened(path: Path) -> PredictionFile:
    return PredictionFile(path, name_of=NAMES.__getitem__, label_of=lambda index: f"class {index}")


def written(path: Path, answers: Sequence[Answer] = ANSWERS) -> Acknowledged:
    with opened(path).begin() as file:
        for answer in answers:
            file.accept(answer, PI, "v")
        return file.written


def rows_of(answers: Sequence[Answer]) -> tuple[Row, ...]:
    return tuple(
        Row(item=NAMES[answer.item], error=answer.error)
        if answer.error is not None
        else Row(
            item=NAMES[answer.item], class_index=answer.classes[0], node=PI.node, processor=PI.processor, variant="v"
        )
        for answer in answers
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_written_is_read_back(tmp_path: Path, ending: str):
    path = tmp_path / f"p.{ending}"
    acknowledged = written(path)

    kept = read_kept(path, acknowledged)

    assert kept == Kept(whole=path.read_bytes(), rows=rows_of(ANSWERS))
    assert (acknowledged.lines, acknowledged.bytes) == (len(ANSWERS), path.stat().st_size)


@pytest.mark.parametrize("ending", ENDINGS)
def test_cut_off_at_any_byte_the_whole_lines_are_kept_and_the_rest_goes_behind_them(tmp_path: Path, ending: str):
    path = tmp_path / f"p.{ending}"
    ends = [written(path, ANSWERS[:count]).bytes for count in range(len(ANSWERS) + 1)]
    everything = path.read_bytes()

    for cut in range(len(everything) + 1):
        path.write_bytes(everything[:cut])
        kept = read_kept(path, BEGUN)
        whole = sum(end <= cut for end in ends[1:])
        assert kept.rows == rows_of(ANSWERS[:whole]), cut
        with opened(path).begin(kept) as file:
            for answer in ANSWERS[whole:]:
                file.accept(answer, PI, "v")
            assert file.written.sha256 == hashlib.sha256(everything).hexdigest()
        assert path.read_bytes() == everything, cut


@pytest.mark.parametrize("ending", ENDINGS)
@given(whole=st.integers(0, len(ANSWERS)), tail=st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_crash_leaves_behind_the_whole_lines_costs_none_of_them(
    tmp_path: Path, ending: str, whole: int, tail: bytes
):
    path = tmp_path / f"p.{ending}"
    acknowledged = written(path, ANSWERS[:whole])
    path.write_bytes(path.read_bytes() + tail)

    kept = read_kept(path, acknowledged)

    assert kept.rows[:whole] == rows_of(ANSWERS[:whole])
    assert path.read_bytes().startswith(kept.whole)
    assert len(kept.whole) >= acknowledged.bytes


def test_a_file_that_was_not_begun_is_begun_anew_whatever_is_in_it(tmp_path: Path):
    (tmp_path / "p.jsonl").write_text("of another run\n")

    assert read_kept(tmp_path / "p.jsonl", None) == Kept()


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_acknowledged_and_is_no_longer_there_is_refused(tmp_path: Path, ending: str):
    path = tmp_path / f"p.{ending}"
    acknowledged = written(path)
    changed = path.read_bytes().replace(b"plain", b"PLAIN")
    for content in (changed, changed[:40], b""):
        path.write_bytes(content)

        with pytest.raises(UsageError, match="is no longer what the run wrote: its first 5 lines have changed"):
            read_kept(path, acknowledged)
