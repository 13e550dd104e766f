"""Who ran what when a board slows down and another is unplugged: the same request under a few strategies."""

from __future__ import annotations

import msgspec

from equipoise.core.cluster import Cluster
from equipoise.lab.drift import asked
from equipoise.lab.grid import OURS
from equipoise.simulation import Leaves, Load, Scenario, simulate
from equipoise.simulation.records import Record

SHOWN = (OURS, "work-stealing", "proportional-variant")  # ours, and the strongest that need no solver
SLOWED, UNPLUGGED = "odroid-xu4", "raspberry-pi-4b"
SPEED = 0.5
RUN = 2  # which of the drift study's requests


class TimeLine(msgspec.Struct, frozen=True, kw_only=True):
    """One request under one strategy: what was asked, what befell the boards, what came of it, and every record.

    `accuracy` is the expected one over all items. Times count from the start, and `latency_s` is None without an end.
    """

    strategy: str
    items: int
    deadline_s: float
    min_accuracy: float
    slowed: str
    slowed_s: float
    speed: float
    unplugged: str
    unplugged_s: float
    processors: list[tuple[str, str]]
    admitted: bool
    kept: bool
    latency_s: float | None
    accuracy: float | None
    replanned: int
    records: list[Record]


def time_line(cluster: Cluster, strategy: str) -> TimeLine:
    """The request RUN with seed 0: SLOWED at SPEED from a quarter of the deadline on, UNPLUGGED at half of it."""
    request = asked(cluster, RUN)
    deadline_s = request.requirement.deadline_s
    assert deadline_s is not None
    slows = Load(at_s=deadline_s / 4, node=SLOWED, speed=SPEED)
    leaves = Leaves(at_s=deadline_s / 2, node=UNPLUGGED)
    records: list[Record] = []
    outcome = simulate(
        cluster, Scenario(requests=(request,), events=(slows, leaves)), strategy, 0, record=records.append
    )
    answer = outcome.requests[0]
    receipt = answer.receipt
    return TimeLine(
        strategy=strategy,
        items=request.items,
        deadline_s=deadline_s,
        min_accuracy=request.requirement.min_accuracy,
        slowed=SLOWED,
        slowed_s=slows.at_s,
        speed=SPEED,
        unplugged=UNPLUGGED,
        unplugged_s=leaves.at_s,
        processors=[(node.name, processor.name) for node in cluster.nodes for processor in node.processors],
        admitted=answer.admitted,
        kept=answer.kept,
        latency_s=receipt.latency_s if receipt else None,
        accuracy=receipt.accuracy.expected if receipt else None,
        replanned=receipt.replanned if receipt else 0,
        records=records,
    )
