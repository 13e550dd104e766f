"""The literature's strategies for streams: which fraction of the items goes where, by simple rules.

They share and choose variants as they do for batches (baselines.py), but a rate takes the place of the items. Each is
judged by the queues that ours is judged by (`predict_stream`), and declines what those say that it cannot promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.plan import Conditions
from equipoise.core.request import Prefer
from equipoise.core.stream import Route, StreamPlan, StreamRequest
from equipoise.errors import PlanningError, UnknownStrategyError
from equipoise.planning.stations import Services, Station, services
from equipoise.planning.streams import StreamPrediction, plan_stream, predict_stream

Weights = Mapping[tuple[ProcessorId, str], float]  # in proportion to the fractions
_Rule = Callable[[Sequence[Services]], Iterator[Weights]]
_ROUNDING = 1e-9


def plan_stream_as(strategy: str, request: StreamRequest, cluster: Cluster, conditions: Conditions) -> StreamPlan:
    """The routes that a strategy would take; of its candidates the best that keeps the promises.

    If none keeps them the plan is not feasible, and its routes are those of the lowest latency.
    Raises PlanningError if no processor is available, and UnknownStrategyError for what plans no streams.
    """
    if strategy == "equipoise":
        return plan_stream(request, cluster, conditions)
    if strategy not in STREAM_BASELINES:
        raise UnknownStrategyError(
            f"strategy {strategy!r} plans no streams; those that do: equipoise, {', '.join(STREAM_BASELINES)}"
        )
    able = [one for one in services(cluster, conditions) if one.variants]
    if not able:
        raise PlanningError("no processor is available that has a profile of any variant")
    predictions = [
        predict_stream(request, cluster, _routes(weights, request), conditions)
        for weights in STREAM_BASELINES[strategy](able)
    ]
    kept = [one for one in predictions if _keeps(one, request)]
    return _plan(request, _best(kept, request) if kept else _closest(predictions, request), able, feasible=bool(kept))


def largest_rates(
    request: StreamRequest, cluster: Cluster, conditions: Conditions
) -> dict[tuple[ProcessorId, str], float]:
    """The most items per second that each processor can take with each variant alone within the latency."""
    allowance_s = request.item_latency_s
    rates: dict[tuple[ProcessorId, str], float] = {}
    for one in services(cluster, conditions):
        for number, variant in enumerate(one.variants):
            only = one.chosen(np.arange(len(one.variants)) == number)
            station = Station(only, allowance_s, request.confidence)
            alone = np.eye(len(station.services.variants))
            rates[one.pid, variant] = float(station.limits(alone)[0]) / allowance_s if len(alone) else 0.0
    return rates


# --- rules -----------------------------------------------------------------------------------------------------------


def _speed(one: Services, variant: str) -> float:
    return float(1.0 / one.mean_s[one.variants.index(variant)])


def _most_accurate(one: Services) -> str:
    return one.variants[int(np.argmax(one.accuracy))]


def _single(able: Sequence[Services]) -> Iterator[Weights]:
    """All to one node, with one variant; its processors by speed."""
    for node in dict.fromkeys(one.pid.node for one in able):
        yield from _proportional_variant([one for one in able if one.pid.node == node])


def _uniform(able: Sequence[Services]) -> Iterator[Weights]:
    yield {(one.pid, _most_accurate(one)): 1.0 for one in able}


def _uniform_variant(able: Sequence[Services]) -> Iterator[Weights]:
    for variant in _variants(able):
        yield {(one.pid, variant): 1.0 for one in able if variant in one.variants}


def _proportional(able: Sequence[Services]) -> Iterator[Weights]:
    yield {(one.pid, variant): _speed(one, variant) for one in able for variant in (_most_accurate(one),)}


def _proportional_variant(able: Sequence[Services]) -> Iterator[Weights]:
    for variant in _variants(able):
        yield {(one.pid, variant): _speed(one, variant) for one in able if variant in one.variants}


def _variants(able: Sequence[Services]) -> list[str]:
    return list(dict.fromkeys(variant for one in able for variant in one.variants))


STREAM_BASELINES: dict[str, _Rule] = {
    "single": _single,
    "uniform": _uniform,
    "uniform-variant": _uniform_variant,
    "proportional": _proportional,
    "proportional-variant": _proportional_variant,
    "work-stealing": _proportional_variant,  # whoever is idle takes as many as its speed allows
}


# --- judging them ----------------------------------------------------------------------------------------------------


def _routes(weights: Weights, request: StreamRequest) -> list[Route]:
    total = sum(weights.values())
    return [
        Route(
            node=pid.node,
            processor=pid.processor,
            variant=variant,
            fraction=weight / total,
            rate_per_s=request.arrivals_per_s * weight / total,
            utilisation=0.0,
            item_latency_s=0.0,
        )
        for (pid, variant), weight in weights.items()
    ]


def _keeps(one: StreamPrediction, request: StreamRequest) -> bool:
    in_time = one.item_latency_s <= request.item_latency_s * (1 + _ROUNDING)
    return in_time and one.accuracy >= request.min_accuracy - _ROUNDING


def _best(kept: Sequence[StreamPrediction], request: StreamRequest) -> StreamPrediction:
    if request.prefer is Prefer.LATENCY:
        return min(kept, key=lambda one: (one.item_latency_s, -one.accuracy))
    return max(kept, key=lambda one: (one.accuracy, -one.item_latency_s))


def _closest(found: Sequence[StreamPrediction], request: StreamRequest) -> StreamPrediction:
    """The quickest at the floor, or else at all; where queues grow without end, the least busy."""
    accurate = [one for one in found if one.accuracy >= request.min_accuracy - _ROUNDING] or found
    return min(accurate, key=lambda one: (one.item_latency_s, one.utilisation))


def _plan(request: StreamRequest, found: StreamPrediction, able: Sequence[Services], *, feasible: bool) -> StreamPlan:
    return StreamPlan(
        feasible=feasible,
        prefer=request.prefer,
        rate_per_s=found.rate_per_s,
        routes=found.routes,
        accuracy=found.accuracy,
        item_latency_s=found.item_latency_s,
        utilisation=found.utilisation,
        bound=None,
        gap=None,
        max_rate_per_s=request.arrivals_per_s if feasible else 0.0,  # what is known of it; nobody looks for more
        max_rate_bound_per_s=float(sum(1.0 / one.mean_s.min() for one in able)),
        solve_s=0.0,
    )
