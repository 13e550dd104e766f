from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.core.accuracy import wilson_interval


def test_it_is_the_interval_of_the_textbook():
    # Worked by hand from Wilson's formula with z = 1.959964: (0.8 + 0.192073 -+ 0.313521) / 1.384146.
    assert wilson_interval(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-5)


@given(st.data(), st.integers(1, 10**6), st.floats(0.5, 0.999))
def test_it_lies_within_0_to_1_around_the_fraction(data: st.DataObject, items: int, confidence: float):
    hits = data.draw(st.integers(0, items))

    low, high = wilson_interval(hits, items, confidence)

    assert 0 <= low <= hits / items <= high <= 1


@given(st.integers(1, 1000), st.integers(2, 100))
def test_more_items_of_the_same_fraction_narrow_it(items: int, factor: int):
    low, high = wilson_interval(items / 2, items)
    low_of_more, high_of_more = wilson_interval(items * factor / 2, items * factor)

    assert low < low_of_more < high_of_more < high


@pytest.mark.parametrize(("hits", "items", "confidence"), [(1, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_impossible_figures_are_refused(hits: int, items: int, confidence: float):
    with pytest.raises(ValueError, match="not"):
        wilson_interval(hits, items, confidence)
