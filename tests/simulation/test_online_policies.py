"""Policies that decide online, in a simulation with a loss and a slow-down."""

from __future__ import annotations

import pytest
from boards import THREE, asking, scenario

from equipoise.planning.strategies import ONLINE
from equipoise.simulation import simulate
from equipoise.simulation.events import Leaves, Load


@pytest.mark.parametrize("name", ONLINE)
def test_every_policy_is_simulated_by_name_and_repeats_from_its_seed(name: str):
    slow, gone = Load(at_s=0.1, node="b", speed=0.5), Leaves(at_s=0.2, node="a")
    asked = scenario(slow, gone, requests=(asking(200, deadline_s=2.0),))

    first, again = (simulate(THREE, asked, name, seed=5) for _ in range(2))

    assert first == again
    receipt = first.requests[0].receipt
    assert receipt.strategy == name
    assert (receipt.answered, receipt.outcome) == (200, "answered")
