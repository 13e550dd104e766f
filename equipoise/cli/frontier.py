"""`equipoise frontier`: what a cluster can promise, by every strategy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from equipoise.cli.clusters import load_cluster
from equipoise.cli.console import console_for
from equipoise.cli.frontier_plot import check_plot, plot
from equipoise.cli.options import ClusterArgument, ItemsOption, JsonOption, check_items
from equipoise.cli.render import percent, rate, seconds
from equipoise.core.plan import Plan
from equipoise.planning.fleet import Fleet
from equipoise.planning.frontier import frontier as frontier_of
from equipoise.planning.strategies import STRATEGIES

_TABLE_ROWS = 12


def frontier(
    cluster: ClusterArgument,
    *,
    items: ItemsOption,
    strategy: Annotated[
        list[str] | None, typer.Option(help="Only these strategies. Default: all that need no solver.", metavar="NAME")
    ] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw them as a picture.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """All undominated promises (latency, accuracy) that the cluster can keep, ours beside every other strategy."""
    check_items(items)
    if plot_file is not None:
        check_plot(plot_file)
    described = load_cluster(cluster)
    fleet = Fleet.of(described)
    names = strategy or [name for name, known in STRATEGIES.items() if not known.solver]
    frontiers = {name: frontier_of(items, fleet, strategy=name) for name in names}
    if plot_file is not None:
        plot(frontiers, described, items, plot_file)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(_as_json(items, frontiers), indent=2) + b"\n")
        return
    console = console_for()
    console.print(_own_table(names[0], frontiers[names[0]]))
    if len(names) > 1:
        console.print(_comparison(names, frontiers))
    if plot_file is not None:
        console.print(f"Drawn to {plot_file}")


def _as_json(items: int, frontiers: dict[str, list[Plan]]) -> bytes:
    points = {
        name: [
            {"latency_s": p.latency_s, "throughput_per_s": p.throughput_per_s, "accuracy": p.accuracy} for p in plans
        ]
        for name, plans in frontiers.items()
    }
    return msgspec.json.encode({"items": items, "strategies": points})


def _own_table(name: str, plans: list[Plan]) -> Table:
    table = Table(title=f"Frontier ({name})", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("latency", "throughput", "accuracy"):
        table.add_column(heading, justify="right")
    table.add_column("variants at work")
    step = max(1, (len(plans) - 1) / (_TABLE_ROWS - 1))
    shown = sorted({min(len(plans) - 1, round(k * step)) for k in range(_TABLE_ROWS)})
    for plan in (plans[k] for k in shown):
        variants = ", ".join(dict.fromkeys(share.variant for share in plan.shares))
        table.add_row(seconds(plan.latency_s), rate(plan.throughput_per_s), percent(plan.accuracy), variants)
    return table


def _comparison(names: list[str], frontiers: dict[str, list[Plan]]) -> Table:
    """Each strategy's throughput at the floors that ours passes through."""
    own = frontiers[names[0]]
    marks = [own[k] for k in sorted({0, len(own) // 3, 2 * len(own) // 3, len(own) - 1})]
    table = Table(title="Throughput at an accuracy floor of", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("strategy")
    for mark in marks:
        table.add_column(f">= {percent(mark.accuracy)}", justify="right")
    for name in names:
        best = [_best_at(frontiers[name], mark.accuracy) for mark in marks]
        table.add_row(name, *(rate(plan.throughput_per_s) if plan else "-" for plan in best))
    return table


def _best_at(plans: list[Plan], floor: float) -> Plan | None:
    return next((plan for plan in plans if plan.accuracy >= floor - 1e-9), None)
