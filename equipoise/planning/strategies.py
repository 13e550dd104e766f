"""The registry of strategies: every way to plan, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from equipoise.core.plan import Plan
from equipoise.errors import OnlineStrategyError, ScenarioNeededError, UnknownStrategyError
from equipoise.planning import baselines, exact, joint, proteus
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import Ints, Problem

Candidates = Callable[[Problem], Iterator[Ints]]


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A way to plan. `solve` returns the plan that keeps both promises, or None.

    polish    makes a plan better, where there is the time for it
    settle    looks again, exactly, for at most so many seconds: where `solve` may have missed a plan, or for a
              better one than that which is known
    adapts    its plan is made anew when the world drifts; the literature's only when a node is lost
    pooled    whoever is idle takes the next item, whatever the shares say
    joint     it plans the whole problem, so where it finds nothing the fast method's closest plans are its own
    solver    it asks a MILP solver each time: slow, and not there on every board, so used only by name
    """

    name: str
    summary: str
    solve: Callable[[Problem], Plan | None]
    polish: Callable[[Problem, Plan], Plan] = lambda problem, plan: plan
    settle: Callable[[Problem, float, Plan | None], Plan | None] = lambda problem, seconds, known: None
    candidates: Candidates | None = None
    adapts: bool = False
    pooled: bool = False
    joint: bool = False
    solver: bool = False


def _among(name: str, candidates: Candidates) -> Callable[[Problem], Plan | None]:
    """A solver that takes the best of a few candidates."""

    def solve(problem: Problem) -> Plan | None:
        best: Prediction | None = None
        for counts in candidates(problem):
            prediction = problem.predict_counts(counts)
            if problem.keeps(prediction) and (best is None or problem.better(prediction, best)):
                best = prediction
        return None if best is None else problem.plan(name, best)

    return solve


def _baseline(name: str, summary: str, candidates: Candidates, *, pooled: bool = False) -> Strategy:
    return Strategy(name=name, summary=summary, solve=_among(name, candidates), candidates=candidates, pooled=pooled)


STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy(
            name="equipoise",
            summary="shares and variants chosen together",
            solve=joint.solve,
            polish=joint.polish,
            settle=exact.settle,
            adapts=True,
            joint=True,
        ),
        Strategy(
            name="milp", summary="the same, exactly, by a MILP solver", solve=exact.solve, joint=True, solver=True
        ),
        Strategy(
            name="proteus", summary="one variant per processor, by a MILP solver", solve=proteus.solve, solver=True
        ),
        _baseline("single", "the best one node, one variant", baselines.single),
        _baseline("uniform", "equal shares, most accurate variant", baselines.uniform),
        _baseline("uniform-variant", "equal shares, one variant for all", baselines.uniform_variant),
        _baseline("proportional", "shares by speed, most accurate variant", baselines.proportional),
        _baseline("proportional-variant", "shares by speed, one variant for all", baselines.proportional_variant),
        _baseline("work-stealing", "whoever is idle pulls, one variant for all", baselines.work_stealing, pooled=True),
    )
}


# These decide item by item while the request runs, so that there is nothing to plan; see equipoise/policies.
ONLINE = {
    "join-shortest-queue": "to the shortest queue, one variant for all",
    "power-of-two": "to the shorter of two queues drawn at random, one variant for all",
    "fastest-host": "to the node that answered fastest of late, one variant for all",
    "model-switching": "one variant for all, switched by load",
    "infaas": "the cheapest variant that keeps the floor, where it is answered first",
    "bandit": "response times learned, the quickest that is accurate enough",
}


CLAIRVOYANT = "clairvoyant"  # knows what will happen: a limit, computed from a scenario, that nothing plans or runs


def unknown_strategy(name: str) -> UnknownStrategyError:
    """What to raise about a name that nothing has."""
    return UnknownStrategyError(f"unknown strategy {name!r}; known: {', '.join([*STRATEGIES, *ONLINE, CLAIRVOYANT])}")


def strategy_named(name: str) -> Strategy:
    """The strategy of that name. Raises UnknownStrategyError, which lists those that exist.

    Raises OnlineStrategyError if that one decides online, so that it has no plan, and ScenarioNeededError if it is the
    clairvoyant, which has none either.
    """
    if name == CLAIRVOYANT:
        raise ScenarioNeededError(
            f"strategy {name!r} needs a scenario to foresee, and is a limit that cannot be planned or run; "
            f"equipoise simulate CLUSTER.json SCENARIO.toml --strategy {name} shows it"
        )
    if name in ONLINE:
        raise OnlineStrategyError(
            f"strategy {name!r} decides online, item by item, and makes no plan; "
            "it can only be simulated (equipoise simulate)"
        )
    if name not in STRATEGIES:
        raise unknown_strategy(name)
    return STRATEGIES[name]
