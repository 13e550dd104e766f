"""Whose task is next on a processor that several coordinators share. Pure: no clock, no lock.

What is due first goes first, however little else that leaves; but nothing waits for ever: a task has its turn at the
latest as if it were due `patience_s` after it came. Whatever comes later than that goes behind it, so that a task
only ever waits for work that was sent before then.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE_S = 10.0


class Turns(Generic[T]):
    """Tasks by request. Those of one request keep the order in which they came, as their coordinator counts on it."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._waiting: dict[str, deque[tuple[float, int, T]]] = {}
        self._came = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[T]:
        """All tasks, roughly in the order of their turns: request by request, those with the first turn first."""
        for tasks in sorted(self._waiting.values(), key=lambda tasks: tasks[0][:2]):
            for _, _, task in tasks:
                yield task

    def add(self, request: str, task: T, *, arrived_s: float, due_s: float = math.inf) -> None:
        """A task came at `arrived_s` and is due at `due_s`, on the same clock; what is overdue is due now."""
        turn_s = min(max(due_s, arrived_s), arrived_s + self._patience_s)
        self._waiting.setdefault(request, deque()).append((turn_s, self._came, task))
        self._came += 1

    def next(self) -> T | None:
        """The task whose turn it is; it stays until it is taken."""
        first = min(self._waiting.items(), key=lambda entry: entry[1][0][:2], default=None)
        return None if first is None else first[1][0][2]

    def take(self) -> T:
        """The task whose turn it is, no longer waiting. There must be one."""
        request, tasks = min(self._waiting.items(), key=lambda entry: entry[1][0][:2])
        _, _, task = tasks.popleft()
        if not tasks:
            del self._waiting[request]
        return task
