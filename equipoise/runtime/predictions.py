"""The predictions file: a line per answer, whole at every moment, brought to the disk in groups, read back later."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from equipoise.core.cluster import ProcessorId
from equipoise.core.receipt import Acknowledged
from equipoise.errors import OutputError, UsageError
from equipoise.fabric.messages import Answer
from equipoise.runtime.outputs import refuse_unknown_ending

_COLUMNS = ("item", "class_index", "label", "score", "node", "processor", "variant", "error")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One answer as the file has it: a class and who gave it, or why there is none."""

    item: str
    class_index: int | None = None
    node: str = ""
    processor: str = ""
    variant: str = ""
    error: str | None = None

    def __post_init__(self) -> None:
        if (self.class_index is None) == (self.error is None):
            raise ValueError("an answer is either a class or an error")

    @property
    def pid(self) -> ProcessorId:
        """Who answered."""
        return ProcessorId(self.node, self.processor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a predictions file still has of a run that was cut short: its whole lines, and what they say."""

    whole: bytes = b""
    rows: tuple[Row, ...] = ()


class PredictionFile:
    """Writes a line per answer as it comes, JSON Lines or CSV by the file's ending.

    Every line is handed to the operating system whole; when the disk is full, what could not be written whole is
    cut off again. While it is open, no other run can open it. Nothing is changed until `begin`.
    Raises UsageError for an ending that it does not know, OutputError if the file cannot be opened or another run
    writes to it.
    """

    def __init__(self, path: Path, *, name_of: Callable[[int], str], label_of: Callable[[int], str]) -> None:
        refuse_unknown_ending(path)
        self.path = path
        self.lines = 0
        self._name_of = name_of
        self._label_of = label_of
        self._as_line = _csv_line if _is_csv(path) else _json_line
        self._whole_bytes = 0
        self._hash = hashlib.sha256()
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as e:
            raise OutputError(f"cannot be written: {e.strerror}", path=path) from e
        self._regular = path.is_file()
        self._lock()

    def __enter__(self) -> PredictionFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, kept: Kept | None = None) -> PredictionFile:
        """Cut off all but what is kept of an earlier run, and go on behind it. Raises OutputError."""
        kept = kept or Kept()
        self.lines, self._whole_bytes = len(kept.rows), len(kept.whole)
        self._hash = hashlib.sha256(kept.whole)
        try:
            self._cut_off_what_is_not_whole()
            if self._regular:
                sync_folder(self.path.parent)  # that the file is there has to be on the disk, too
        except OSError as e:
            raise OutputError(f"cannot be written: {e.strerror}", path=self.path) from e
        if self._whole_bytes == 0 and _is_csv(self.path):
            self._write(_csv_line({column: column for column in _COLUMNS}))
        return self

    def accept(self, answer: Answer, pid: ProcessorId, variant: str) -> None:
        """Write the answer. Raises OutputError, which says how many lines are kept."""
        self._write(self._as_line(self._row(answer, pid, variant)))
        self.lines += 1

    @property
    def written(self) -> Acknowledged:
        """What is written by now. It may be acknowledged once `sync` was called and has returned."""
        return Acknowledged(lines=self.lines, bytes=self._whole_bytes, sha256=self._hash.hexdigest())

    def sync(self) -> None:
        """Bring the lines to the disk; from any thread. Raises OutputError."""
        try:
            if self._regular:
                os.fsync(self._file.fileno())
        except OSError as e:
            raise OutputError(f"cannot be brought to the disk: {e.strerror}", path=self.path) from e

    def close(self) -> None:
        """Bring the lines to the disk and let go of the file. Raises OutputError."""
        if self._file.closed:
            return
        try:
            self.sync()
        finally:
            self._file.close()

    def _lock(self) -> None:
        if not self._regular:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise OutputError(
                "another run is writing to it; wait for that one, or name another file", path=self.path
            ) from None
        except OSError:
            pass  # a file system without locks: two runs at once are then up to the user

    def _row(self, answer: Answer, pid: ProcessorId, variant: str) -> dict[str, Any]:
        row: dict[str, Any] = {"item": self._name_of(answer.item)}
        if answer.error is not None:
            return row | {"error": answer.error}
        ranked = [
            {"class_index": index, "label": self._label_of(index), "score": round(score, 6)}
            for index, score in zip(answer.classes, answer.scores, strict=True)
        ]
        who = {"node": pid.node, "processor": pid.processor, "variant": variant}
        return row | ranked[0] | who | {"top": ranked}

    def _write(self, line: bytes) -> None:
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError as e:
            self._cut_off_what_is_not_whole()
            raise OutputError(
                f"cannot be written: {e.strerror}; {self.lines} predictions are kept", path=self.path
            ) from e
        self._whole_bytes += len(line)
        self._hash.update(line)

    def _cut_off_what_is_not_whole(self) -> None:
        if self._regular:
            self._file.truncate(self._whole_bytes)


def sync_folder(folder: Path) -> None:
    """Bring to the disk which files a folder has. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_kept(path: Path, acknowledged: Acknowledged | None) -> Kept:
    """What is kept in a predictions file of which so much was acknowledged; None if it was not even begun.

    That is every whole line up to the first that is torn: behind what was acknowledged a crash may leave anything.
    Raises UsageError if what was acknowledged is no longer there, OutputError if the file cannot be read.
    """
    if acknowledged is None:
        return Kept()
    try:
        written = path.read_bytes()
    except OSError as e:
        raise OutputError(f"cannot be read: {e.strerror}; its answers are what would be gone on from", path=path) from e
    if hashlib.sha256(written[: acknowledged.bytes]).hexdigest() != acknowledged.sha256:
        raise UsageError(
            f"{path} is no longer what the run wrote: its first {acknowledged.lines} lines have changed; "
            "put it back, or run the request anew"
        )
    rows, whole_bytes = _whole_rows(written, csv_rows=_is_csv(path))
    return Kept(whole=written[:whole_bytes], rows=rows)


def _whole_rows(written: bytes, *, csv_rows: bool) -> tuple[tuple[Row, ...], int]:
    """Every row before the first that is not whole, and how many bytes they and the header take."""
    rows: list[Row] = []
    end = 0
    for record in _records(written, quoted=csv_rows):
        if not (csv_rows and end == 0 and record == _csv_line({column: column for column in _COLUMNS})):
            try:
                rows.append(_row_of_csv(record) if csv_rows else _row_of_json(record))
            except (ValueError, csv.Error):  # of msgspec and json, too
                break
        end += len(record)
    return tuple(rows), end


def _records(written: bytes, *, quoted: bool) -> Iterator[bytes]:
    """Everything that ends with a newline; one between quotes ends nothing. What comes behind the last is left out."""
    pieces = written.split(b"\n")[:-1]
    record = b""
    for piece in pieces:
        record += piece + b"\n"
        if not quoted or record.count(b'"') % 2 == 0:
            yield record
            record = b""


def _row_of_json(record: bytes) -> Row:
    return msgspec.convert(json.loads(_text(record)), Row)


def _row_of_csv(record: bytes) -> Row:
    (fields,) = csv.reader(io.StringIO(_text(record), newline=""))
    row = dict(zip(_COLUMNS, fields, strict=True))
    return Row(
        item=row["item"],
        class_index=int(row["class_index"]) if row["class_index"] else None,
        node=row["node"],
        processor=row["processor"],
        variant=row["variant"],
        error=row["error"] if not row["class_index"] else None,
    )


def _text(record: bytes) -> str:
    return record.decode("utf-8", errors="surrogateescape")  # names of files may be any bytes


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _json_line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", errors="surrogateescape")


def _csv_line(row: Mapping[str, Any]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n").writerow(row)
    return text.getvalue().encode("utf-8", errors="surrogateescape")
