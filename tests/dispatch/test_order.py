"""The order in which items are given out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.dispatch.order import Shuffled


@given(items=st.integers(1, 10_000), seed=st.integers(-(2**70), 2**70))
def test_every_item_comes_exactly_once(items: int, seed: int):
    assert sorted(Shuffled(items, seed)) == list(range(items))


@given(items=st.integers(1, 300), seed=st.integers(0, 100), data=st.data())
def test_looking_up_a_place_finds_what_counting_through_finds(items: int, seed: int, data: st.DataObject):
    order = Shuffled(items, seed)
    place = data.draw(st.integers(0, items - 1))

    assert order[place] == list(order)[place]
    assert order[place:] == list(order)[place:]


def test_the_seed_decides_and_nothing_else():
    assert list(Shuffled(500, 3)) == list(Shuffled(500, 3))
    assert list(Shuffled(500, 3)) != list(Shuffled(500, 4))


def test_no_item_has_a_favourite_place():
    first = Counter(Shuffled(7, seed)[0] for seed in range(1400))

    assert all(130 < first[item] < 270 for item in range(7))  # 200 each; 70 is five standard deviations


def test_neighbours_are_parted():
    order = list(Shuffled(100_000, 1))

    steps = sum(abs(one - other) for one, other in pairwise(order)) / len(order)
    assert steps == pytest.approx(100_000 / 3, rel=0.02)  # what chance gives
