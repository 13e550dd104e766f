"""What came of simulated requests, as tables that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from equipoise.cli.render import percent, rate, seconds
from equipoise.core.request import Requirement
from equipoise.simulation import Outcome, Scenario
from equipoise.simulation.attainment import Attainment, attainment

_SHOWN = 20  # requests; of more, the JSON has the rest


def requests_table(scenario: Scenario, outcomes: Sequence[Outcome], *, title: str) -> Table:
    """One row per request: what was promised, and what came of it, over all runs."""
    table = _table(title, ("request", "promised"), ("at", "items", *_FIGURES))
    requests = scenario.named().requests
    for asked in requests[:_SHOWN]:
        names = (escape(asked.name), _promised(asked.requirement))
        table.add_row(*names, _when(asked.at_s), str(asked.items), *_figures(attainment(outcomes, asked.name)))
    if len(requests) > _SHOWN:
        table.caption = f"and {len(requests) - _SHOWN} more requests; --json and --out have all"
    return table


def strategies_table(found: Mapping[str, Sequence[Outcome]]) -> Table:
    """One row per strategy, over all requests of all runs."""
    table = _table("All requests of all runs", ("strategy",), ("requests", *_FIGURES, "95 % interval"))
    for name, outcomes in found.items():
        total = attainment(outcomes)
        interval = "-" if total.low is None or total.high is None else f"{100 * total.low:.1f}-{100 * total.high:.1f} %"
        table.add_row(escape(name), str(total.requests), *_figures(total), interval)
    return table


_FIGURES = ("admitted", "latency", "worst", "accuracy", "re-plans", "both kept")


def _figures(found: Attainment) -> tuple[str, ...]:
    """Medians of latency and accuracy, the worst latency in parts of its deadline, the mean number of re-plans."""
    value = found.value
    if value is None:
        return (str(found.admitted), *["-"] * 4, "declined")
    colour = "green" if value == 1 else "bold red" if value == 0 else "yellow"
    kept = f"{found.kept} of {found.admitted}" if found.admitted > 1 else "yes" if found.kept else "no"
    return (
        str(found.admitted),
        seconds(found.latency_s) if found.latency_s is not None else "-",
        percent(found.worst_of_deadline) if found.worst_of_deadline is not None else "-",
        percent(found.accuracy) if found.accuracy is not None else "-",
        f"{found.replanned:.3g}",
        f"[{colour}]{kept}[/]",
    )


def _when(at_s: float) -> str:
    return seconds(at_s) if at_s > 0 else "start"


def _promised(requirement: Requirement) -> str:
    parts = []
    if requirement.deadline_s is not None:
        parts.append(f"<= {seconds(requirement.deadline_s)}")
    if requirement.throughput_per_s is not None:
        parts.append(f">= {rate(requirement.throughput_per_s)}")
    parts.append(f">= {percent(requirement.min_accuracy)}")
    return ", ".join(parts)


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right")
    return table
