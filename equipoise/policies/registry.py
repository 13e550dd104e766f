"""Every policy that decides online, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions
from equipoise.core.request import Request
from equipoise.dispatch.router import Router
from equipoise.planning.planner import plan
from equipoise.planning.strategies import unknown_strategy
from equipoise.policies.bandit import Bandit
from equipoise.policies.fastest_host import FastestHost
from equipoise.policies.infaas import Infaas
from equipoise.policies.join_shortest_queue import JoinShortestQueue
from equipoise.policies.model_switching import ModelSwitching
from equipoise.policies.power_of_two import PowerOfTwo

Make = Callable[[Request, Cluster, Conditions, np.random.Generator], Router]


def deployed_variant(request: Request, cluster: Cluster, conditions: Conditions) -> str:
    """The variant that an operator would deploy everywhere for a system that knows of one model only.

    The one that keeps both promises if whoever is idle takes the next item, with the most accuracy to spare; if none
    does, the one that comes closest. Raises PlanningError if no processor is available.
    """
    return plan(request, cluster, conditions, "work-stealing").shares[0].variant


def _accuracies(cluster: Cluster) -> dict[str, float]:
    return {variant.name: variant.accuracy for variant in cluster.variants}


def _join_shortest_queue(request: Request, cluster: Cluster, conditions: Conditions, _: np.random.Generator) -> Router:
    return JoinShortestQueue(deployed_variant(request, cluster, conditions))


def _power_of_two(request: Request, cluster: Cluster, conditions: Conditions, rng: np.random.Generator) -> Router:
    return PowerOfTwo(deployed_variant(request, cluster, conditions), rng)


def _fastest_host(request: Request, cluster: Cluster, conditions: Conditions, _: np.random.Generator) -> Router:
    return FastestHost(deployed_variant(request, cluster, conditions))


def _model_switching(_: Request, cluster: Cluster, __: Conditions, ___: np.random.Generator) -> Router:
    return ModelSwitching(_accuracies(cluster))


def _infaas(request: Request, cluster: Cluster, _: Conditions, __: np.random.Generator) -> Router:
    return Infaas(_accuracies(cluster), request.requirement.min_accuracy)


def _bandit(_: Request, cluster: Cluster, __: Conditions, rng: np.random.Generator) -> Router:
    return Bandit(_accuracies(cluster), rng)


MAKERS: dict[str, Make] = {
    "join-shortest-queue": _join_shortest_queue,
    "power-of-two": _power_of_two,
    "fastest-host": _fastest_host,
    "model-switching": _model_switching,
    "infaas": _infaas,
    "bandit": _bandit,
}


def make_router(
    name: str, request: Request, cluster: Cluster, rng: np.random.Generator, conditions: Conditions | None = None
) -> Router:
    """A new router for one request; what it leaves to chance is drawn from `rng`.

    Raises UnknownStrategyError, and PlanningError if no processor is available.
    """
    if name not in MAKERS:
        raise unknown_strategy(name)
    return MAKERS[name](request, cluster, conditions or {}, rng)
