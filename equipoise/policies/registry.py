"""Every policy that decides online, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.plan import Conditions
from equipoise.core.request import Request
from equipoise.core.stream import StreamRequest
from equipoise.dispatch.router import Router
from equipoise.planning.planner import plan
from equipoise.planning.strategies import unknown_strategy
from equipoise.planning.stream_baselines import largest_rates, plan_stream_as
from equipoise.policies.bandit import Bandit
from equipoise.policies.fastest_host import FastestHost
from equipoise.policies.infaas import Infaas
from equipoise.policies.join_shortest_queue import JoinShortestQueue
from equipoise.policies.model_switching import ModelSwitching
from equipoise.policies.power_of_two import PowerOfTwo
from equipoise.policies.work_stealing import WorkStealing

POOLED = "work-stealing"  # plans batches; of streams it decides online, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is known when a system is set up for a request or stream.

    variant           the one that is deployed everywhere for a system that knows of one model only
    accuracies        of every variant
    capacities_per_s  as ModelSwitching has it
    """

    variant: Callable[[], str]
    accuracies: Mapping[str, float]
    floor: float
    capacities_per_s: Callable[[], Mapping[tuple[ProcessorId, str], float]] = field(default=dict)


Make = Callable[[Deployment, np.random.Generator], Router]

MAKERS: dict[str, Make] = {
    "join-shortest-queue": lambda known, rng: JoinShortestQueue(known.variant()),
    "power-of-two": lambda known, rng: PowerOfTwo(known.variant(), rng),
    "fastest-host": lambda known, rng: FastestHost(known.variant()),
    "model-switching": lambda known, rng: ModelSwitching(known.accuracies, known.capacities_per_s()),
    "infaas": lambda known, rng: Infaas(known.accuracies, known.floor),
    "bandit": lambda known, rng: Bandit(known.accuracies, rng),
}
STREAM_MAKERS: dict[str, Make] = MAKERS | {POOLED: lambda known, rng: WorkStealing(known.variant())}


def deployed_variant(request: Request, cluster: Cluster, conditions: Conditions) -> str:
    """The variant that an operator would deploy everywhere for a system that knows of one model only.

    The one that keeps both promises if whoever is idle takes the next item, with the most accuracy to spare; if none
    does, the one that comes closest. Raises PlanningError if no processor is available.
    """
    return plan(request, cluster, conditions, "work-stealing").shares[0].variant


def make_router(
    name: str, request: Request, cluster: Cluster, rng: np.random.Generator, conditions: Conditions | None = None
) -> Router:
    """A new router for one request; what it leaves to chance is drawn from `rng`.

    Raises UnknownStrategyError, and PlanningError if no processor is available.
    """
    if name not in MAKERS:
        raise unknown_strategy(name)
    known = Deployment(
        variant=lambda: deployed_variant(request, cluster, conditions or {}),
        accuracies=_accuracies(cluster),
        floor=request.requirement.min_accuracy,
    )
    return MAKERS[name](known, rng)


def make_stream_router(
    name: str, request: StreamRequest, cluster: Cluster, rng: np.random.Generator, conditions: Conditions
) -> Router:
    """A new router for one stream. An operator deploys the variant with which shares by speed keep both promises.

    Raises UnknownStrategyError, and PlanningError if no processor is available.
    """
    if name not in STREAM_MAKERS:
        raise unknown_strategy(name)
    known = Deployment(
        variant=lambda: plan_stream_as("proportional-variant", request, cluster, conditions).routes[0].variant,
        accuracies=_accuracies(cluster),
        floor=request.min_accuracy,
        capacities_per_s=lambda: largest_rates(request, cluster, conditions),
    )
    return STREAM_MAKERS[name](known, rng)


def _accuracies(cluster: Cluster) -> dict[str, float]:
    return {variant.name: variant.accuracy for variant in cluster.variants}
