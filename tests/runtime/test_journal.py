"""What is on the disk while a request runs: nothing is acknowledged before it is there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from receipts import receipt_of, scored

from equipoise.core.cluster import ProcessorId
from equipoise.core.receipt import RUNNING, Acknowledged, Origin, Receipt
from equipoise.errors import OutputError
from equipoise.fabric.messages import Answer
from equipoise.runtime.journal import Journal
from equipoise.runtime.predictions import PredictionFile

PI = ProcessorId("pi4", "cpu")


def answer(item: int) -> Answer:
    return Answer(item=item, classes=(1,), scores=(0.5,))


def so_far(written: Acknowledged | None) -> Receipt:
    origin = Origin(
        folder="/", inputs=(), inputs_sha256="", family="f", family_sha256="", cluster_name="c", predictions=written
    )
    return msgspec.structs.replace(receipt_of(scored(1)), outcome=RUNNING, origin=origin)


def predictions(path: Path) -> PredictionFile:
    return PredictionFile(path, name_of=str, label_of=str)


def acknowledged(receipt: Path) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(receipt.read_text())["origin"]["predictions"]
    return found


async def keep_up(journal: Journal, during: Any = None) -> list[OutputError]:
    errors: list[OutputError] = []
    async with journal.kept(so_far, errors.append):
        if during is not None:
            await during()
    return errors


def test_a_receipt_is_there_before_any_work_is_done(tmp_path: Path):
    async def look() -> None:
        assert json.loads((tmp_path / "r.json").read_text())["outcome"] == "running"
        assert acknowledged(tmp_path / "r.json") == {"lines": 0, "bytes": 0, "sha256": hashlib.sha256().hexdigest()}

    with predictions(tmp_path / "p.jsonl") as file:
        asyncio.run(keep_up(Journal(tmp_path / "r.json", file), look))


def test_what_the_receipt_acknowledges_was_brought_to_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    by_descriptor = os.fsync

    def fsync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        by_descriptor(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    file = predictions(tmp_path / "p.jsonl")
    journal = Journal(tmp_path / "r.json", file, period_s=0.001)

    async def until_acknowledged() -> None:
        done.clear()
        file.accept(answer(0), PI, "v")
        while (acknowledged(tmp_path / "r.json") or {})["lines"] == 0:
            await asyncio.sleep(0.001)

    assert asyncio.run(keep_up(journal, until_acknowledged)) == []
    file.close()
    written = (tmp_path / "p.jsonl").read_bytes()
    assert acknowledged(tmp_path / "r.json") == {
        "lines": 1,
        "bytes": len(written),
        "sha256": hashlib.sha256(written).hexdigest(),
    }
    receipt = f".r.json.{os.getpid()}"
    assert done[:3] == ["p.jsonl", receipt, tmp_path.name]


def test_an_old_receipt_is_replaced_before_old_predictions_are_emptied(tmp_path: Path):
    (tmp_path / "p.jsonl").write_text("old\n")
    (tmp_path / "r.json").write_text("old")
    file = predictions(tmp_path / "p.jsonl")
    seen: list[tuple[str, bool]] = []

    def looking(written: Acknowledged | None) -> Receipt:
        seen.append(((tmp_path / "p.jsonl").read_text(), written is None))
        return so_far(written)

    async def go() -> None:
        async with Journal(tmp_path / "r.json", file).kept(looking, lambda _: None):
            pass

    asyncio.run(go())
    file.close()
    assert seen == [("old\n", True), ("", False)]


def test_a_receipt_that_can_no_longer_be_written_is_told_once(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    journal = Journal(tmp_path / "folder" / "r.json", period_s=0.001)
    told = asyncio.Event()
    errors: list[OutputError] = []

    def on_error(error: OutputError) -> None:
        errors.append(error)
        told.set()

    async def go() -> None:
        async with journal.kept(so_far, on_error):
            (tmp_path / "folder" / "r.json").unlink()
            (tmp_path / "folder").rmdir()
            await told.wait()

    asyncio.run(go())
    assert len(errors) == 1
    assert "the receipt cannot be written" in str(errors[0])


def test_a_receipt_that_goes_to_a_device_is_not_kept_up(tmp_path: Path):
    assert asyncio.run(keep_up(Journal(Path("/dev/full")))) == []


def test_without_files_nothing_is_kept_up():
    def never(_written: Acknowledged | None) -> Receipt:
        raise AssertionError("nobody reads it")

    async def keep_nothing() -> None:
        async with Journal().kept(never, lambda _error: None):
            pass

    asyncio.run(keep_nothing())


def test_two_runs_cannot_write_to_one_file(tmp_path: Path):
    with (
        predictions(tmp_path / "p.jsonl"),
        pytest.raises(OutputError, match=r"p\.jsonl: another run is writing to it"),
    ):
        predictions(tmp_path / "p.jsonl")
