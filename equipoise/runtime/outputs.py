"""Where answers go: a predictions file that is whole at every moment, and a scorecard for the receipt."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from equipoise.core.cluster import ProcessorId
from equipoise.errors import OutputError, UsageError
from equipoise.fabric.messages import Answer

PREDICTION_ENDINGS = (".jsonl", ".csv")
_COLUMNS = ("item", "class_index", "label", "score", "node", "processor", "variant", "error")


class Sink(Protocol):
    """Takes each item's one answer, in the order in which they come in."""

    def accept(self, answer: Answer, pid: ProcessorId, variant: str) -> None:
        """Keep an answer and who gave it. Raises OutputError if it cannot be kept."""


def check_output(path: Path, *, force: bool) -> None:
    """Refuse, before any work is done, a path that could not be written to afterwards.

    Raises UsageError if the file exists and `force` is not set, OutputError if the folder is missing or read-only.
    """
    if path.is_dir():
        raise OutputError("is a folder; name a file", path=path)
    if path.is_file() and not force:
        raise UsageError(f"{path} exists; pass --force to replace it, or name another file")
    if not path.parent.is_dir():
        raise OutputError(f"folder {str(path.parent)!r} does not exist", path=path)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError("cannot be written: permission denied or read-only", path=path)


class PredictionFile:
    """Writes a line per answer as it comes, JSON Lines or CSV by the file's ending.

    Every line is handed to the operating system whole; when the disk is full, what could not be written whole is
    cut off again. Creating it empties an existing file, so call `check_output` first.
    """

    def __init__(self, path: Path, *, name_of: Callable[[int], str], label_of: Callable[[int], str]) -> None:
        refuse_unknown_ending(path)
        self.path = path
        self.lines = 0
        self._name_of = name_of
        self._label_of = label_of
        self._as_line = _csv_line if path.suffix.lower() == ".csv" else _json_line
        self._whole_bytes = 0
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as e:
            raise OutputError(f"cannot be written: {e.strerror}", path=path) from e
        if path.suffix.lower() == ".csv":
            self._write(_csv_line({column: column for column in _COLUMNS}))

    def __enter__(self) -> PredictionFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accept(self, answer: Answer, pid: ProcessorId, variant: str) -> None:
        """Write the answer. Raises OutputError, which says how many lines are kept."""
        self._write(self._as_line(self._row(answer, pid, variant)))
        self.lines += 1

    def close(self) -> None:
        """Bring the lines to the disk and let go of the file."""
        if self._file.closed:
            return
        try:
            if self.path.is_file():
                os.fsync(self._file.fileno())
        except OSError as e:
            raise OutputError(f"cannot be brought to the disk: {e.strerror}", path=self.path) from e
        finally:
            self._file.close()

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
            self._whole_bytes += len(line)
        except OSError as e:
            self._cut_off_what_is_not_whole()
            raise OutputError(
                f"cannot be written: {e.strerror}; {self.lines} predictions are kept", path=self.path
            ) from e

    def _cut_off_what_is_not_whole(self) -> None:
        if self.path.is_file():
            self._file.truncate(self._whole_bytes)


def refuse_unknown_ending(path: Path) -> None:
    """Raise UsageError unless the ending says how predictions are to be written."""
    if path.suffix.lower() not in PREDICTION_ENDINGS:
        raise UsageError(f"predictions are written as {' or '.join(PREDICTION_ENDINGS)}, not as {path.name!r}")


def _json_line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", errors="surrogateescape")


def _csv_line(row: Mapping[str, Any]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n").writerow(row)
    return text.getvalue().encode("utf-8", errors="surrogateescape")


class Scorecard:
    """Counts what the receipt needs to know of the answers.

    truth   the right class by item index, for the items that have a label
    """

    def __init__(self, truth: Mapping[int, int]) -> None:
        self._truth = truth
        self.answered = 0  # with a class; items that cannot be read are in `faults`
        self.hits = 0
        self.labelled = 0
        self.faults: dict[int, str] = {}

    @classmethod
    def of_counts(cls, *, answered: int) -> Scorecard:
        """Where there are no answers to look at, only a count of them: in a simulation."""
        scorecard = cls({})
        scorecard.answered = answered
        return scorecard

    def accept(self, answer: Answer, _pid: ProcessorId, _variant: str) -> None:
        """Count an answer."""
        if answer.error is not None:
            self.faults[answer.item] = answer.error
            return
        self.answered += 1
        right = self._truth.get(answer.item)
        if right is not None:
            self.labelled += 1
            self.hits += answer.classes[0] == right


class Sinks:
    """Several sinks as one; each gets every answer in turn."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def accept(self, answer: Answer, pid: ProcessorId, variant: str) -> None:
        """Pass the answer on."""
        for sink in self._sinks:
            sink.accept(answer, pid, variant)
