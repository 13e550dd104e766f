"""`python -m equipoise.node`: one emulated board; started by `equipoise.runtime.emulation`, not by hand."""

from __future__ import annotations

import asyncio
import sys

from equipoise.errors import EquipoiseError
from equipoise.node.emulated import play, read_part


def main() -> None:
    """Play the part that stands on standard input."""
    lines = sys.stdin.buffer
    try:
        asyncio.run(play(read_part(lines), lines))
    except EquipoiseError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
