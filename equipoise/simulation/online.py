"""Policies that decide online, item by item (equipoise/policies), as what decides in a simulation."""

from __future__ import annotations

import msgspec
import numpy as np

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions, Plan
from equipoise.core.request import Request
from equipoise.dispatch.commands import AskForPlan
from equipoise.dispatch.online import OnlineDispatcher
from equipoise.dispatch.order import Shuffled
from equipoise.errors import PlanningError
from equipoise.planning.planner import plan as plan_with
from equipoise.policies.registry import make_router


class Online:
    """A serving system with a router by name. It declines nothing: it has no plan that could say that it should."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self._cluster = cluster

    def admit(self, request: Request, conditions: Conditions) -> Plan:
        """A plan without shares, that expects what work stealing would with the variant that suits it best.

        Raises PlanningError if no processor is available.
        """
        expected = plan_with(request, self._cluster, conditions, "work-stealing", settle_s=0.0)
        return msgspec.structs.replace(
            expected, feasible=True, strategy=self.name, shares=(), closest=None, needs=None, bound=None, gap=None
        )

    def follow(self, request: Request, plan: Plan, conditions: Conditions, *, seed: int) -> OnlineDispatcher:
        """The dispatcher that asks the router."""
        router = make_router(self.name, request, self._cluster, np.random.default_rng(seed), conditions)
        order = Shuffled(request.items, seed)
        return OnlineDispatcher(request, self._cluster, order, router=router, conditions=conditions)

    def plan(self, ask: AskForPlan) -> Plan:
        """Nobody asks. Raises PlanningError."""
        raise PlanningError(f"{self.name} makes no plans")
