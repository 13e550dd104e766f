"""The best plan for a single item: it goes to one processor with one variant, so all of them are tried."""

from __future__ import annotations

import numpy as np

from equipoise.core.request import Prefer
from equipoise.planning.mixer import Found
from equipoise.planning.predict import Pieces, Prediction
from equipoise.planning.problem import Problem

_MOST_PAIRS = 500  # of processor and variant: beyond that the fluid optimum is found sooner


def best_alone(problem: Problem) -> Found | None:
    """The optimum, if there is but one item and a plan that keeps every promise.

    None if that is not so, or if energy is preferred, for then every processor's has to be described.
    """
    if problem.items != 1 or problem.prefer is Prefer.ENERGY or problem.usable.sum() > _MOST_PAIRS:
        return None
    best: Prediction | None = None
    for p, v in np.argwhere(problem.usable).tolist():
        found = problem.predict_pieces(Pieces([p], [v], [1], [1]))
        if problem.keeps(found) and (best is None or problem.better(found, best)):
            best = found
    if best is None:
        return None
    return Found(prediction=best, bound=best.accuracy if problem.prefer is Prefer.ACCURACY else best.latency_s)
