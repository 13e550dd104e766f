"""The seam between a scenario and whoever decides: a policy admits requests, and names who follows each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Conditions, Plan
from equipoise.core.request import Request
from equipoise.dispatch.commands import AskForPlan, Command, Finish
from equipoise.dispatch.coordination import CachingPlanner, dispatcher_for
from equipoise.dispatch.events import Event
from equipoise.dispatch.progress import Progress
from equipoise.planning.fleet import Fleet
from equipoise.planning.strategies import ONLINE, strategy_named
from equipoise.runtime.admission import admit
from equipoise.simulation.online import Online
from equipoise.simulation.scenario import Scenario


class Follower(Protocol):
    """Follows one request: events in, commands out, as production's Dispatcher does, which is one.

    It is told what the real one is told, in the same words, and knows no more: its own tasks, what came of them, which
    nodes the network sees. Its last command is Finish.
    """

    @property
    def finish(self) -> Finish | None:
        """How the request ended; None while it runs."""

    def start(self, now_s: float, plan: Plan | None = None) -> list[Command]:
        """Begin, with the plan that the request was admitted with."""

    def handle(self, event: Event) -> list[Command]:
        """What to do about an event."""

    def progress(self, now_s: float) -> Progress:
        """How far the request is; of it the receipt is made."""


class Policy(Protocol):
    """Decides for the requests of one run, in the order in which they come; it may learn from one for the next."""

    @property
    def name(self) -> str:
        """What it is called in results."""

    def admit(self, request: Request, conditions: Conditions) -> Plan:
        """What is promised; an infeasible plan declines, and so does PlanningError.

        `conditions` are what the nodes say of themselves. A policy that plans no shares says what it expects.
        """

    def follow(self, request: Request, plan: Plan, conditions: Conditions, *, seed: int) -> Follower:
        """Who follows an admitted request; `seed` is for whatever it leaves to chance."""

    def plan(self, ask: AskForPlan) -> Plan:
        """The answer to a follower's AskForPlan. Raises PlanningError."""


PolicyMaker = Callable[[Cluster, Scenario, int], Policy]  # the scenario is for a clairvoyant alone; the seed


class Production:
    """Production's admission, dispatcher and planner, with a strategy by name. Raises UnknownStrategyError."""

    def __init__(self, cluster: Cluster, strategy: str) -> None:
        self.name = strategy_named(strategy).name
        self._fleet = Fleet.of(cluster)
        self._planner = CachingPlanner(strategy)

    def admit(self, request: Request, conditions: Conditions) -> Plan:
        """As `equipoise run` does, but for the exact solver's word, which depends on how fast this machine is."""
        return admit(request, self._fleet, self.name, conditions=conditions, settle_s=0.0)

    def follow(self, request: Request, plan: Plan, conditions: Conditions, *, seed: int) -> Follower:
        """The dispatcher."""
        return dispatcher_for(request, self._fleet.cluster, plan.strategy, seed=seed, conditions=conditions)

    def plan(self, ask: AskForPlan) -> Plan:
        """The planner's answer."""
        return self._planner(ask)


def policy_maker(name: str) -> PolicyMaker:
    """The policy of that name: a strategy's, carried out by production's code, or one that decides online.

    Raises UnknownStrategyError.
    """
    if name in ONLINE:
        return lambda cluster, _scenario, _seed: Online(cluster, name)
    strategy_named(name)
    return lambda cluster, _scenario, _seed: Production(cluster, name)
