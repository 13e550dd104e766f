"""The memory that a simulated node gives to models, by the rules of a real one (node/memory.py, node/engines.py).

Whoever lacks room for a variant unloads its own, those used longest ago first. If that is not enough, the other
processors of the node give way: what is idle at once, what works at the end of its task, except for what it needs next.
Who finds no room in `GIVE_WAY_S` is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from equipoise.simulation.agenda import Agenda

GIVE_WAY_S = 2.0

Told = Callable[[bool], None]  # whether there is room


class NodeMemory:
    """Counts what loaded variants take, and who waits for room; one waits for each processor at most."""

    def __init__(self, agenda: Agenda, total_bytes: float = math.inf) -> None:
        self.total_bytes = total_bytes
        self.used_bytes = 0
        self.holders: list[LoadedVariants] = []
        self._agenda = agenda
        self._waiting: dict[LoadedVariants, tuple[int, Told]] = {}

    @property
    def short(self) -> bool:
        """True if somebody waits for room, and there is not enough yet."""
        awaited_bytes = sum(size_bytes for size_bytes, _ in self._waiting.values())
        return bool(self._waiting) and self.used_bytes + awaited_bytes > self.total_bytes

    def take(self, size_bytes: int) -> bool:
        """Take so much if that much is left."""
        if self.used_bytes + size_bytes > self.total_bytes:
            return False
        self.used_bytes += size_bytes
        return True

    def wait(self, holder: LoadedVariants, size_bytes: int, told: Told) -> None:
        """Have `told` called once so much could be taken, or it could not in time."""
        if size_bytes > self.total_bytes:
            told(False)
            return
        self._waiting[holder] = (size_bytes, told)
        self._agenda.at(self._agenda.now_s + GIVE_WAY_S, self._give_up, (holder, told))
        self.relieve()

    def relieve(self) -> None:
        """Have everybody give way who can, and serve those who wait, first come, first served."""
        for holder in self.holders:
            holder.give_way()
        for holder, (size_bytes, told) in list(self._waiting.items()):
            if holder in self._waiting and self.take(size_bytes):
                del self._waiting[holder]
                told(True)

    def forget(self, holder: LoadedVariants) -> None:
        """It waits no more."""
        self._waiting.pop(holder, None)

    def _give_up(self, about: tuple[LoadedVariants, Told]) -> None:
        holder, told = about
        if self._waiting.get(holder, (0, None))[1] is told:
            del self._waiting[holder]
            told(False)


class LoadedVariants:
    """What one processor has loaded.

    sizes_bytes   of its variants
    needed        which of them it cannot do without just now; None if it can give up none
    """

    def __init__(
        self, memory: NodeMemory, sizes_bytes: Mapping[str, int], needed: Callable[[], frozenset[str] | None]
    ) -> None:
        self._memory, self._sizes_bytes, self._needed = memory, sizes_bytes, needed
        self._loaded: dict[str, None] = {}  # the one used last at the end
        memory.holders.append(self)

    def __contains__(self, variant: str) -> bool:
        return variant in self._loaded

    @property
    def names(self) -> frozenset[str]:
        """Of all that is loaded."""
        return frozenset(self._loaded)

    def use(self, variant: str, told: Told) -> None:
        """Have it loaded; `told` whether there is room for it, now or later."""
        if variant in self._loaded:
            self._keep(variant)
            told(True)
            return
        size_bytes = self._sizes_bytes[variant]
        while not self._memory.take(size_bytes):
            if not self._loaded:
                self._memory.wait(self, size_bytes, lambda room: self._served(variant, told, room=room))
                return
            self._unload(next(iter(self._loaded)))
        self._served(variant, told, room=True)

    def _served(self, variant: str, told: Told, *, room: bool) -> None:
        if room:
            self._keep(variant)
        told(room)

    def _keep(self, variant: str) -> None:
        self._loaded.pop(variant, None)
        self._loaded[variant] = None

    def give_way(self) -> None:
        """Unload what is not needed, the oldest first, while another processor lacks the room."""
        needed = self._needed()
        for variant in tuple(self._loaded) if needed is not None else ():
            if self._memory.short and variant not in (needed or ()):
                self._unload(variant)

    def wait_no_more(self) -> None:
        """What it waits for room for is dropped."""
        self._memory.forget(self)

    def clear(self) -> None:
        """Nothing is loaded any more."""
        for variant in tuple(self._loaded):
            self._unload(variant)

    def _unload(self, variant: str) -> None:
        del self._loaded[variant]
        self._memory.used_bytes -= self._sizes_bytes[variant]
