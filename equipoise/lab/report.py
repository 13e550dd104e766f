"""Writes a study as a folder: the page, its figures, its numbers. Needs the extra `lab`."""

from __future__ import annotations

from pathlib import Path

from equipoise.errors import OutputError, reason_of
from equipoise.lab.drawings import drawings
from equipoise.lab.figures.style import save
from equipoise.lab.numbers import Numbers, write_numbers
from equipoise.lab.page import page


def write_report(numbers: Numbers, folder: Path, command: str) -> Path:
    """Write index.html, figures/ and the numbers to the folder; the path of the page comes back. Raises OutputError."""
    write_numbers(numbers, folder)
    found = list(drawings(numbers))
    path = folder / "index.html"
    try:
        (folder / "figures").mkdir(exist_ok=True)
        for drawing in found:
            save(drawing.figure, folder / "figures", drawing.name)
        path.write_text(page(numbers, found, command), encoding="utf-8")
    except OSError as e:
        raise OutputError(f"cannot be written: {reason_of(e)}", path=folder) from e
    return path
