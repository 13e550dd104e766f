"""What every coordinator decides, whether its clock is real or simulated: who follows a request, who plans its rest."""

from __future__ import annotations

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions, Plan
from equipoise.core.request import Request
from equipoise.dispatch.commands import AskForPlan
from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.dispatch.order import Shuffled
from equipoise.dispatch.settings import Settings
from equipoise.planning.fleet import Fleet
from equipoise.planning.strategies import strategy_named
from equipoise.planning.underway import plan_underway


def dispatcher_for(
    request: Request, cluster: Cluster, strategy: str, *, seed: int, conditions: Conditions | None = None
) -> Dispatcher:
    """The dispatcher that carries out a strategy's plans as that strategy would.

    `seed` is that of the random order in which items are given out. Raises UnknownStrategyError.
    """
    chosen = strategy_named(strategy)
    settings = Settings(replan=chosen.adapts, pooled=chosen.pooled, duplicate_stragglers=chosen.adapts)
    order = Shuffled(request.items, seed)
    return Dispatcher(request, cluster, order, settings=settings, conditions=conditions)


class CachingPlanner:
    """The planner for a strategy by name; what it derives from a cluster is kept while that stays the same object."""

    def __init__(self, strategy: str = "equipoise") -> None:
        self._strategy = strategy
        self._fleet: Fleet | None = None

    def __call__(self, ask: AskForPlan) -> Plan:
        """Plan the rest. Raises PlanningError."""
        if self._fleet is None or self._fleet.cluster is not ask.cluster:
            self._fleet = Fleet.of(ask.cluster)
        return plan_underway(ask.request, self._fleet, ask.conditions, self._strategy)
