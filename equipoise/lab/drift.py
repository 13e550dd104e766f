"""Promises under drift: boards slow down, leave, or are not what their profiles say, in virtual time.

Every strategy meets the same requests and the same luck. docs/paper.md has the definitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from equipoise.core.cluster import Cluster, Node, Processor, Profile
from equipoise.core.request import Requirement
from equipoise.lab.catalogue import published
from equipoise.lab.grid import OURS, at_floor
from equipoise.lab.paper import paper_boards
from equipoise.planning.fleet import Fleet
from equipoise.planning.strategies import ONLINE, STRATEGIES
from equipoise.simulation import BatchRequest, Leaves, Load, Scenario, Truth, simulate
from equipoise.simulation.attainment import Attainment, attainment

ITEMS = 500
CONFIDENCE = 0.95
SLACK = 2.5  # deadline over the shortest time at the floor
SPREAD = 0.05  # standard deviation of a call over its mean; nobody published one
RUNS = 24
DECIDERS = (*STRATEGIES, *ONLINE)  # all that can be simulated: what plans, and what decides item by item

DRIFTS = {
    "nothing": "nothing happens",
    "slow": "one of the boards runs at 50 % from a quarter of the deadline on",
    "leaves": "one of the boards is unplugged at a quarter of the deadline",
    "profiles": "every processor is up to 20 % faster or slower than its profile says",
    "all": "wrong profiles, a board at 50 % from a quarter of the deadline on, and a board unplugged at half of it",
}


class Drifted(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one strategy under one drift, over all runs; `of_asked` is kept over asked."""

    drift: str
    strategy: str
    attainment: Attainment
    of_asked: float


class Trial(NamedTuple):
    """A strategy to be put to so many requests under a drift; each is independent of every other."""

    drift: str
    strategy: str
    runs: int
    boards: str = "three"


def trials(runs: int, strategies: Sequence[str] = DECIDERS, boards: str = "three") -> Iterator[Trial]:
    """Every strategy under every drift, on one of BOARDS."""
    return (Trial(drift, strategy, runs, boards) for strategy in strategies for drift in DRIFTS)


def uncertain_boards() -> Cluster:
    """The paper's boards, with a spread that makes calls uncertain."""
    return uncertain(paper_boards())


def ten_boards() -> Cluster:
    """All ten published boards that run ncnn, with the variants that were measured on every one, likewise uncertain."""
    catalogue = published("ncnn")
    return uncertain(catalogue.cluster(board.name for board in catalogue.boards))


def uncertain(cluster: Cluster) -> Cluster:
    """The same with calls that scatter by SPREAD of their mean."""
    return msgspec.structs.replace(cluster, nodes=tuple(_spread_node(node) for node in cluster.nodes))


def _spread_node(node: Node) -> Node:
    return msgspec.structs.replace(node, processors=tuple(_spread_processor(p) for p in node.processors))


def _spread_processor(processor: Processor) -> Processor:
    return msgspec.structs.replace(processor, profiles=tuple(_spread(profile) for profile in processor.profiles))


def _spread(profile: Profile) -> Profile:
    stddev_s = {batch: SPREAD * seconds for batch, seconds in profile.latency_s.items()}
    return msgspec.structs.replace(profile, latency_stddev_s=stddev_s)


BOARDS = {"three": uncertain_boards, "ten": ten_boards}


def scenario(cluster: Cluster, drift: str, run: int) -> Scenario:
    """One request for ITEMS items and what befalls it; the floor differs from run to run."""
    request = asked(cluster, run)
    assert request.requirement.deadline_s is not None
    at_s, one = request.requirement.deadline_s / 4, 1 / len(cluster.nodes)
    slow = Load(at_s=at_s, fraction=one, speed=0.5)
    events: dict[str, tuple[Load | Leaves, ...]] = {
        "slow": (slow,),
        "leaves": (Leaves(at_s=at_s, fraction=one),),
        "all": (slow, Leaves(at_s=2 * at_s, fraction=one)),
    }
    return Scenario(
        requests=(request,),
        events=events.get(drift, ()),
        truth=Truth(speed_error=0.2 if drift in {"profiles", "all"} else 0.0),
    )


def asked(cluster: Cluster, run: int) -> BatchRequest:
    """The request of a run: ITEMS items within SLACK times the shortest time at a floor of the run's own."""
    fleet = Fleet.of(cluster)
    lowest = at_floor(fleet, ITEMS, 0.0, OURS).accuracy
    floor = lowest + (0.1 + 0.7 * (run % 8) / 7) * (fleet.best_accuracy - lowest)
    deadline_s = SLACK * at_floor(fleet, ITEMS, floor, OURS).latency_s
    return BatchRequest(
        items=ITEMS, requirement=Requirement(deadline_s=deadline_s, min_accuracy=floor, confidence=CONFIDENCE)
    )


def drifted(cluster: Cluster, drift: str, strategy: str, runs: int = RUNS) -> Drifted:
    """A strategy under a drift, with the seeds 0, 1, ..."""
    outcomes = [simulate(cluster, scenario(cluster, drift, seed), strategy, seed) for seed in range(runs)]
    found = attainment(outcomes)
    return Drifted(drift=drift, strategy=strategy, attainment=found, of_asked=found.kept / found.requests)
