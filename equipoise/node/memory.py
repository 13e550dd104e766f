"""The memory that a node gives to models, shared by its processors."""

from __future__ import annotations

import math
import threading


class ModelMemory:
    """Counts what loaded models take. Any thread may call."""

    def __init__(self, total_bytes: float = math.inf) -> None:
        self.total_bytes = total_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """What is taken now."""
        return self._used_bytes

    def take(self, size_bytes: int) -> bool:
        """Take so much if that much is left."""
        with self._lock:
            if self._used_bytes + size_bytes > self.total_bytes:
                return False
            self._used_bytes += size_bytes
            return True

    def give_back(self, size_bytes: int) -> None:
        """A model was unloaded."""
        with self._lock:
            self._used_bytes -= size_bytes
