"""What is left of a request, put as a request of its own: receding-horizon control asks for nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import msgspec

from equipoise.core.cluster import Cluster, Link, Node, ProcessorId
from equipoise.core.plan import Plan
from equipoise.core.ranges import ASKED
from equipoise.core.request import Prefer, Request, Requirement, WhenLate
from equipoise.dispatch.flight import Flight
from equipoise.dispatch.lane import Lane
from equipoise.dispatch.settings import Settings
from equipoise.dispatch.tally import Tally

_ROUNDING = 1e-9  # what is owed is a quotient of sums: do not ask for more than was promised
_REGAINED = 0.97  # of the seconds left: a plan this much quicker keeps the deadline even if it is a little wrong


class Concession(Enum):
    """What is not asked for any more, because it cannot be had together with the rest."""

    NOTHING = "nothing"
    DEADLINE = "deadline"  # as fast as possible at the floor
    FLOOR = "floor"  # as accurate as possible at the deadline
    BOTH = "both"  # as fast as possible

    def next(self, when_late: WhenLate) -> Concession:
        """What to concede when even this cannot be had: the policy's choice."""
        if when_late is not WhenLate.KEEP_DEADLINE:
            return Concession.DEADLINE  # stop means at the deadline: until then it is best to keep the floor
        return Concession.FLOOR if self is Concession.NOTHING else Concession.BOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What is left to be planned: open items, seconds for them (less a reserve), and the accuracy that they owe.

    `energy_j` is what is left of a budget, less what is in flight; None without one.
    """

    items: int
    left_s: float
    accuracy: float
    energy_j: float | None = None

    def request(self, wanted: Requirement, concession: Concession) -> Request:
        """It as a request of its own. Asking only for what can be had spares the planner proofs that it cannot be."""
        timely = concession in {Concession.NOTHING, Concession.FLOOR} and math.isfinite(self.left_s)
        conceding = Prefer.ACCURACY if timely else Prefer.LATENCY
        return Request(
            items=self.items,
            requirement=Requirement(
                deadline_s=self.left_s if timely else None,
                min_accuracy=self.accuracy if concession in {Concession.NOTHING, Concession.DEADLINE} else 0.0,
                prefer=wanted.prefer if concession is Concession.NOTHING else conceding,
                when_late=wanted.when_late,
                max_energy_j=None if self.energy_j is None else max(self.energy_j, ASKED.least),
                max_power_w=wanted.max_power_w,
                confidence=wanted.confidence,
            ),
        )

    def regained(self, plan: Plan, concession: Concession) -> Concession:
        """What still has to be conceded after this plan for it."""
        in_time = plan.latency_s <= _REGAINED * self.left_s
        if concession is Concession.FLOOR:
            return Concession.NOTHING if plan.accuracy >= self.accuracy else concession
        if concession is Concession.BOTH:
            return Concession.FLOOR if in_time else concession
        return Concession.NOTHING if in_time else concession


def rest_of(request: Request, flight: Flight, tally: Tally, left_s: float, settings: Settings) -> Rest:
    """What is left of a request, `left_s` seconds before its deadline."""
    reserve_s = settings.reserve_before_s(request.deadline_s)
    owed = _owed_accuracy(request.requirement.min_accuracy, flight, tally) - _ROUNDING
    return Rest(
        items=flight.pool.open_items,
        left_s=max(left_s - reserve_s, left_s / 2, ASKED.least if left_s > 0 else left_s),
        accuracy=max(0.0, min(owed, _most_accurate(flight, tally))),
        energy_j=_energy_left_j(request.requirement.max_energy_j, flight, tally, settings.energy_reserve),
    )


def _energy_left_j(budget_j: float | None, flight: Flight, tally: Tally, reserve: float) -> float | None:
    """What may still be spent, less a reserve; None if there is no budget, or nobody knows what was spent."""
    if budget_j is None or tally.energy_j is None:
        return None
    in_flight_j = sum(
        lane.watts * sum(lane.work_s(task) for task in lane.tasks.values())
        for lane in flight.lanes.values()
        if lane.watts is not None
    )
    return (1 - reserve) * (budget_j - tally.energy_j - in_flight_j)


def _most_accurate(flight: Flight, tally: Tally) -> float:
    runnable = {name for lane in flight.lanes.values() if lane.usable for name in lane.profiles if lane.can_run(name)}
    return max((tally.accuracies[name] for name in runnable), default=0.0)


def _owed_accuracy(floor: float, flight: Flight, tally: Tally) -> float:
    """Mean accuracy that the open items must reach so that all that can be answered have the floor's."""
    pool = flight.pool
    good_items = pool.items - tally.bad - pool.given_up_items
    return (floor * good_items - tally.earned - _expected_in_flight(flight, tally)) / pool.open_items


def _expected_in_flight(flight: Flight, tally: Tally) -> float:
    """Sum of the expected accuracies; an item that two tasks hold counts half for each."""
    pool = flight.pool
    return sum(
        tally.accuracies[task.variant] / pool.holders(item)
        for task in flight.tasks.values()
        for item in task.items
        if pool.is_in_flight(item)
    )


def with_node(cluster: Cluster, node: Node) -> Cluster:
    """The cluster with this node in place of the one of its name, or beside the others; known ones keep their link."""
    known = {one.name: one for one in cluster.nodes}
    if node.name in known:
        node = msgspec.structs.replace(node, link=known[node.name].link)
    return msgspec.structs.replace(cluster, nodes=tuple({**known, node.name: node}.values()))


def with_link(cluster: Cluster, name: str, link: Link) -> Cluster:
    """The cluster with another link to the node of that name."""
    nodes = (msgspec.structs.replace(node, link=link) if node.name == name else node for node in cluster.nodes)
    return msgspec.structs.replace(cluster, nodes=tuple(nodes))


def usable_cluster(cluster: Cluster, lanes: Mapping[ProcessorId, Lane]) -> Cluster:
    """The cluster without the profiles of excluded pairs; the same object if there are none."""
    if not any(lane.excluded for lane in lanes.values()):
        return cluster
    nodes = [
        msgspec.structs.replace(
            node,
            processors=tuple(
                msgspec.structs.replace(
                    processor,
                    profiles=tuple(
                        profile
                        for profile in processor.profiles
                        if profile.variant not in lanes[ProcessorId(node.name, processor.name)].excluded
                    ),
                )
                for processor in node.processors
            ),
        )
        for node in cluster.nodes
    ]
    return msgspec.structs.replace(cluster, nodes=tuple(nodes))
