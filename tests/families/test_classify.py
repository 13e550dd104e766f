from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from equipoise.core.family import OutputSpec
from equipoise.families.classify import best_classes, softmax

PROBABILITIES = OutputSpec(tensor="prob", kind="probabilities")
LOGITS = OutputSpec(tensor="prob", kind="logits")


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_each_row_has_its_best_classes_first():
    first, second = best_classes(rows([0.1, 0.7, 0.2], [0.5, 0.1, 0.4]), PROBABILITIES, first_class=0, k=2)

    assert (first.classes, second.classes) == ((1, 2), (0, 2))
    assert first.scores == pytest.approx((0.7, 0.2))


def test_a_column_before_the_first_class_is_never_the_answer():
    (ranking,) = best_classes(rows([0.9, 0.02, 0.08]), PROBABILITIES, first_class=-1)

    assert ranking.classes == (1, 0)
    assert ranking.scores == pytest.approx((0.08, 0.02))


def test_classes_may_start_later_than_columns():
    (ranking,) = best_classes(rows([0.1, 0.9]), PROBABILITIES, first_class=10)

    assert ranking.classes == (11, 10)


def test_logits_become_probabilities():
    (ranking,) = best_classes(rows([0.0, np.log(3.0)]), LOGITS, first_class=0)

    assert ranking.scores == pytest.approx((0.75, 0.25))


def test_equal_scores_rank_by_class():
    (ranking,) = best_classes(rows([0.25, 0.25, 0.25, 0.25]), PROBABILITIES, first_class=0, k=3)

    assert ranking.classes == (0, 1, 2)


@given(hnp.arrays(np.float32, (3, 7), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_softmax_adds_up_to_one_and_keeps_the_order(logits: np.ndarray):
    probabilities = softmax(logits)

    assert probabilities.sum(axis=1) == pytest.approx(np.ones(3), rel=1e-5)
    top = logits.argmax(axis=1)
    assert (probabilities[np.arange(3), top] == probabilities.max(axis=1)).all()
