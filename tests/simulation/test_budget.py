"""A budget of energy is kept while the world changes, and gives way to the promises where it cannot be."""

from __future__ import annotations

import msgspec
import pytest
from boards import THREE, asking, scenario

from equipoise.core.cluster import Cluster
from equipoise.core.receipt import Receipt
from equipoise.core.request import Prefer
from equipoise.simulation import Leaves, Load, simulate


def with_watts(cluster: Cluster, *watts: float) -> Cluster:
    """Each node's processor draws so much at work, beyond the 1 W that it draws idle."""
    nodes = tuple(
        msgspec.structs.replace(
            node, processors=(msgspec.structs.replace(node.processors[0], idle_w=1.0, active_w=1.0 + w),)
        )
        for node, w in zip(cluster.nodes, watts, strict=True)
    )
    return msgspec.structs.replace(cluster, nodes=nodes)


BOARDS = with_watts(THREE, 12.0, 5.0, 2.0)


def receipt_of(*events: Load | Leaves, cluster: Cluster = BOARDS, **requirement: object) -> Receipt:
    request = asking(deadline_s=5.0, prefer=Prefer.ACCURACY, **requirement)
    receipt = simulate(cluster, scenario(*events, requests=(request,))).requests[0].receipt
    assert receipt is not None
    return receipt


def test_what_a_request_added_to_idling_is_what_was_planned():
    receipt = receipt_of()

    assert receipt.energy_j == pytest.approx(receipt.plan.energy_j, rel=0.01)


def test_without_watts_nobody_knows():
    assert receipt_of(cluster=THREE).energy_j is None


@pytest.mark.parametrize(
    "events",
    [
        (),
        (Load(at_s=1.0, node="a", speed=0.7),),
        (Load(at_s=0.5, node="b", speed=0.5), Load(at_s=2.0, node="c", speed=0.5)),
    ],
)
def test_a_budget_is_kept_at_the_cost_of_accuracy_when_boards_slow_down(events: tuple[Load, ...]):
    free = receipt_of(*events)
    assert free.energy_j is not None
    budget_j = 0.85 * free.energy_j

    receipt = receipt_of(*events, max_energy_j=budget_j)

    assert receipt.met.both
    assert receipt.energy_j is not None
    assert receipt.energy_j <= budget_j
    assert receipt.accuracy.expected < free.accuracy.expected


def test_where_promises_and_budget_cannot_be_kept_together_the_promises_are():
    receipt = receipt_of(Leaves(at_s=1.0, node="c"), Load(at_s=1.0, node="a", speed=0.6), max_energy_j=42.0)

    assert receipt.met.performance
    assert receipt.met.accuracy
    assert not receipt.met.energy
    assert not receipt.met.both
