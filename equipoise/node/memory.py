"""The memory that a node gives to models, shared by its processors."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable


class ModelMemory:
    """Counts what loaded models take. Any thread may call.

    Whoever finds no room waits until others have given way: those who listen are told, and unload what they do not
    need while `short`.
    """

    def __init__(self, total_bytes: float = math.inf) -> None:
        self.total_bytes = total_bytes
        self._used_bytes = 0
        self._awaited_bytes = 0
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []

    @property
    def used_bytes(self) -> int:
        """What is taken now."""
        return self._used_bytes

    @property
    def short(self) -> bool:
        """True if somebody waits for room, and there is not enough yet."""
        return self._awaited_bytes > 0 and self._used_bytes + self._awaited_bytes > self.total_bytes

    def listen(self, on_short: Callable[[], None]) -> None:
        """Have this called, on any thread, when somebody begins to wait for room."""
        self._listeners.append(on_short)

    def take(self, size_bytes: int) -> bool:
        """Take so much if that much is left."""
        with self._changed:
            if self._used_bytes + size_bytes > self.total_bytes:
                return False
            self._used_bytes += size_bytes
            return True

    def take_when_left(self, size_bytes: int, timeout_s: float) -> bool:
        """Take so much once others have given way; False if they do not in time, or it is more than there is."""
        if size_bytes > self.total_bytes:
            return False
        with self._changed:
            self._awaited_bytes += size_bytes
        try:
            for on_short in self._listeners:
                on_short()
            with self._changed:
                return self._changed.wait_for(lambda: self.take(size_bytes), timeout_s)
        finally:
            with self._changed:
                self._awaited_bytes -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        """A model was unloaded."""
        with self._changed:
            self._used_bytes -= size_bytes
            self._changed.notify_all()
