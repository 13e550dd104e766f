"""A node's log: a line per event, as `time event key=value ...`, for people and for programs.

An event is one or more words. A value that has anything but plain letters stands in quotes, as a JSON string; whatever
cannot be printed is escaped, so that a line is a line, and no name of a file or message of a peer drives a terminal.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from typing import TextIO


class NodeLog:
    """Writes lines to `file`, standard error by default; times are in UTC. Any thread may call."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr

    def __call__(self, event: str, **facts: object) -> None:
        """Note an event. A fact that is None is left out."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = (f"{name}={_written(value)}" for name, value in facts.items() if value is not None)
        with suppress(OSError):  # a full disk must not stop the work
            self._file.write(" ".join((now, event, *told)) + "\n")  # at once, because threads write, too
            self._file.flush()


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    plain = text and text.isprintable() and not any(mark in text for mark in ' "=\\')
    return text if plain else _escaped(json.dumps(text, ensure_ascii=False))


def _escaped(text: str) -> str:
    """With what JSON leaves as it is and no terminal should see, as escapes of JSON."""
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
