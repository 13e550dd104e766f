"""Streams: steady routing fractions for a rate of arrivals, with a latency that items stay within; the largest rate.

Whether a processor may take a rate is decided by the queue in waiting.py; stations.py finds each processor's mixes,
capacity.py divides the rate. `predict_stream` has the last word on every plan: it works out every route's quantile
again from the cluster description, by another method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.plan import Conditions
from equipoise.core.request import Prefer
from equipoise.core.stream import Route, StreamNeeds, StreamPlan, StreamRequest
from equipoise.errors import PlanningError
from equipoise.planning.capacity import TOLERANCE, Capacity, Division
from equipoise.planning.stations import Services, services
from equipoise.planning.waiting import CELLS, Floats, residual_cells, served_cells, waiting_cells

_NOTHING_CHANGED: Conditions = {}
_PRECISION = 5e-4  # relative, of a search for a latency; queues are not known any better
_DOUBLINGS = 40
_SHORT = 0.25  # of a horizon: a latency so short is looked at more closely
_FOREVER = 1e9  # services: so long that no wait counts
_QUANTILE_HALVINGS = 26
_SLACK = 1e-5  # relative, of the fraction that is late: what two ways to compute it may differ by


class StreamPrediction(NamedTuple):
    """What to expect of routes; theirs have their `utilisation` and `item_latency_s` set."""

    routes: tuple[Route, ...]
    rate_per_s: float
    accuracy: float
    item_latency_s: float
    utilisation: float


def plan_stream(
    request: StreamRequest,
    cluster: Cluster,
    conditions: Conditions = _NOTHING_CHANGED,
    *,
    clock: Callable[[], float] | None = None,
) -> StreamPlan:
    """Where the items of a stream go, whether that keeps the promises, and the largest rate that would.

    The speed and availability of `conditions` count; loads and work that is queued do not last, so they do not.
    `clock` stamps the plan with the seconds that planning took.

    Raises PlanningError if no processor is available that has a profile of any variant.
    """
    started_s = clock() if clock else 0.0
    if not any(one.variants for one in services(cluster, conditions)):
        raise PlanningError("no processor is available that has a profile of any variant")
    found = _answer(_Question(request, cluster, conditions))
    return msgspec.structs.replace(found, solve_s=clock() - started_s) if clock else found


def predict_stream(
    request: StreamRequest, cluster: Cluster, routes: Sequence[Route], conditions: Conditions = _NOTHING_CHANGED
) -> StreamPrediction:
    """Utilisation and quantile of every route, from their rates; a latency is inf if a queue grows without end.

    Raises KeyError if a route names what the cluster lacks.
    """
    given = {one.pid: one for one in services(cluster, conditions)}
    by_pid: dict[ProcessorId, list[Route]] = {}
    for route in routes:
        by_pid.setdefault(route.pid, []).append(route)
    judged = {pid: _judged(request, given[pid], there) for pid, there in by_pid.items()}
    ordered = tuple(judged[route.pid].pop(0) for route in routes)
    rate_per_s = sum(route.rate_per_s for route in ordered)
    earned = sum(route.rate_per_s * cluster.variant(route.variant).accuracy for route in ordered)
    return StreamPrediction(
        routes=ordered,
        rate_per_s=rate_per_s,
        accuracy=earned / rate_per_s if rate_per_s > 0 else 0.0,
        item_latency_s=max((route.item_latency_s for route in ordered), default=0.0),
        utilisation=max((route.utilisation for route in ordered), default=0.0),
    )


class _Question(NamedTuple):
    """What is asked; an allowance is a latency that is tried for its items."""

    request: StreamRequest
    cluster: Cluster
    conditions: Conditions

    def capacity(self, allowance_s: float) -> Capacity:
        """What the cluster can take within this latency."""
        return Capacity(self.cluster, self.conditions, allowance_s, self.request.confidence)

    def predict(self, division: Division, allowance_s: float) -> StreamPrediction:
        """What to expect of a division of a rate that is counted per allowance."""
        request = msgspec.structs.replace(self.request, item_latency_s=allowance_s)
        return predict_stream(request, self.cluster, _routes(division, allowance_s), self.conditions)

    def accurate(self, accuracy: float) -> bool:
        """True if this keeps the floor."""
        return accuracy >= self.request.min_accuracy * (1 - TOLERANCE)


def _answer(question: _Question) -> StreamPlan:
    request, allowance_s = question.request, question.request.item_latency_s
    capacity = question.capacity(allowance_s)
    largest = capacity.largest(request.min_accuracy)
    max_rate_per_s = largest.rate / allowance_s if largest is not None else 0.0
    found = _promise(question, capacity, allowance_s, largest)
    bound = None
    if found is None:
        shown = question.predict(largest, allowance_s) if largest is not None else None
    elif request.prefer is Prefer.LATENCY:
        bound = _least(allowance_s, lambda tried_s: _admits(question, tried_s), low_s=0.0)
        shown = _fastest(question, found, bound)
    else:
        bound = capacity.accuracy_bound(request.arrivals_per_s * allowance_s)
        shown = found
    shown = shown or StreamPrediction((), 0.0, 0.0, 0.0, 0.0)
    return StreamPlan(
        feasible=found is not None,
        prefer=request.prefer,
        rate_per_s=shown.rate_per_s,
        routes=shown.routes,
        accuracy=shown.accuracy,
        item_latency_s=shown.item_latency_s,
        utilisation=shown.utilisation,
        bound=bound,
        gap=_gap(request.prefer, shown, bound),
        max_rate_per_s=max(max_rate_per_s, request.arrivals_per_s) if found is not None else max_rate_per_s,
        max_rate_bound_per_s=capacity.rate_bound(request.min_accuracy) / allowance_s,
        solve_s=0.0,
        needs=_needs(question, capacity, max_rate_per_s) if found is None else None,
    )


def _promise(
    question: _Question, capacity: Capacity, allowance_s: float, largest: Division | None
) -> StreamPrediction | None:
    """The most accurate routes for the rate asked for within this latency, if they keep the floor.

    Those of the largest rate, thinned, are among the candidates: so every rate up to that one is promised.
    """
    rate = question.request.arrivals_per_s * allowance_s
    found = capacity.most_accurate(rate)
    candidates = [found] if found is not None else []
    if largest is not None and largest.rate >= rate * (1 - TOLERANCE):
        candidates.append(largest.thinned(rate))
    best = max(candidates, key=lambda one: one.accuracy, default=None)
    if best is None or not question.accurate(best.accuracy):
        return None
    prediction = question.predict(best, allowance_s)
    return prediction if prediction.item_latency_s <= allowance_s * (1 + _SLACK) else None


def _fastest(question: _Question, known: StreamPrediction, bound_s: float) -> StreamPrediction:
    """The routes whose slowest is fastest at the floor; no slower than those that are known."""

    def tried(allowance_s: float) -> StreamPrediction | None:
        return _promise(question, question.capacity(allowance_s), allowance_s, None)

    allowance_s = _least(known.item_latency_s, lambda tried_s: tried(tried_s) is not None, low_s=bound_s)
    return min(known, tried(allowance_s) or known, key=lambda one: one.item_latency_s)


def _least(high_s: float, feasible: Callable[[float], bool], *, low_s: float) -> float:
    """The least latency that is feasible, between one that may not be and one that is."""
    while high_s - low_s > _PRECISION * high_s:
        middle_s = (low_s + high_s) / 2
        low_s, high_s = (low_s, middle_s) if feasible(middle_s) else (middle_s, high_s)
    return high_s


def _admits(question: _Question, allowance_s: float) -> bool:
    """False if it is proven that nothing keeps the floor within this latency."""
    bound = question.capacity(allowance_s).accuracy_bound(question.request.arrivals_per_s * allowance_s)
    return bound is not None and question.accurate(bound)


def _needs(question: _Question, capacity: Capacity, max_rate_per_s: float) -> StreamNeeds:
    request, allowance_s = question.request, question.request.item_latency_s
    at_rate = capacity.most_accurate(request.arrivals_per_s * allowance_s)
    return StreamNeeds(
        arrivals_per_s=max_rate_per_s or None,
        item_latency_s=_needed_latency_s(question),
        min_accuracy=at_rate.accuracy if at_rate is not None else None,
    )


def _needed_latency_s(question: _Question) -> float | None:
    """The least latency at which the rate and the floor can be promised together; None if they never can."""
    services_s = [one.mean_s for one in services(question.cluster, question.conditions) if one.variants]
    slowest_s, fastest_s = max(map(np.max, services_s)), min(map(np.min, services_s))
    if not _admits(question, _FOREVER * float(slowest_s)):
        return None

    def feasible(allowance_s: float) -> bool:
        return _promise(question, question.capacity(allowance_s), allowance_s, None) is not None

    low_s = max(question.request.item_latency_s, float(fastest_s) / 2)
    for _ in range(_DOUBLINGS):
        if feasible(2 * low_s):
            return _least(2 * low_s, feasible, low_s=low_s)
        low_s *= 2
    return None


def _gap(prefer: Prefer, shown: StreamPrediction, bound: float | None) -> float | None:
    """Distance to the bound, relative to the larger of the two."""
    if bound is None:
        return None
    low, high = (bound, shown.item_latency_s) if prefer is Prefer.LATENCY else (shown.accuracy, bound)
    return max(0.0, high - low) / high if high > 0 else 0.0


def _routes(division: Division, allowance_s: float) -> list[Route]:
    total = division.rate
    return [
        Route(
            node=load.pid.node,
            processor=load.pid.processor,
            variant=variant,
            fraction=float(part) * load.rate / total,
            rate_per_s=float(part) * load.rate / allowance_s,
            utilisation=0.0,
            item_latency_s=0.0,
        )
        for load in division.loads
        for variant, part in zip(load.station.services.variants, load.station.fractions(load.mix)[0], strict=True)
        if part > 0
    ]


def _judged(request: StreamRequest, given: Services, routes: Sequence[Route]) -> list[Route]:
    """The routes over one processor, with what its queue and its link's make of them."""
    utilisation, latency_s = _latencies(request, given, routes)
    return [
        msgspec.structs.replace(route, utilisation=utilisation, item_latency_s=float(seconds))
        for route, seconds in zip(routes, latency_s, strict=True)
    ]


def _latencies(request: StreamRequest, given: Services, routes: Sequence[Route]) -> tuple[float, Floats]:
    """The processor's utilisation, and seconds from arrival to answer, on a lattice that fits them."""
    at = [_place(given, route.variant) for route in routes]
    there = (given.mean_s[at], given.stddev_s[at], given.transfer_s[at])
    rates = np.array([route.rate_per_s for route in routes])
    utilisation, latency_s = float(rates @ there[0]), np.full(len(at), np.inf)
    if utilisation >= 1 or rates @ there[2] >= 1:
        return utilisation, latency_s

    def up_to(horizon_s: float) -> Floats:
        return _latencies_up_to(horizon_s, 1.0 - request.confidence, rates, there, given.link_s)

    horizon_s = request.item_latency_s
    latency_s = up_to(horizon_s)
    while np.isinf(latency_s).any():
        horizon_s *= 2
        latency_s = up_to(horizon_s)
    while latency_s.max() < _SHORT * horizon_s:
        horizon_s = 2 * float(latency_s.max())
        closer_s = up_to(horizon_s)
        if np.isinf(closer_s).any():
            break
        latency_s = closer_s
    return utilisation, latency_s


def _latencies_up_to(
    horizon_s: float, late: float, rates: Floats, there: tuple[Floats, Floats, Floats], link_s: float
) -> Floats:
    """(V,) seconds from arrival to answer, of all but the fraction `late`; inf beyond the horizon.

    there   (V,) mean and spread of the service, and seconds on the link
    """
    mean_s, stddev_s, transfer_s = there
    wait, sent = _wait(rates, mean_s, stddev_s, horizon_s), transfer_s > 0
    if sent.any():
        on_link = _wait(rates[sent], transfer_s[sent], np.zeros(sent.sum()), horizon_s)
        wait = np.convolve(wait, on_link)[:CELLS]
    left = (horizon_s - link_s - transfer_s) / horizon_s
    return _quantiles(late, wait, left, mean_s / horizon_s, stddev_s / horizon_s) * horizon_s


def _place(given: Services, variant: str) -> int:
    if variant not in given.variants:
        raise KeyError(f"{variant} on {given.pid}")
    return given.variants.index(variant)


def _wait(rates: Floats, mean_s: Floats, stddev_s: Floats, horizon_s: float) -> Floats:
    """(CELLS,) probabilities of the wait for a server that is this busy with each of these, up to the horizon."""
    busy = rates * mean_s
    residual = busy / busy.sum() @ residual_cells(mean_s / horizon_s, stddev_s / horizon_s)
    return waiting_cells(float(busy.sum()), residual)


def _quantiles(late: float, wait: Floats, left: Floats, mean: Floats, stddev: Floats) -> Floats:
    """(V,) from arrival to answer, all but the fraction `late`, in horizons; inf where that is beyond the horizon.

    left   (V,) of the horizon, for waiting and service
    """

    def longer(than: Floats) -> npt.NDArray[np.bool_]:
        served = served_cells(left - 1.0 + than, mean, stddev) @ wait
        found: npt.NDArray[np.bool_] = 1.0 - served > late * (1.0 + _SLACK)
        return found

    low, high = np.zeros(len(left)), np.ones(len(left))
    beyond = longer(high)
    for _ in range(_QUANTILE_HALVINGS):
        middle = (low + high) / 2
        later = longer(middle)
        low, high = np.where(later, middle, low), np.where(later, high, middle)
    return np.where(beyond, np.inf, high)
