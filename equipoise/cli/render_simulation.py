"""What came of simulated requests, as tables that a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from equipoise.cli.render import percent, rate, seconds
from equipoise.core.request import Requirement
from equipoise.simulation import Outcome, Scenario, Stream
from equipoise.simulation.attainment import Attainment, StreamAttainment, attainment, stream_attainment
from equipoise.simulation.clairvoyant import Limit, StreamLimit

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


def streams_table(scenario: Scenario, outcomes: Sequence[Outcome], *, title: str) -> Table:
    """One row per stream: what was promised, and what came of it, over all runs."""
    figures = ("items", "in time", "shed", "latency", "accuracy", "re-plans", "both kept")
    table = _table(title, ("stream", "promised"), figures)
    streams = scenario.named().streams
    for asked in streams[:_SHOWN]:
        found = stream_attainment(outcomes, asked.name)
        table.add_row(escape(asked.name), _stream_promised(asked), *_stream_figures(found))
    if len(streams) > _SHOWN:
        table.caption = f"and {len(streams) - _SHOWN} more streams; --json and --out have all"
    return table


def _stream_figures(found: StreamAttainment) -> tuple[str, ...]:
    if found.value is None:
        return (*["-"] * 6, "declined")
    return (
        str(found.items),
        percent(found.in_time) if found.in_time is not None else "-",
        percent(found.shed) if found.shed is not None else "-",
        seconds(found.latency_s) if found.latency_s is not None else "-",
        percent(found.accuracy) if found.accuracy is not None else "-",
        f"{found.replanned:.3g}",
        _kept(found),
    )


def _stream_promised(asked: Stream) -> str:
    latency = f"{100 * asked.confidence:g} % <= {seconds(asked.item_latency_s)}"
    return f"{rate(asked.arrivals_per_s)}, {latency}, >= {100 * asked.min_accuracy:g} %"


def limits_table(scenario: Scenario, known: Sequence[Sequence[Limit]]) -> Table:
    """One row per request: what no strategy can beat who knows all that will happen, over all runs."""
    table = _table(_limits_title(known), ("request", "promised"), ("at", "items", *_LIMITS))
    requests = scenario.named().requests
    for number, asked in enumerate(requests[:_SHOWN]):
        names = (escape(asked.name), _promised(asked.requirement))
        of_runs = [of_run[number] for of_run in known]
        table.add_row(*names, _when(asked.at_s), str(asked.items), *_limit_figures(of_runs))
    if len(requests) > _SHOWN:
        table.caption = f"and {len(requests) - _SHOWN} more requests; --json and --out have all"
    return table


def stream_limits_table(scenario: Scenario, known: Sequence[Sequence[StreamLimit]]) -> Table:
    """One row per stream: the best accuracy that anybody could give its items who keeps its latency, over all runs."""
    table = _table(_limits_title(known), ("stream", "promised"), ("best accuracy", "both can be kept"))
    streams = scenario.named().streams
    for number, asked in enumerate(streams[:_SHOWN]):
        of_runs = [of_run[number] for of_run in known]
        accuracies = _known(one.accuracy for one in of_runs)
        told = percent(median(accuracies)) if accuracies else "-"
        table.add_row(escape(asked.name), _stream_promised(asked), told, _keepable(of_runs))
    if len(streams) > _SHOWN:
        table.caption = f"and {len(streams) - _SHOWN} more streams; --json and --out have all"
    return table


def _limits_title(known: Sequence[object]) -> str:
    return f"clairvoyant: the limit, a bound and no run{f', {len(known)} seeds' if len(known) > 1 else ''}"


def _keepable(known: Sequence[Limit] | Sequence[StreamLimit]) -> str:
    keepable = sum(one.keepable for one in known)
    return f"{keepable} of {len(known)}" if len(known) > 1 else "yes" if keepable else "no"


_LIMITS = ("least latency", "worst", "best accuracy", "both can be kept")


def _limit_figures(known: Sequence[Limit]) -> tuple[str, str, str, str]:
    """Medians of the least latency and the best accuracy, and the largest of the least latencies over the deadline."""
    latencies, shares = _known(one.latency_s for one in known), _known(one.of_deadline for one in known)
    accuracies = _known(one.accuracy for one in known)
    return (
        seconds(median(latencies)) if latencies else "-",
        percent(max(shares)) if shares else "-",
        percent(median(accuracies)) if accuracies else "-",
        _keepable(known),
    )


def _known(figures: Iterable[float | None]) -> list[float]:
    return [figure for figure in figures if figure is not None]


def strategies_table(found: Mapping[str, Sequence[Outcome]], known: Sequence[Sequence[Limit]] = ()) -> Table:
    """One row per strategy, over all requests of all runs; and what is known to be their limit."""
    table = _table("All requests of all runs", ("strategy",), ("requests", *_FIGURES, "95 % interval"))
    for name, outcomes in found.items():
        total = attainment(outcomes)
        interval = "-" if total.low is None or total.high is None else f"{100 * total.low:.1f}-{100 * total.high:.1f} %"
        table.add_row(escape(name), str(total.requests), *_figures(total), interval)
    if known:
        of_all = [limit for of_run in known for limit in of_run]
        latency, worst, accuracy, kept = _limit_figures(of_all)
        table.add_row("clairvoyant (limit)", str(len(of_all)), "-", latency, worst, accuracy, "-", kept, "a bound")
    return table


_FIGURES = ("admitted", "latency", "worst", "accuracy", "re-plans", "both kept")


def _figures(found: Attainment) -> tuple[str, ...]:
    """Medians of latency and accuracy, the worst latency in parts of its deadline, the mean number of re-plans."""
    if found.value is None:
        return (str(found.admitted), *["-"] * 4, "declined")
    return (
        str(found.admitted),
        seconds(found.latency_s) if found.latency_s is not None else "-",
        percent(found.worst_of_deadline) if found.worst_of_deadline is not None else "-",
        percent(found.accuracy) if found.accuracy is not None else "-",
        f"{found.replanned:.3g}",
        _kept(found),
    )


def _kept(found: Attainment | StreamAttainment) -> str:
    colour = "green" if found.value == 1 else "bold red" if found.value == 0 else "yellow"
    kept = f"{found.kept} of {found.admitted}" if found.admitted > 1 else "yes" if found.kept else "no"
    return f"[{colour}]{kept}[/]"


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
