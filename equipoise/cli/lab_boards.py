"""`equipoise lab boards`: the published boards, and descriptions of clusters of them."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from equipoise.cli.console import console_for
from equipoise.cli.lab import lab_app
from equipoise.cli.options import JsonOption
from equipoise.cli.render import seconds
from equipoise.errors import UsageError
from equipoise.lab.catalogue import SETS, Catalogue, published

SetOption = Annotated[
    str, typer.Option("--set", metavar="NAME", help=f"Figures that can be compared: {' or '.join(SETS)}.")
]


@lab_app.command("boards")
def boards(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[BOARD]...", help="Describe a cluster of these boards.")
    ] = None,
    *,
    set_name: SetOption = SETS[0],
    as_json: JsonOption = False,
) -> None:
    """List the published boards, with sources; or print a cluster description of some, to plan with."""
    chosen = chosen_set(set_name)
    if names:
        cluster = chosen.cluster(names)
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(cluster), indent=1) + b"\n")
    elif as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(chosen), indent=1) + b"\n")
    else:
        _show(chosen)


def chosen_set(name: str) -> Catalogue:
    """The set of published figures of that name. Raises UsageError."""
    if name not in SETS:
        raise UsageError(f"--set {name}: unknown; known: {', '.join(SETS)}")
    return published(name)


def _show(chosen: Catalogue) -> None:
    console = console_for()
    table = Table(title=escape(chosen.title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("board", "processor", "variants", "fastest", "slowest", "source", "licence"):
        table.add_column(heading, overflow="fold")
    for board in chosen.boards:
        for processor in board.processors:
            times = sorted(processor.item_ms.values())
            table.add_row(
                board.name,
                escape(processor.what),
                str(len(times)),
                seconds(times[0] / 1000),
                seconds(times[-1] / 1000),
                escape(processor.source),
                processor.licence,
            )
    console.print(table)
    console.print("`equipoise lab boards BOARD BOARD ... > cluster.json` describes a cluster of them.", markup=False)
