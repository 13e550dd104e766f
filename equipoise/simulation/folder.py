"""A run's results as files: a folder per strategy and seed, with the time line and a receipt per request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from equipoise.errors import OutputError, UsageError
from equipoise.runtime.receipt import write_receipt
from equipoise.simulation.outcome import Outcome
from equipoise.simulation.records import Record, Recorder

TIME_LINE = "timeline.jsonl"


def check_folder(folder: Path, *, force: bool) -> None:
    """Raise UsageError if there is something in the folder already, and OutputError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as error:
        raise OutputError(f"cannot be made or read: {error.strerror}", path=folder) from error
    if occupied and not force:
        raise UsageError(f"{folder} is not empty; pass --force to write into it all the same, or name another folder")


def folder_of(root: Path, strategy: str, seed: int) -> Path:
    """Where a run's files are."""
    return root / strategy / f"seed-{seed}"


@contextmanager
def time_line(folder: Path) -> Iterator[Recorder]:
    """A recorder that writes a line of JSON per record. Raises OutputError."""
    path = folder / TIME_LINE
    encoder = msgspec.json.Encoder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:

            def record(record: Record) -> None:
                file.write(encoder.encode(record) + b"\n")

            yield record
    except OSError as error:
        raise OutputError(f"the time line cannot be written: {error.strerror}", path=path) from error


def write_summary(root: Path, summary: dict[str, Any]) -> None:
    """The figures of all runs. Raises OutputError."""
    path = root / "summary.json"
    try:
        path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"the summary cannot be written: {error.strerror}", path=path) from error


def write_streams(folder: Path, outcome: Outcome) -> None:
    """A file for every stream: what it was admitted or declined with, and what came of it. Raises OutputError."""
    streams = folder / "streams"
    try:
        for asked in outcome.streams:
            streams.mkdir(parents=True, exist_ok=True)
            (streams / f"{asked.name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(asked)) + b"\n")
    except OSError as error:
        raise OutputError(f"the streams cannot be written: {error.strerror}", path=streams) from error


def write_receipts(folder: Path, outcome: Outcome) -> None:
    """A file for every request that was admitted, as `equipoise run --receipt` writes it. Raises OutputError."""
    receipts = folder / "receipts"
    try:
        receipts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the receipts cannot be written: {error.strerror}", path=receipts) from error
    for asked in outcome.requests:
        if asked.receipt is not None:
            write_receipt(receipts / f"{asked.name}.json", asked.receipt)
