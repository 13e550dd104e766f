"""`equipoise lab drift`: which promises each strategy keeps when boards slow down, leave or are misjudged."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from equipoise.cli.console import console_for
from equipoise.cli.lab import lab_app
from equipoise.cli.options import JsonOption
from equipoise.cli.render import percent
from equipoise.errors import UsageError
from equipoise.lab.drift import BOARDS, DECIDERS, DRIFTS, RUNS, Drifted, trials
from equipoise.lab.foresight import Foreseen, foreseen
from equipoise.lab.work import tried
from equipoise.planning.strategies import CLAIRVOYANT


@lab_app.command("drift")
def drift(
    *,
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Requests per strategy and drift.")] = RUNS,
    boards: Annotated[str, typer.Option("--boards", metavar="N", help="The paper's three, or ten.")] = "three",
    strategy: Annotated[list[str] | None, typer.Option("--strategy", metavar="S", help="Only these.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Promises kept by every strategy, simulated on published boards. Takes minutes."""
    if runs < 1:
        raise UsageError(f"--runs must be at least 1, not {runs}")
    if boards not in BOARDS:
        raise UsageError(f"--boards must be one of {', '.join(BOARDS)}, not {boards!r}")
    unknown = next((name for name in strategy or () if name not in DECIDERS), None)
    if unknown is not None:
        raise UsageError(f"--strategy {unknown!r} is none that can be simulated here; known: {', '.join(DECIDERS)}")
    found = list(tried(list(trials(runs, tuple(strategy or DECIDERS), boards)), jobs=1))
    known = list(foreseen(BOARDS[boards](), runs))
    if as_json:
        told = msgspec.json.encode({"drift": found, "foreseen": known})
        sys.stdout.buffer.write(msgspec.json.format(told, indent=1) + b"\n")
        return
    console = console_for()
    console.print(_table(found, known))
    console.print(f"Kept of admitted, of {runs} requests each; in brackets how many were admitted.")
    for kind, words in DRIFTS.items():
        console.print(f"  {kind}: {words}")


def _table(found: list[Drifted], known: list[Foreseen]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("strategy")
    for kind in DRIFTS:
        table.add_column(kind, justify="right")
    for name in dict.fromkeys(one.strategy for one in found):
        table.add_row(name, *(_cell(one) for one in found if one.strategy == name))
    table.add_row(f"{CLAIRVOYANT} (limit)", *(percent(limit.value) for limit in known))
    return table


def _cell(one: Drifted) -> str:
    value = one.attainment.value
    return f"{'-' if value is None else percent(value)} ({one.attainment.admitted})"
