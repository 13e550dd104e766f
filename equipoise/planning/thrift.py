"""The least energy that keeps both promises.

Lagrange: at a price per unit of accuracy, an item is worth price x accuracy - joules. Whatever the price,
price x floor x items - (most worth in the time) is a bound on the joules. The least price at which the plan of most
worth keeps the floor gives a plan; the plan at the price just below breaks it. The linear optimum lies on the line
between the two, so the best whole-item plan is looked for along it, and then item by item.
"""

from __future__ import annotations

import math

import numpy as np

from equipoise.planning.ladders import Ladder, ladder_of
from equipoise.planning.mixer import Found, Mixer
from equipoise.planning.predict import Prediction
from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem, item_joules

_PRICES = 40  # tried at most
_DEAREST = 1e7  # joules per unit of accuracy, in items' joules: beyond it only accuracy counts
_STEPS = 64  # along the line between two plans
_MOVES = 200  # tried at most on the way down


def thriftiest(problem: Problem) -> Found:
    """The plan with the least energy that keeps both promises. The bound is in joules.

    Raises PlanningError if a processor's watts are not described.
    """
    joules = item_joules(problem)
    kept, broken, bound_j = _by_price(problem, joules)
    if kept is None:  # the price has a limit, and the floor may need more
        found = Mixer.of_accuracy(problem).mix(problem.deadline_s).prediction
        kept = found if found is not None and problem.keeps(found) else None
    if kept is not None and broken is not None:
        kept = _along_the_line(problem, kept, broken)
    return Found(prediction=kept and _walk_down(problem, kept, joules), bound=bound_j)


def _by_price(problem: Problem, joules: Floats) -> tuple[Prediction | None, Prediction | None, float]:
    """Plans of most worth at the least price that keeps both promises and just below it, and the best bound."""
    owed = problem.floor * problem.items
    cheapest: Prediction | None = None
    broken: Prediction | None = None
    bound_j, low, high, price = 0.0, 0.0, math.inf, 0.0
    for _ in range(_PRICES):
        ladder = _ladder_by_worth(problem, price, joules)
        mixer = Mixer(problem, ladder)
        most = mixer.mix(problem.deadline_s)
        bound_j = max(bound_j, price * owed - most.bound)
        found = most.prediction
        if found is None:
            break
        if problem.keeps(found):
            high = price
            if cheapest is None or problem.better(found, cheapest):
                cheapest = found
        else:
            low, broken = price, found
        closed = math.isfinite(high) and high - low <= TOLERANCE * high
        if closed or low > _DEAREST * float(np.nanmax(joules)):
            break
        price = (low + high) / 2 if math.isfinite(high) else max(2 * price, float(np.nanmean(joules)))
    return cheapest, broken, bound_j


def _along_the_line(problem: Problem, kept: Prediction, broken: Prediction) -> Prediction:
    """The best plan that keeps both promises among whole-item roundings of the mixes of these two."""
    start, end = _counts(problem, kept), _counts(problem, broken)
    for step in range(1, _STEPS):
        counts = _rounded(problem, start + (end - start) * (step / _STEPS))
        prediction = problem.predict_counts(counts)
        if problem.keeps(prediction) and problem.better(prediction, kept):
            kept = prediction
    return kept


def _rounded(problem: Problem, exact: Floats) -> Ints:
    """Whole counts (P, V) near the exact ones with the same sum, by largest remainder where there is time for it."""
    counts: Ints = np.floor(exact + TOLERANCE).astype(np.int64)
    spare_s = problem.readiness.time_s(problem.deadline_s) * (1 + TOLERANCE) - _busy_s(problem, counts)
    missing = problem.items - int(counts.sum())
    for cell in np.argsort(-(exact - counts), axis=None, kind="stable"):
        p, v = divmod(int(cell), counts.shape[1])
        if missing and counts[p, v] < exact[p, v] and problem.fleet.item_s[p, v] <= spare_s[p]:
            counts[p, v] += 1
            spare_s[p] -= problem.fleet.item_s[p, v]
            missing -= 1
    return counts


def _walk_down(problem: Problem, kept: Prediction, joules: Floats) -> Prediction:
    """Move items to where they cost less, the most joules saved per accuracy given up first."""
    counts = _counts(problem, kept)
    for _ in range(_MOVES):
        moved = _best_move(problem, counts, joules)
        if moved is None:
            break
        prediction = problem.predict_counts(moved)
        if not (problem.keeps(prediction) and problem.better(prediction, kept)):
            break
        counts, kept = moved, prediction
    return kept


def _best_move(problem: Problem, counts: Ints, joules: Floats) -> Ints | None:
    """`counts` (P, V) after the best move from one cell to another, as many items as both promises allow; or None."""
    fleet = problem.fleet
    cells = np.argwhere(problem.usable & ((counts > 0) | _is_free_to_use(problem)))
    rows, columns = cells.T
    item_s, item_j, accuracy = fleet.item_s[rows, columns], joules[rows, columns], fleet.accuracy[columns]
    held = counts[rows, columns]
    spare_s = problem.readiness.time_s(problem.deadline_s) - _busy_s(problem, counts)
    spare_accuracy = float((counts * fleet.accuracy).sum()) - problem.floor * problem.items
    saved_j = item_j[:, None] - item_j
    given_up = accuracy[:, None] - accuracy
    needed_s = item_s - np.where(rows[:, None] == rows, item_s[:, None], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_time = np.where(needed_s > 0, spare_s[rows] * (1 + TOLERANCE) / needed_s, np.inf)
        by_accuracy = np.where(given_up > 0, (spare_accuracy + TOLERANCE) / given_up, np.inf)
    most = np.floor(np.minimum(np.minimum(by_time, by_accuracy), held[:, None]))
    possible = (saved_j > 0) & (most >= 1)
    if not possible.any():
        return None
    merit = np.where(possible, saved_j / np.maximum(given_up, TOLERANCE), -np.inf)
    source, target = np.unravel_index(int(merit.argmax()), merit.shape)
    moved: Ints = counts.copy()
    moved[tuple(cells[source])] -= int(most[source, target])
    moved[tuple(cells[target])] += int(most[source, target])
    return moved


def _is_free_to_use(problem: Problem) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(P, V) variants that a processor may take up without loading or more memory."""
    load_s = problem.readiness.load_s
    if problem.fleet.is_memory_bound:
        return np.zeros(problem.fleet.item_s.shape, dtype=bool)
    return np.ones(problem.fleet.item_s.shape, dtype=bool) if load_s is None else load_s <= 0


def _busy_s(problem: Problem, counts: Ints) -> Floats:
    busy: Floats = np.zeros(len(counts))
    rows, columns = np.nonzero(counts)
    np.add.at(busy, rows, problem.fleet.run_s(rows, columns, counts[rows, columns]))
    if problem.readiness.load_s is not None:
        np.add.at(busy, rows, problem.readiness.load_s[rows, columns])
    return busy


def _counts(problem: Problem, prediction: Prediction) -> Ints:
    fleet = problem.fleet
    counts: Ints = np.zeros(fleet.item_s.shape, np.int64)
    for share in prediction.shares:
        counts[fleet.index[share.pid], fleet.column[share.variant]] += share.items
    return counts


def _ladder_by_worth(problem: Problem, price: float, joules: Floats) -> Ladder:
    item_s = np.where(problem.usable, problem.fleet.item_s, np.inf)
    worth = price * problem.fleet.accuracy - np.where(np.isfinite(item_s), joules, 0.0)
    return ladder_of(item_s, worth)
