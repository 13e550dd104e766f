"""What is to be sent, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from equipoise.fabric.lines import Lines


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines = Lines(ThreadPoolExecutor(4))
    yield lines
    lines.close()


def nothing() -> None:
    pass


def test_what_belongs_to_one_key_is_made_and_sent_in_the_order_in_which_it_came(lines: Lines) -> None:
    made, sent, all_sent = [], [], threading.Event()

    def making(number: int) -> Callable[[], Callable[[], None]]:
        def make() -> Callable[[], None]:
            time.sleep(0.001 * (number % 3))
            made.append(number)
            return send

        def send() -> None:
            time.sleep(0.001 * (number % 2))
            sent.append(number)
            if number == 49:
                all_sent.set()

        return make

    for number in range(50):
        lines.add("pi", making(number))

    assert all_sent.wait(10)
    assert made == sent == list(range(50))


def test_the_next_one_is_made_while_one_is_being_sent(lines: Lines) -> None:
    go_on, made = threading.Event(), threading.Event()

    def make_another() -> Callable[[], None]:
        made.set()
        return nothing

    lines.add("pi", lambda: lambda: go_on.wait() and None)
    lines.add("pi", make_another)

    assert made.wait(10)
    go_on.set()


def test_who_has_made_it_sends_it(lines: Lines) -> None:
    threads: list[int] = []
    sent = threading.Event()

    def make() -> Callable[[], None]:
        threads.append(threading.get_ident())
        return send

    def send() -> None:
        threads.append(threading.get_ident())
        sent.set()

    lines.add("pi", make)

    assert sent.wait(10)
    assert threads[0] == threads[1]


def test_a_key_that_has_to_wait_holds_up_no_other(lines: Lines) -> None:
    go_on, other_sent = threading.Event(), threading.Event()
    for _ in range(2):
        lines.add("slow", lambda: lambda: go_on.wait() and None)
    lines.add("quick", lambda: other_sent.set)

    assert other_sent.wait(10)
    go_on.set()


def test_a_key_that_had_nothing_left_goes_on(lines: Lines) -> None:
    for _ in range(100):
        sent = threading.Event()
        lines.add("pi", lambda sent=sent: sent.set)
        assert sent.wait(10)
