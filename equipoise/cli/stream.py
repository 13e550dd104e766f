"""`equipoise stream`: where items that keep arriving would go, and the largest rate to promise. Nothing is run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from equipoise.cli.clusters import load_cluster
from equipoise.cli.console import console_for
from equipoise.cli.options import ClusterArgument, JsonOption, MinAccuracyOption
from equipoise.cli.render import percent, rate, seconds
from equipoise.cli.report import DECLINED
from equipoise.core.request import Prefer
from equipoise.core.stream import StreamNeeds, StreamPlan, StreamRequest
from equipoise.errors import UsageError
from equipoise.planning.streams import plan_stream

ArrivalsOption = Annotated[
    float, typer.Option("--arrivals-per-s", metavar="RATE", help="Items that arrive per second, on average.")
]
ItemLatencyOption = Annotated[
    float, typer.Option("--item-latency-s", metavar="SECONDS", help="Each item's answer within this many seconds.")
]
ConfidenceOption = Annotated[
    float, typer.Option("--confidence", metavar="FRACTION", help="Of the items on every route, how many must be.")
]
SlackOption = Annotated[Prefer, typer.Option("--prefer", help="What to make of slack: accuracy or latency.")]


def stream(
    cluster: ClusterArgument,
    *,
    arrivals_per_s: ArrivalsOption,
    item_latency_s: ItemLatencyOption,
    confidence: ConfidenceOption = 0.95,
    min_accuracy: MinAccuracyOption = 0.0,
    prefer: SlackOption = Prefer.ACCURACY,
    as_json: JsonOption = False,
) -> None:
    """Plan a stream of items for a described cluster: which fraction of them goes where, with which variant.

    Exit codes: 0 the rate can be promised, 3 it cannot, 2 usage, 1 any other error.
    """
    try:
        request = StreamRequest(
            arrivals_per_s=arrivals_per_s,
            item_latency_s=item_latency_s,
            confidence=confidence,
            min_accuracy=min_accuracy,
            prefer=prefer,
        )
    except ValueError as e:
        field, _, problem = str(e).partition(" ")
        raise UsageError(f"--{field.replace('_', '-')} {problem}") from e
    found = plan_stream(request, load_cluster(cluster), clock=time.perf_counter)
    if as_json:
        print(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        _print(request, found)
    raise typer.Exit(0 if found.feasible else DECLINED)


def _print(request: StreamRequest, found: StreamPlan) -> None:
    console = console_for()
    if found.feasible:
        slack = "less time" if request.prefer is Prefer.LATENCY else "accuracy"
        console.print(f"Promised: {_promise(request)}; slack goes to {slack}.")
        console.print(_routes_table(request, found, title="Routes"))
        console.print(f"{_summary(request, found)}.")
        console.print(f"{_largest(found)}.")
        return
    console.print(f"This cannot be promised: {_promise(request)}.")
    for line in _helpful(found.needs):
        console.print(f"  {line}")
    if found.routes:
        console.print(_routes_table(request, found, title=f"At {rate(found.rate_per_s)}"))


def _promise(request: StreamRequest) -> str:
    items = f"{_share(request.confidence)} of the items within {seconds(request.item_latency_s)}"
    floor = f" and at least {percent(request.min_accuracy)} accuracy" if request.min_accuracy > 0 else ""
    return f"{rate(request.arrivals_per_s)} with {items}{floor}"


def _share(confidence: float) -> str:
    """A fraction with as many digits as it has: `99.9 %`."""
    return f"{100 * confidence:.6g} %"


def _routes_table(request: StreamRequest, found: StreamPlan, *, title: str) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("node", "processor", "variant"):
        table.add_column(heading)
    for heading in ("of the items", "items", "processor busy", f"{_share(request.confidence)} within"):
        table.add_column(heading, justify="right")
    for route in found.routes:
        figures = (percent(route.fraction), rate(route.rate_per_s), percent(route.utilisation))
        names = map(escape, (route.node, route.processor, route.variant))
        table.add_row(*names, *figures, seconds(route.item_latency_s))
    return table


def _summary(request: StreamRequest, found: StreamPlan) -> str:
    latency = f"{_share(request.confidence)} within {seconds(found.item_latency_s)}"
    if found.gap is None:
        proof = "no bound"
    elif found.gap <= 1e-9:
        proof = "proven optimal"
    else:
        proof = f"within {100 * found.gap:.2g} % of what is possible"
    expected = f"{rate(found.rate_per_s)} at {percent(found.accuracy)} accuracy, {latency}"
    return f"{expected}; planned in {seconds(found.solve_s)}, {proof}"


def _largest(found: StreamPlan) -> str:
    most = f"At most {rate(_rounded_down(found.max_rate_per_s))} can be promised with this latency and floor"
    return f"{most}; more than {rate(found.max_rate_bound_per_s)} is impossible"


def _helpful(needs: StreamNeeds | None) -> Iterator[str]:
    """A line each for what would do. Figures are rounded to the safe side, so that they do when asked for."""
    if needs is None:
        return
    if needs.arrivals_per_s is not None:
        yield f"{rate(_rounded_down(needs.arrivals_per_s))} would do"
    if needs.item_latency_s is not None:
        yield f"{seconds(_rounded_up(needs.item_latency_s))} per item would do"
    if needs.min_accuracy is not None:
        yield f"a floor of {percent(math.floor(1000 * needs.min_accuracy) / 1000)} would do"
    if needs == StreamNeeds(arrivals_per_s=None, item_latency_s=None, min_accuracy=None):
        yield "no slower rate, longer latency or lower floor alone would do"


def _rounded_down(value: float) -> float:
    """To the three digits that are shown."""
    return math.floor(value / _last_digit(value)) * _last_digit(value) if value > 0 else 0.0


def _rounded_up(value: float) -> float:
    return math.ceil(value / _last_digit(value)) * _last_digit(value)


def _last_digit(value: float) -> float:
    return float(10.0 ** (math.floor(math.log10(value)) - 2))
