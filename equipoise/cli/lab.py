"""`equipoise lab`: what planning jointly is worth, on published boards and on the user's own."""

from __future__ import annotations

import typer

lab_app = typer.Typer()


@lab_app.callback()
def _lab() -> None:
    """The laboratory: every strategy side by side, on published boards and on yours. Nothing is run on boards."""
