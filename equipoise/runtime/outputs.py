"""Where answers go, and which files they may go to; a scorecard counts them for the receipt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from equipoise.core.cluster import ProcessorId
from equipoise.errors import OutputError, UsageError
from equipoise.fabric.messages import Answer

PREDICTION_ENDINGS = (".jsonl", ".csv")


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


def refuse_unknown_ending(path: Path) -> None:
    """Raise UsageError unless the ending says how predictions are to be written."""
    if path.suffix.lower() not in PREDICTION_ENDINGS:
        raise UsageError(f"predictions are written as {' or '.join(PREDICTION_ENDINGS)}, not as {path.name!r}")


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
