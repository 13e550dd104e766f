"""A node's log: a line per event, as `time event key=value ...`, for people and for programs."""

from __future__ import annotations

import json
import sys
import time
from typing import TextIO


class NodeLog:
    """Writes lines to `file`, standard error by default; times are in UTC."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr

    def __call__(self, event: str, **facts: object) -> None:
        """Note an event. A fact that is None is left out; text with blanks or quotes in it stands in quotes."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = (f"{name}={_written(value)}" for name, value in facts.items() if value is not None)
        self._file.write(" ".join((now, event, *told)) + "\n")  # at once, because threads write, too
        self._file.flush()


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    plain = text and text.isprintable() and not any(mark in text for mark in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)
