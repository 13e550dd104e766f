"""Items that wait here for a processor, and when they should be answered."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.lane import Lane


@dataclass(slots=True, eq=False)
class Item:
    """One item that has arrived and is not settled."""

    number: int
    arrived_s: float
    due_s: float
    at: ProcessorId | None = None  # where it waits or is in flight
    variant: str = ""
    failures: int = 0
    open: bool = True  # false once it is answered or shed
    waiting: bool = False


@dataclass(slots=True, eq=False)
class Queue:
    """What waits here for one lane, in the order of arrival. Work is in seconds at the speed of the profile."""

    lane: Lane
    spreads: float  # standard deviations of the last task's end that are kept in hand
    items: deque[Item] = field(default_factory=deque)  # and some that wait no more
    waiting: int = 0
    work_s: float = 0.0

    def add(self, item: Item, variant: str) -> None:
        """It is to be done here, with this variant."""
        item.at, item.variant, item.waiting = self.lane.pid, variant, True
        self.items.append(item)
        self.waiting += 1
        self.work_s += self.lane.profiles[variant].call_s(1)

    def remove(self, item: Item) -> None:
        """It waits here no more."""
        item.waiting = False
        self.waiting -= 1
        self.work_s = self.work_s - self.lane.profiles[item.variant].call_s(1) if self.waiting else 0.0

    def head(self) -> Item | None:
        """Who has waited longest."""
        while self.items and not self._waits(self.items[0]):
            self.items.popleft()
        return self.items[0] if self.items else None

    def empty(self) -> list[Item]:
        """Everybody who waits; they wait here no more."""
        found = [item for item in self.items if self._waits(item)]
        for item in found:
            self.remove(item)
        self.items.clear()
        return found

    def _waits(self, item: Item) -> bool:
        return item.waiting and item.at == self.lane.pid

    def take(self, items: list[Item]) -> None:
        """These, who waited longest, wait here no more."""
        for item in items:
            self.remove(item)
        while self.items and not self._waits(self.items[0]):
            self.items.popleft()

    def answer_s(
        self, variant: str, now_s: float, *, ahead: bool = True, batch: int = 1, loaded: bool = False
    ) -> float:
        """When a call should be answered, with what is kept in hand; `ahead` of it are those who wait, or nobody.

        `loaded` leaves out what it takes to load the variant.
        """
        calls = 1 + len(self.lane.tasks) + (self.waiting if ahead else 0)
        call_s = self.lane.profiles[variant].call_s(batch) / self.lane.speed
        in_hand_s = self.spreads * self.lane.estimator.spread * call_s * math.sqrt(calls)
        load_s = 0.0 if loaded else self.lane.load_s(variant)
        return self._free_s(variant, now_s, batch, ahead=ahead) + load_s + call_s + in_hand_s

    def expects_s(self, variant: str, now_s: float) -> float:
        """When an item would be answered on average if it were sent now, and the variant were loaded."""
        call_s = self.lane.profiles[variant].call_s(1) / self.lane.speed
        return self._free_s(variant, now_s, 1, ahead=False) + call_s

    def _free_s(self, variant: str, now_s: float, batch: int, *, ahead: bool) -> float:
        lane = self.lane
        queued_s = self.work_s if ahead else 0.0
        arrives_s = lane.uplink.arrives_s(batch * lane.item_bytes[variant], now_s)
        return max(now_s + lane.busy_s(now_s) + queued_s / lane.speed, arrives_s)

    def call(self, now_s: float, *, late: bool) -> list[Item]:
        """The next items to be sent as one call: those at the head that share a variant, as many as pay.

        More than one only where that makes them quicker together, and all of them in time; unless they may be `late`.
        """
        head = self.head()
        if head is None:
            return []
        alike = self._alike(head)
        profile = self.lane.profiles[head.variant]
        sizes = (size for size in sorted(profile.latency_s, reverse=True) if 1 < size <= len(alike))
        for size in sizes:
            pays = profile.latency_s[size] / size < profile.call_s(1)
            due_s = min(item.due_s for item in alike[:size])
            if pays and (late or self.answer_s(head.variant, now_s, ahead=False, batch=size) <= due_s):
                return alike[:size]
        return alike[:1]

    def _alike(self, head: Item) -> list[Item]:
        """The longest run of items like the head that can be sent together; what failed before goes alone."""
        most = 1 if head.failures else max(self.lane.profiles[head.variant].latency_s)
        alike: list[Item] = []
        for item in self.items:
            if len(alike) == most or item.variant != head.variant or (alike and item.failures):
                break
            if self._waits(item):
                alike.append(item)
        return alike
