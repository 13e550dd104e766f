"""Who decides for the streams of a run: a strategy that plans routes, or a policy that decides online; by name."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions
from equipoise.core.stream import StreamPlan, StreamRequest
from equipoise.dispatch.stream.dispatcher import StreamDispatcher
from equipoise.dispatch.stream.events import AskForStreamPlan
from equipoise.dispatch.stream.settings import Replans, StreamSettings
from equipoise.errors import PlanningError, UsageError
from equipoise.planning.stream_baselines import STREAM_BASELINES, plan_stream_as
from equipoise.policies.registry import STREAM_MAKERS, make_stream_router

_OURS = "equipoise"
_LITERATURE = StreamSettings(replans=Replans.ON_LOSS, diverts=False)
_ONLINE = StreamSettings(replans=Replans.NEVER, diverts=False)


class StreamPolicy(Protocol):
    """As a Policy is for requests (policy.py)."""

    def admit(self, request: StreamRequest, conditions: Conditions) -> StreamPlan:
        """What is promised; an infeasible plan declines. Raises PlanningError."""

    def follow(self, request: StreamRequest, conditions: Conditions, *, seed: int) -> StreamDispatcher:
        """Who follows an admitted stream; `seed` is for whatever it leaves to chance."""

    def plan(self, ask: AskForStreamPlan) -> StreamPlan:
        """The answer to its AskForStreamPlan. Raises PlanningError."""


class PlannedStreams:
    """Routes by a strategy; ours alone is planned anew for drift, and sends elsewhere what would be late."""

    def __init__(self, cluster: Cluster, strategy: str) -> None:
        self._cluster, self._strategy = cluster, strategy

    def admit(self, request: StreamRequest, conditions: Conditions) -> StreamPlan:
        """The strategy's plan."""
        return plan_stream_as(self._strategy, request, self._cluster, conditions)

    def follow(self, request: StreamRequest, conditions: Conditions, *, seed: int) -> StreamDispatcher:
        """The dispatcher, which leaves nothing to chance."""
        settings = StreamSettings() if self._strategy == _OURS else _LITERATURE
        return StreamDispatcher(request, self._cluster, settings=settings, conditions=conditions)

    def plan(self, ask: AskForStreamPlan) -> StreamPlan:
        """The strategy's plan for what is there now."""
        return plan_stream_as(self._strategy, ask.request, ask.cluster, ask.conditions)


class OnlineStreams:
    """A router by name. It declines nothing: it has no plan that could say that it should."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self._name = cluster, name

    def admit(self, request: StreamRequest, conditions: Conditions) -> StreamPlan:
        """A plan without routes, that expects what shares by speed would with the variant that suits them best."""
        expected = plan_stream_as("proportional-variant", request, self._cluster, conditions)
        return msgspec.structs.replace(expected, feasible=True, routes=())

    def follow(self, request: StreamRequest, conditions: Conditions, *, seed: int) -> StreamDispatcher:
        """The dispatcher that asks the router."""
        router = make_stream_router(self._name, request, self._cluster, np.random.default_rng(seed), conditions)
        return StreamDispatcher(request, self._cluster, settings=_ONLINE, conditions=conditions, router=router)

    def plan(self, ask: AskForStreamPlan) -> StreamPlan:
        """Nobody asks. Raises PlanningError."""
        raise PlanningError(f"{self._name} makes no plans")


def stream_policy(name: str, cluster: Cluster) -> StreamPolicy:
    """That of a strategy or policy by name. Raises UsageError for one that takes no streams."""
    if name in STREAM_MAKERS:
        return OnlineStreams(cluster, name)
    if name == _OURS or name in STREAM_BASELINES:
        return PlannedStreams(cluster, name)
    known = ", ".join(dict.fromkeys((_OURS, *STREAM_BASELINES, *STREAM_MAKERS)))
    raise UsageError(f"{name} takes requests but no streams; streams are taken by {known}")
