"""What commands print: to a terminal as it is wide, plain and wide elsewhere, and never what would command a terminal.

Names of files, answers of nodes and other people's descriptions may contain escape sequences.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_PIPE_COLUMNS = 120  # wide enough that no table is cut where there is no terminal to ask for its width
_PICTURES = 0x2400  # of the control characters, in their order
_SHOWN = {
    **{code: _PICTURES + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}


def console_for(stream: TextIO | None = None) -> Console:
    """A console on `stream` (stdout by default), plain and wide where that is not a terminal."""
    stream = sys.stdout if stream is None else stream
    return _Console(file=stream, highlight=False, width=None if stream.isatty() else _PIPE_COLUMNS)


def printable(text: str) -> str:
    """The text with pictures of its control characters, but lines and tabs as they are."""
    return text.translate(_SHOWN)


class _Console(Console):
    """Shows control characters in what it is given; its own, which colour and move, pass."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See rich.console.Console."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
