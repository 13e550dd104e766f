"""The paper's evaluation as far as it is public, then the same on other boards and on random clusters.

A study is a list of cases: a cluster and a number of items. Each case is independent of every other, so that they can
be worked on side by side; `summary` adds them up. docs/paper.md says what every figure means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import msgspec
import numpy as np

from equipoise.core.cluster import Cluster
from equipoise.lab.catalogue import published
from equipoise.lab.chance import random_cluster
from equipoise.lab.gains import BEST_OTHER, Floats, Gain, accuracy_gain, best_of, statistics, throughput_gain
from equipoise.lab.grid import EXACT, LEVELS, OURS, Bools, Levels, Point, Reach, feasible, planning_s, reach
from equipoise.planning.fleet import Fleet
from equipoise.planning.strategies import STRATEGIES

PAPER_BOARDS = ("odroid-xu4", "raspberry-pi-4b", "jetson-nano")
OTHER_BOARDS = ("raspberry-pi-4b", "odroid-n2-plus", "firefly-rk3399", "jetson-agx-xavier")
LADDERS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3")
RANDOM_CLUSTERS = 100


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster, the items of a request to it, and who is asked at how many levels."""

    group: str
    name: str
    cluster: Cluster
    items: int
    levels: int
    strategies: tuple[str, ...]


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy can do in a case; None stands where it has no plan.

    rates_per_s       at each floor
    accuracies        at each rate
    kept              of the requirements that any strategy can keep, the part that it can
    kept_at           (rates, floors) which of them
    frontier          (throughput_per_s, accuracy) of its undominated plans
    planning_s        median seconds per plan that keeps both promises
    gap               largest proven distance to what is possible; None if it proves nothing
    """

    rates_per_s: list[float | None]
    accuracies: list[float | None]
    kept: float
    kept_at: list[list[bool]]
    frontier: tuple[Point, ...]
    planning_s: float | None
    gap: float | None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A case answered. `feasible` counts the requirements on the grid that any strategy can keep."""

    group: str
    name: str
    boards: list[str]
    variants: int
    items: int
    floors: list[float]
    rates_per_s: list[float]
    feasible: int
    strategies: dict[str, Answers]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Ours over one other strategy in a group of cases, and what part of the feasible requirements that one keeps."""

    throughput: Gain
    accuracy: Gain
    kept: float


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Cases that belong together. `kept` is our own part; `gap` the largest that ours leaves unproven."""

    title: str
    clusters: int
    items: list[int]
    requirements: int
    feasible: int
    kept: float
    gap: float
    gains: dict[str, Comparison]


GROUPS = {
    "paper": "The paper's boards: Odroid XU4, Raspberry Pi 4, Jetson Nano",
    "ladders": "MobileNet ladders on Raspberry Pi 4, Odroid N2+, Firefly-RK3399, Jetson AGX Xavier",
    "random": "Random clusters",
}


def paper_boards() -> Cluster:
    """The three boards of the paper with what runs on all of them: the Nano infers on its GPU."""
    return published("ncnn").cluster(PAPER_BOARDS, processors={"jetson-nano": ("gpu",)})


def ladder(family: str) -> Cluster:
    """Four other boards with one family of MobileNets."""
    return published("tflite").cluster(OTHER_BOARDS, family=f"{family}-")


def cases(*, quick: bool) -> Iterator[Case]:
    """Those of the study. Quick leaves out solvers, most batch sizes and most random clusters."""
    names = tuple(name for name, strategy in STRATEGIES.items() if not (quick and strategy.solver))
    for items in (32, 512) if quick else (32, 64, 128, 256, 512):
        yield Case(group="paper", name="paper", cluster=paper_boards(), items=items, levels=LEVELS, strategies=names)
    for family in LADDERS:
        for items in (512,) if quick else (32, 128, 512):
            yield Case(
                group="ladders", name=family, cluster=ladder(family), items=items, levels=LEVELS, strategies=names
            )
    cheap = tuple(name for name in names if name != EXACT)  # an hour for a hundred clusters; `gap` stands in for it
    for seed in range(RANDOM_CLUSTERS // 10 if quick else RANDOM_CLUSTERS):
        yield Case(
            group="random",
            name=f"random-{seed}",
            cluster=random_cluster(seed),
            items=512,
            levels=LEVELS // 4,
            strategies=cheap,
        )


def answer(case: Case, clock: Callable[[], float]) -> Result:
    """Ask every strategy of a case at every level."""
    fleet = Fleet.of(case.cluster)
    levels = Levels.of(fleet, case.items, case.levels)
    found = {name: reach(fleet, case.items, levels, name) for name in case.strategies}
    kept = {name: one.kept(levels) for name, one in found.items()}
    possible = feasible(kept)
    return Result(
        group=case.group,
        name=case.name,
        boards=[node.name for node in case.cluster.nodes],
        variants=len(case.cluster.variants),
        items=case.items,
        floors=levels.floors.tolist(),
        rates_per_s=levels.rates_per_s.tolist(),
        feasible=int(possible.sum()),
        strategies={
            name: _answers(
                one, kept[name], possible, planning_s(fleet, case.items, levels, one, strategy=name, clock=clock)
            )
            for name, one in found.items()
        },
    )


def _answers(found: Reach, kept: Bools, possible: Bools, plan_s: float | None) -> Answers:
    return Answers(
        rates_per_s=_or_none(found.rates_per_s),
        accuracies=_or_none(found.accuracies),
        kept=float(kept[possible].mean()) if possible.any() else 0.0,
        kept_at=kept.tolist(),
        frontier=found.points,
        planning_s=plan_s,
        gap=found.gap,
    )


def summary(results: Iterable[Result]) -> dict[str, Group]:
    """The gains of each group, over each strategy and over the best of the others."""
    by_group: dict[str, list[Result]] = {}
    for result in results:
        by_group.setdefault(result.group, []).append(result)
    return {name: _group(GROUPS[name], mine) for name, mine in by_group.items()}


def _group(title: str, results: list[Result]) -> Group:
    names = list(results[0].strategies)
    rates = {name: stacked(results, name, "rates_per_s") for name in names}
    accuracies = {name: stacked(results, name, "accuracies") for name in names}
    kept = {name: float(np.mean([result.strategies[name].kept for result in results])) for name in names}
    others = [name for name in names if name not in (OURS, EXACT)]
    for values in (rates, accuracies):
        values[BEST_OTHER] = best_of({name: values[name] for name in others})
    kept[BEST_OTHER] = float(np.mean([_kept_by_any(result, others) for result in results]))
    return Group(
        title=title,
        clusters=len({result.name for result in results}),
        items=sorted({result.items for result in results}),
        requirements=sum(len(result.floors) * len(result.rates_per_s) for result in results),
        feasible=sum(result.feasible for result in results),
        kept=kept[OURS],
        gap=max(result.strategies[OURS].gap or 0.0 for result in results),
        gains={
            name: Comparison(
                throughput=_statistics(rates, name, throughput_gain),
                accuracy=_statistics(accuracies, name, accuracy_gain),
                kept=kept[name],
            )
            for name in (*others, BEST_OTHER, *(name for name in names if name == EXACT))
        },
    )


def _statistics(values: dict[str, Floats], name: str, gain: Callable[[Floats, Floats], Floats]) -> Gain:
    return statistics(values[OURS], values[name], gain(values[OURS], values[name]))


def _kept_by_any(result: Result, names: list[str]) -> float:
    kept = np.logical_or.reduce([np.array(result.strategies[name].kept_at) for name in names])
    return float(kept.sum() / result.feasible) if result.feasible else 0.0


def stacked(results: list[Result], strategy: str, field: str) -> Floats:
    """Values at all levels of all cases; nan for None."""
    return np.concatenate([np.array(getattr(r.strategies[strategy], field), dtype=np.float64) for r in results])


def _or_none(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]
