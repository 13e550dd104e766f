"""Names that would command a terminal are shown instead."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.table import Table

from equipoise.cli.console import console_for, printable

NASTY = "photo\x1b[2J\x1b]0;owned\x07\x9b31m.jpg"


def shown(thing) -> str:
    out = io.StringIO()
    console_for(out).print(thing, markup=False)
    return out.getvalue()


def test_escape_sequences_in_text_and_tables_are_shown_as_pictures():
    table = Table("name")
    table.add_row(NASTY)

    for text in (shown(NASTY), shown(table)):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
        assert "\u241b[2J" in text


def test_lines_and_tabs_stay():
    assert printable("one\n\ttwo") == "one\n\ttwo"


def test_an_error_that_names_a_file_does_not_command_the_terminal(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-m", "equipoise", "run", str(tmp_path / NASTY), "--family", str(tmp_path)],
        capture_output=True,
        check=False,
    )

    assert ended.returncode != 0
    assert b"\x1b" not in ended.stderr + ended.stdout
    assert b"Traceback" not in ended.stderr
