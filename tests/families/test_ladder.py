from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from equipoise.families.ladder import dominators

FIGURES = st.dictionaries(st.sampled_from("abcdefg"), st.tuples(st.integers(0, 4), st.integers(1, 5)), min_size=1)


def test_a_variant_that_is_slower_and_no_more_accurate_is_off_the_front():
    accuracy = {"light": 0.5, "clumsy": 0.5, "heavy": 0.9}

    assert dominators(accuracy, {"light": 1.0, "clumsy": 2.0, "heavy": 3.0}) == {"clumsy": "light"}


def test_equals_do_not_beat_each_other():
    assert dominators({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 1.0}) == {}


def test_the_most_accurate_of_those_that_beat_it_is_named():
    accuracy = {"poor": 0.5, "better": 0.6, "best": 0.7}

    assert dominators(accuracy, {"poor": 3.0, "better": 1.0, "best": 2.0}) == {"poor": "best"}


def test_a_variant_without_figures_neither_beats_nor_is_beaten():
    assert dominators({"a": 0.5}, {"a": 2.0, "never evaluated": 1.0}) == {}
    assert dominators({"a": 0.5, "never profiled": 0.9}, {"a": 2.0}) == {}


@given(FIGURES)
def test_whoever_beats_is_on_the_front_and_the_front_is_never_empty(figures: dict[str, tuple[int, int]]):
    accuracy = {name: float(value) for name, (value, _) in figures.items()}
    item_s = {name: float(cost) for name, (_, cost) in figures.items()}

    beaten = dominators(accuracy, item_s)

    assert set(beaten.values()).isdisjoint(beaten)
    assert beaten.keys() != figures.keys()
