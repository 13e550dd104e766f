"""The fluid optimum against HiGHS on the same linear program, which shares no code with it."""

from __future__ import annotations

import math

import highspy
import numpy as np
import pytest

from equipoise.planning.fleet import Fleet
from equipoise.planning.fluid import fill, least_time_s
from tests.planning.worlds import cluster_of, random_cluster


def linear_program(fleet: Fleet, time_s: np.ndarray, items: float) -> float | None:
    """Most accuracy in total from `items` divisible items, by HiGHS; None if they do not fit."""
    solver = highspy.Highs()
    solver.silent()
    cells = [(int(p), int(v)) for p, v in np.argwhere(np.isfinite(fleet.item_s))]
    x = {cell: solver.addVariable(lb=0) for cell in cells}
    for p in range(len(fleet.pids)):
        solver.addConstr(sum(x[c] * float(fleet.item_s[c]) for c in cells if c[0] == p) <= float(time_s[p]))
    solver.addConstr(sum(x[c] * 1.0 for c in cells) == items)
    solver.maximize(sum(x[c] * float(fleet.accuracy[c[1]]) for c in cells))
    optimal = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return solver.getObjectiveValue() if optimal else None


@pytest.mark.parametrize("seed", range(40))
def test_a_filled_fleet_earns_as_much_as_the_linear_program_can(seed):
    rng = np.random.default_rng(seed)
    fleet = Fleet.of(random_cluster(rng))
    time_s = rng.uniform(0, 2, len(fleet.pids))
    items = float(rng.uniform(0.1, 1.1) * (time_s / fleet.item_s.min(axis=1)).sum())

    filled = fill(fleet.hulls, time_s, items)

    expected = linear_program(fleet, time_s, items)
    assert (filled is None) == (expected is None)
    if filled is not None:
        assert filled.gain == pytest.approx(expected, rel=1e-9)
        assert filled.items.sum() == pytest.approx(items)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("at_once", [True, False])
def test_the_least_time_is_just_enough(seed, at_once):
    rng = np.random.default_rng(seed)
    fleet = Fleet.of(random_cluster(rng))
    count = len(fleet.pids)
    start_s = np.zeros(count) if at_once else rng.choice([0.0, 0.3, 2.0, np.inf], count, p=[0.3, 0.3, 0.3, 0.1])
    start_s[0] = 0.0
    speed = rng.uniform(0.3, 1.5, count)
    items, floor = float(rng.integers(5, 500)), float(rng.uniform(0.3, 0.9))

    least_s = least_time_s(fleet.hulls, start_s, speed, items, floor * items)

    if math.isinf(least_s):
        available = np.isfinite(fleet.item_s[np.isfinite(start_s)]).any(axis=0)
        assert floor > fleet.accuracy[available].max()
        return
    enough = fill(fleet.hulls, np.maximum(0, least_s * (1 + 1e-9) - start_s) * speed, items)
    too_little = fill(fleet.hulls, np.maximum(0, least_s * (1 - 1e-6) - start_s) * speed, items)
    assert enough is not None
    assert enough.gain >= floor * items * (1 - 1e-8)
    assert too_little is None or too_little.gain < floor * items


def test_hulls_leave_out_what_a_mix_of_others_beats():
    cluster = cluster_of({"a": 0.9, "b": 0.6, "c": 0.5}, pi={"a": 0.2, "b": 0.19, "c": 0.02})

    fleet = Fleet.of(cluster)

    variants = [fleet.names[fleet.ladder.variant[0, rung]] for rung in fleet.hulls.rung]
    assert variants == ["a", "c"]
