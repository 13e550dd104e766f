"""The wish to end a request early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupt(asyncio.Event):
    """Set once something is to end early."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners: list[Callable[[], None]] = []

    def set(self) -> None:
        """End early, and tell whoever listens; again changes nothing."""
        if not self.is_set():
            super().set()
            for on_set in tuple(self._listeners):
                on_set()

    def listen(self, on_set: Callable[[], None]) -> Callable[[], None]:
        """Have this called when it is set, or now if it is; what is returned ends that."""
        self._listeners.append(on_set)
        if self.is_set():
            on_set()
        return lambda: self._listeners.remove(on_set)


@contextmanager
def interrupted_by(*signals: int) -> Iterator[Interrupt]:
    """An interrupt that the first of these signals sets; a second one does what it would do otherwise."""
    loop = asyncio.get_running_loop()
    interrupt = Interrupt()

    def stop() -> None:
        interrupt.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield interrupt
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
