"""Which processors of a node are at work at the same time, and for how much of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Stay:
    """One processor's work, from its beginning to its end; `alone` is the share of it without any other, 0 to 1."""

    alone: float = 0.0


class Company:
    """The processors of a node that are at work. Any thread may call."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._at_work = 0
        self._since_s = 0.0
        self._together_s = 0.0  # so long several have been at work

    @contextmanager
    def joined(self) -> Iterator[Stay]:
        """One more is at work until this ends; `alone` is known then."""
        stay = Stay()
        began_s, before_s = self._change(+1)
        try:
            yield stay
        finally:
            ended_s, after_s = self._change(-1)
            took_s = ended_s - began_s
            stay.alone = 1.0 - (after_s - before_s) / took_s if took_s > 0 else 0.0

    def _change(self, more: int) -> tuple[float, float]:
        with self._lock:
            now_s = self._clock()
            if self._at_work > 1:
                self._together_s += now_s - self._since_s
            self._since_s = now_s
            self._at_work += more
            return now_s, self._together_s
