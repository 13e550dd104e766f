"""The figures of a study, made of its numbers. Needs the extra `lab`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from equipoise.lab.drift import ITEMS
from equipoise.lab.figures.drift import drift_figure
from equipoise.lab.figures.frontiers import frontiers_figure
from equipoise.lab.figures.gains import gains_figure
from equipoise.lab.figures.gantt import gantt_figure
from equipoise.lab.figures.promises import promises_figure
from equipoise.lab.figures.times import times_figure
from equipoise.lab.gains import Floats, accuracy_gain, throughput_gain
from equipoise.lab.grid import EXACT, OURS
from equipoise.lab.numbers import Numbers
from equipoise.lab.paper import LADDERS, Result, stacked

_DRIFTS = {
    "nothing": "nothing happens",
    "slow": "one board at half speed",
    "leaves": "one board unplugged",
    "profiles": "profiles up to 20 % off",
    "all": "all three, one by one",
}


class Drawing(NamedTuple):
    """A figure, what its files are called, and what a reader may take from it."""

    name: str
    title: str
    caption: str
    figure: Figure


def drawings(numbers: Numbers) -> Iterator[Drawing]:
    """All figures of a study, in the order in which they are read."""
    for group in numbers.groups:
        yield _gains(numbers, group)
    for cluster in ("paper", *LADDERS):
        yield _frontiers(numbers, cluster)
    for cluster in ("paper", *LADDERS):
        yield _promises(numbers, cluster)
    yield _drift(numbers)
    yield _gantt(numbers)
    yield _times(numbers)


def _gains(numbers: Numbers, group: str) -> Drawing:
    results = [result for result in numbers.results if result.group == group]
    others = [name for name in results[0].strategies if name not in (OURS, EXACT)]
    return Drawing(
        f"gains-{group}",
        f"Gains: {numbers.groups[group].title}",
        "A dot is one accuracy floor (left) or one rate (right) at which both have a plan; the bar is the middle half "
        "of them, the diamond their mean.",
        gains_figure(
            {name: _finite(throughput_gain(*_pair(results, name, "rates_per_s"))) for name in others},
            {name: _finite(accuracy_gain(*_pair(results, name, "accuracies"))) for name in others},
            {name: numbers.groups[group].gains[name].accuracy.lacking for name in others},
        ),
    )


def _pair(results: list[Result], other: str, field: str) -> tuple[Floats, Floats]:
    return stacked(results, OURS, field), stacked(results, other, field)


def _finite(gains: Floats) -> Floats:
    return gains[np.isfinite(gains)]


def _frontiers(numbers: Numbers, cluster: str) -> Drawing:
    result = max((result for result in numbers.results if result.name == cluster), key=lambda result: result.items)
    return Drawing(
        f"frontier-{cluster}",
        f"What can be promised: {_where(result)}",
        "A strategy can keep every promise below and to the left of its line. Further up and right is better.",
        frontiers_figure({name: answers.frontier for name, answers in result.strategies.items()}, result.items),
    )


def _promises(numbers: Numbers, cluster: str) -> Drawing:
    results = [result for result in numbers.results if result.name == cluster]
    kept = {name: [np.array(r.strategies[name].kept_at, float) for r in results] for name in results[0].strategies}
    possible = np.logical_or.reduce([maps.astype(bool) for found in kept.values() for maps in found])
    return Drawing(
        f"promises-{cluster}",
        f"Promises kept: {_where(results[0])}",
        "Blue: the strategy has a plan that keeps both the rate and the floor (the paler, the fewer batch sizes). "
        "Orange: it has none, though another strategy has. White: nobody has.",
        promises_figure(
            {name: np.where(possible, np.mean(maps, axis=0), np.nan) for name, maps in kept.items()},
            {name: float(np.mean([r.strategies[name].kept for r in results])) for name in kept},
            results[-1].floors,
            results[-1].rates_per_s,
        ),
    )


def _drift(numbers: Numbers) -> Drawing:
    runs = max(one.attainment.requests for one in numbers.drift)
    return Drawing(
        "drift-kept",
        "Promises kept under drift",
        f"Of {runs} requests of {ITEMS} items each on the paper's boards, with slack. Beside a name: how many of "
        "them the strategy admitted, and its median accuracy, when nothing happens. What plans declines what it has no "
        "plan for; what decides item by item declines nothing. The thin line is the 95 % interval. Hatched is "
        "the limit: what who knows the future could keep, and the best accuracy by itself. The numbers alone: "
        f"equipoise lab drift --runs {runs}.",
        drift_figure(numbers.drift, numbers.foreseen, _DRIFTS),
    )


def _gantt(numbers: Numbers) -> Drawing:
    line = numbers.time_lines[0]
    return Drawing(
        "drift-timeline",
        f"Who ran what: the {line.slowed} slows down, the {line.unplugged} is unplugged",
        f"{line.items} items within {line.deadline_s:.2f} s at {100 * line.min_accuracy:.1f} % accuracy or more, the "
        "same luck for all. Lines in a bar separate tasks, but for the shortest; a triangle is a moment at which the "
        "rest was planned again. The literature's strategies plan again only when a board is lost.",
        gantt_figure(numbers.time_lines),
    )


def _times(numbers: Numbers) -> Drawing:
    names = dict.fromkeys(name for result in numbers.results for name in result.strategies)
    return Drawing(
        "planning-time",
        "How long planning takes",
        "A dot is the median of five requests that the strategy can keep, on one cluster; the line is their median.",
        times_figure(
            {name: np.array([s for r in numbers.results if (s := _planning_s(r, name)) is not None]) for name in names}
        ),
    )


def _planning_s(result: Result, strategy: str) -> float | None:
    return result.strategies[strategy].planning_s if strategy in result.strategies else None


def _where(result: Result) -> str:
    variants = (
        f"{result.variants} variants" if result.group == "paper" else result.name.replace("mobilenet_", "MobileNet ")
    )
    return f"{', '.join(result.boards)}; {variants}"
