"""`equipoise lab compare`, `equipoise lab whatif` and `equipoise lab frontier`, on the user's own cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from equipoise.cli.clusters import load_cluster
from equipoise.cli.console import console_for
from equipoise.cli.frontier import frontier
from equipoise.cli.lab import lab_app
from equipoise.cli.lab_boards import SetOption, chosen_set
from equipoise.cli.options import (
    ClusterArgument,
    ConfidenceOption,
    DeadlineOption,
    ItemsOption,
    JsonOption,
    MinAccuracyOption,
    PreferOption,
    ThroughputOption,
    request_of,
)
from equipoise.cli.render import percent, promise, rate, seconds
from equipoise.core.cluster import Cluster
from equipoise.errors import UsageError
from equipoise.lab.catalogue import SETS, Catalogue
from equipoise.lab.whatif import Worth, added, compared, never_used, removed, shopping, without_variant, worth

lab_app.command("frontier")(frontier)


@lab_app.command("compare")
def compare(
    cluster: ClusterArgument,
    *,
    items: ItemsOption,
    deadline_s: DeadlineOption = None,
    throughput_per_s: ThroughputOption = None,
    min_accuracy: MinAccuracyOption = 0.0,
    prefer: PreferOption = None,
    confidence: ConfidenceOption = None,
    strategy: Annotated[list[str] | None, typer.Option(help="Only these strategies.", metavar="NAME")] = None,
    as_json: JsonOption = False,
) -> None:
    """What every strategy would make of a request on this cluster, side by side."""
    request = request_of(
        items,
        deadline_s=deadline_s,
        throughput_per_s=throughput_per_s,
        min_accuracy=min_accuracy,
        prefer=prefer,
        confidence=confidence,
    )
    plans = compared(load_cluster(cluster), request, strategy)
    if as_json:
        _print_json(plans)
        return
    console = console_for()
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("strategy", "time", "throughput", "accuracy", "both kept?"):
        table.add_column(heading, justify="left" if heading == "strategy" else "right")
    for plan in plans:
        kept = "yes" if plan.feasible else "no"
        table.add_row(plan.strategy, seconds(plan.latency_s), rate(plan.throughput_per_s), percent(plan.accuracy), kept)
    console.print(f"Asked for: {items} items, {promise(request.requirement)}.")
    console.print(table)
    console.print("Where both cannot be kept, the plan with the least violation is shown.")


@lab_app.command("whatif")
def whatif(
    cluster: ClusterArgument,
    *,
    items: ItemsOption,
    deadline_s: DeadlineOption = None,
    throughput_per_s: ThroughputOption = None,
    min_accuracy: MinAccuracyOption = 0.0,
    prefer: PreferOption = None,
    confidence: ConfidenceOption = None,
    add: Annotated[list[str] | None, typer.Option("--add", metavar="BOARD", help="With this published board.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="NODE", help="Without this node.")] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without-variant", metavar="NAME", help="Without this variant.")
    ] = None,
    buy: Annotated[bool, typer.Option("--buy", help="Try every published board; the best one first.")] = False,
    set_name: SetOption = SETS[0],
    as_json: JsonOption = False,
) -> None:
    """What a board more, a node less or a variant less would change; each change is tried alone."""
    request = request_of(
        items,
        deadline_s=deadline_s,
        throughput_per_s=throughput_per_s,
        min_accuracy=min_accuracy,
        prefer=prefer,
        confidence=confidence,
    )
    described, catalogue = load_cluster(cluster), chosen_set(set_name)
    changes = list(_changes(described, catalogue, add or [], remove or [], without or []))
    if not changes and not buy:
        raise UsageError("nothing to try: give --add BOARD, --remove NODE, --without-variant NAME or --buy")
    rows = [worth("as it is", described, request)] + [worth(name, changed, request) for name, changed in changes]
    offers = shopping(described, request, catalogue) if buy else []
    if buy and not offers:
        raise UsageError(
            f"--buy: none of the cluster's variants was published for any board of the set {set_name}; "
            "`equipoise lab boards --json` lists those that were"
        )
    unused = never_used(described, items)
    if as_json:
        _print_json({"changes": rows, "buy": offers, "never_used": unused})
        return
    console = console_for()
    console.print(f"Asked for: {items} items, {promise(request.requirement)}.")
    console.print(_table(rows + offers))
    if offers:
        console.print(f"Of the published boards, {offers[0].change} would bring most.")
    if unused:
        console.print(f"Never of use here, at no rate or floor: {', '.join(unused)}.", markup=False)


def _changes(
    cluster: Cluster, catalogue: Catalogue, add: list[str], remove: list[str], without: list[str]
) -> Iterator[tuple[str, Cluster]]:
    yield from ((f"with {name}", added(cluster, name, catalogue)) for name in add)
    yield from ((f"without {name}", removed(cluster, name)) for name in remove)
    yield from ((f"without {name}", without_variant(cluster, name)) for name in without)


def _table(rows: list[Worth]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("the cluster", "time", "accuracy", "both kept?", "at the fastest", "at its best"):
        table.add_column(heading, justify="left" if heading == "the cluster" else "right")
    for row in rows:
        kept = "yes" if row.plan.feasible else "no"
        figures = (seconds(row.plan.latency_s), percent(row.plan.accuracy), kept)
        table.add_row(row.change, *figures, rate(row.fastest_per_s), percent(row.best_accuracy))
    return table


def _print_json(found: object) -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
