"""From a model's output to answers: the best classes and their scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from equipoise.core.family import OutputSpec

Floats = NDArray[np.float32]


class Ranking(NamedTuple):
    """The best classes of one item, best first; scores are probabilities."""

    classes: tuple[int, ...]
    scores: tuple[float, ...]


def best_classes(rows: Floats, output: OutputSpec, first_class: int, k: int = 5) -> list[Ranking]:
    """The `k` best classes, or all if there are fewer, of every row; `rows` has shape (n, columns).

    Columns that stand for no class (a "background" before class 0) are never an answer, whatever they score;
    the scores of the others are left as they are, so that they may add up to less than 1. Equal scores
    rank by class index.
    """
    probabilities = softmax(rows) if output.kind == "logits" else rows
    first_column = max(0, -first_class)
    scores = probabilities[:, first_column:]
    columns = _best_columns(scores, min(k, scores.shape[1]))
    best = np.take_along_axis(scores, columns, axis=1)
    classes = columns + (first_column + first_class)
    return [Ranking(tuple(c), tuple(s)) for c, s in zip(classes.tolist(), best.tolist(), strict=True)]


def _best_columns(scores: Floats, k: int) -> NDArray[np.intp]:
    """(n, k) columns by falling score. A few passes over a thousand columns take a tenth of the time of a sort."""
    left, rows = scores.copy(), np.arange(len(scores))
    columns = np.empty((len(scores), k), np.intp)
    for rank in range(k):
        columns[:, rank] = left.argmax(axis=1)
        left[rows, columns[:, rank]] = -np.inf
    return columns


def softmax(logits: Floats) -> Floats:
    """Row-wise exp(x) / sum(exp(x)) without overflow."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
