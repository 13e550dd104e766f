"""What is to be sent, on threads that may wait for slow links, without losing its order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field

Send = Callable[[], None]
Make = Callable[[], Send]  # returns how to send what it has made


@dataclass(slots=True)
class _Line:
    to_make: deque[Make] = field(default_factory=deque)
    to_send: deque[Send] = field(default_factory=deque)
    making: bool = False
    sending: bool = False


class Lines:
    """Makes and sends what belongs to one key in the order in which it came; different keys at once.

    While one is being sent the next one is made. Whoever has made it sends it, if nothing is before it: handing it
    over would take time. `threads` belong to it from now on.
    """

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._lines: dict[Hashable, _Line] = {}  # that have something to do

    def add(self, key: Hashable, make: Make) -> None:
        """Have this made and sent when it is its turn; neither must raise. Any thread may call."""
        with self._lock:
            line = self._lines.setdefault(key, _Line())
            line.to_make.append(make)
            begins, line.making = not line.making, True
        if begins:
            self._threads.submit(self._make, key, line)

    def close(self) -> None:
        """End the threads, once what they are at is done; what waits is left undone."""
        self._threads.shutdown()

    def _make(self, key: Hashable, line: _Line) -> None:
        send = line.to_make.popleft()()
        with self._lock:
            line.to_send.append(send)
            more = line.making = bool(line.to_make)
            begins, line.sending = not line.sending, True
        if more:
            with suppress(RuntimeError):  # closed meanwhile
                self._threads.submit(self._make, key, line)
        while begins and (next_one := self._next(key, line)) is not None:
            next_one()

    def _next(self, key: Hashable, line: _Line) -> Send | None:
        with self._lock:
            if line.to_send:
                return line.to_send.popleft()
            line.sending = False
            if not line.making:
                del self._lines[key]
            return None
