"""The literature's ways to plan, to compare with. Each one offers a few candidates; the best of them is its plan.

`uniform`, `proportional`
    Shares are equal or in proportion to capability, as MoDNN splits (Mao, Chen, Nixon, Krieger and Chen, "MoDNN: Local
    Distributed Mobile Computing System for Deep Neural Network", DATE 2017). Adapted: MoDNN splits the layers of one
    image, here whole images are shared out; it has no accuracy configurations, so a processor runs its most accurate.
`uniform-variant`, `proportional-variant`
    The same shares, and one variant for all that is chosen by the requirement, as model switching does (Zhang et al.,
    "Model-Switching", HotCloud 2020). Adapted: chosen once, by the cost model; the online form is `model-switching`.
`work-stealing`
    Whoever is idle takes the next piece (Zhao, Barijough and Gerstlauer, "DeepThings: Distributed Adaptive Deep
    Learning Inference on Resource-Constrained IoT Edge Clusters", IEEE TCAD 37(11), 2018). Adapted: the pieces are
    whole images rather than partitions of fused layers; one variant for all, chosen by the requirement.
`single`
    One node does everything: no distribution at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from equipoise.planning.problem import Floats, Ints, Problem


def single(problem: Problem) -> Iterator[Ints]:
    """One node, all items, one variant on its processors by their speed."""
    nodes = np.array([pid.node for pid in problem.fleet.pids])
    for node in dict.fromkeys(nodes.tolist()):
        yield from _one_variant(problem, by_speed=True, rows=np.flatnonzero(nodes == node))


def uniform(problem: Problem) -> Iterator[Ints]:
    """Equal shares, each with the most accurate variant of its processor."""
    yield from _most_accurate(problem, by_speed=False)


def proportional(problem: Problem) -> Iterator[Ints]:
    """Shares by speed, each with the most accurate variant of its processor."""
    yield from _most_accurate(problem, by_speed=True)


def uniform_variant(problem: Problem) -> Iterator[Ints]:
    """Equal shares, one variant for all."""
    yield from _one_variant(problem, by_speed=False)


def proportional_variant(problem: Problem) -> Iterator[Ints]:
    """Shares by speed, one variant for all."""
    yield from _one_variant(problem, by_speed=True)


def work_stealing(problem: Problem) -> Iterator[Ints]:
    """One variant for all; whoever is idle takes the next item."""
    for v in range(len(problem.fleet.names)):
        rows = np.flatnonzero(problem.usable[:, v])
        if len(rows):
            yield _counts(problem, rows, np.full(len(rows), v), _pulled(problem, rows, v))


def _most_accurate(problem: Problem, *, by_speed: bool) -> Iterator[Ints]:
    rows = np.flatnonzero(problem.usable.any(axis=1))
    if len(rows):
        columns = np.where(problem.usable[rows], problem.fleet.accuracy, -1.0).argmax(axis=1)
        yield _counts(problem, rows, columns, _split(problem, rows, columns, by_speed=by_speed))


def _one_variant(problem: Problem, *, by_speed: bool, rows: Iterable[int] | None = None) -> Iterator[Ints]:
    """A candidate per variant; processors that lack it get nothing."""
    among = np.arange(len(problem.fleet.pids)) if rows is None else np.asarray(rows)
    for v in range(len(problem.fleet.names)):
        able = among[problem.usable[among, v]]
        if len(able):
            columns = np.full(len(able), v)
            yield _counts(problem, able, columns, _split(problem, able, columns, by_speed=by_speed))


def _split(problem: Problem, rows: Ints, columns: Ints, *, by_speed: bool) -> Ints:
    """Whole items per processor, by largest remainder; of equals the faster gets the remainder."""
    speeds = problem.readiness.speed[rows] / problem.fleet.item_s[rows, columns]
    weights = speeds if by_speed else np.ones(len(rows))
    exact = problem.items * weights / weights.sum()
    whole: Ints = exact.astype(np.int64)
    order = np.lexsort((-speeds, whole - exact))
    whole[order[: problem.items - int(whole.sum())]] += 1
    return whole


def _pulled(problem: Problem, rows: Ints, column: int) -> Ints:
    """Items that each processor has pulled when the last one is taken: list scheduling of equal items."""
    start_s = problem.readiness.start_s[rows]
    item_s = problem.fleet.item_s[rows, column] / problem.readiness.speed[rows]

    def begun(by_s: float) -> Ints:
        waits: Floats = np.floor(np.maximum(by_s - start_s, 0.0) / item_s) + (by_s >= start_s)
        return waits.astype(np.int64)

    low_s, high_s = 0.0, float(start_s.min() + item_s[start_s.argmin()] * problem.items)
    for _ in range(100):
        middle_s = (low_s + high_s) / 2
        low_s, high_s = (low_s, middle_s) if begun(middle_s).sum() >= problem.items else (middle_s, high_s)
    counts = begun(high_s)
    surplus = int(counts.sum()) - problem.items  # begun at the very same moment: the last of them did not get an item
    last_s = np.where(counts > 0, start_s + (counts - 1) * item_s, -np.inf)
    counts[np.argsort(-last_s, kind="stable")[:surplus]] -= 1
    return counts


def _counts(problem: Problem, rows: Ints, columns: Ints, items: Ints) -> Ints:
    counts: Ints = np.zeros(problem.fleet.item_s.shape, np.int64)
    counts[rows, columns] = items
    return counts
