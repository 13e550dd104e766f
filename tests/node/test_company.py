"""Which share of its work a processor is alone for; time passes only where the test says so."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.node.company import Company


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_who_works_alone_is_alone_all_the_time() -> None:
    clock = Clock()
    company = Company(clock)
    with company.joined() as stay:
        clock.now_s += 2.0

    assert stay.alone == 1.0


def test_company_that_comes_later_and_leaves_sooner_counts_for_as_long_as_it_is_there() -> None:
    clock = Clock()
    company = Company(clock)
    with company.joined() as long:
        clock.now_s += 1.0
        with company.joined() as short:
            clock.now_s += 2.0
        clock.now_s += 5.0

    assert long.alone == pytest.approx(6 / 8)
    assert short.alone == 0.0


def test_work_that_takes_no_time_is_no_error() -> None:
    with Company(Clock()).joined() as stay:
        pass

    assert stay.alone == 0.0


def test_a_processor_whose_work_fails_is_at_work_no_longer() -> None:
    clock = Clock()
    company = Company(clock)
    with pytest.raises(ValueError, match="engine"), company.joined():
        raise ValueError("engine")
    with company.joined() as stay:
        clock.now_s += 1.0

    assert stay.alone == 1.0


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.001, 10)), max_size=30))
def test_shares_agree_with_counting_who_is_there_moment_by_moment(happenings: list[tuple[int, float]]) -> None:
    """Processors 0 to 2 begin or end in turn, with some time after each."""
    clock = Clock()
    company = Company(clock)
    open_until: dict[int, tuple[ExitStack, object]] = {}
    spent: dict[int, list[float]] = {}  # alone, in all
    for processor, seconds in happenings:
        if processor in open_until:
            stack, stay = open_until.pop(processor)
            stack.close()
            alone_s, all_s = spent.pop(processor)
            assert stay.alone == pytest.approx(alone_s / all_s)  # type: ignore[attr-defined]
        else:
            stack = ExitStack()
            open_until[processor] = (stack, stack.enter_context(company.joined()))
            spent[processor] = [0.0, 0.0]
        clock.now_s += seconds
        for one in open_until:
            spent[one][0] += seconds if len(open_until) == 1 else 0.0
            spent[one][1] += seconds
    for stack, _ in open_until.values():
        stack.close()
