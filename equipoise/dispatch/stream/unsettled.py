"""Every item that has arrived and is neither answered nor shed: where it waits, and what becomes of it."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Mapping

from equipoise.core.cluster import ProcessorId
from equipoise.core.stream import StreamRequest
from equipoise.dispatch.lane import Lane, Task
from equipoise.dispatch.stream.choice import Assigner
from equipoise.dispatch.stream.events import ShedItems
from equipoise.dispatch.stream.settings import StreamSettings
from equipoise.dispatch.stream.tally import StreamTally
from equipoise.dispatch.stream.waiting import Item, Queue


class Unsettled:
    """An item waits in the queue of a processor or is in flight there; or it waits for the assigner to have it go
    somewhere (`held`); or, while no processor is left, for one to return (`homeless`).

    `hungry` is told whose queue got something.
    """

    def __init__(
        self,
        request: StreamRequest,
        settings: StreamSettings,
        *,
        queues: Mapping[ProcessorId, Queue],
        assigner: Assigner,
        tally: StreamTally,
        hungry: dict[Lane, None],
    ) -> None:
        self.items: dict[int, Item] = {}
        self.held: deque[Item] = deque()  # and some that are settled
        self.homeless: list[tuple[float, int, Item]] = []  # a heap, until when they may wait; and some that are settled
        self._request, self._settings = request, settings
        self._queues, self._assigner, self._tally, self._hungry = queues, assigner, tally, hungry
        self._shed: dict[str, list[int]] = {}  # since they were last told
        self._patience_s = settings.patience_s if settings.may_be_late(request) else 0.0

    def arrive(self, number: int, now_s: float) -> None:
        """A new one. Raises ValueError if there is one of that number."""
        if number in self.items:
            raise ValueError(f"item {number} has arrived already")
        item = Item(number, now_s, now_s + self._request.item_latency_s)
        self.items[number] = item
        if len(self.items) > self._settings.max_unsettled_items:
            self.shed(item, "too many items wait")
        else:
            self.place(item, now_s)

    def place(self, item: Item, now_s: float, *, anew: bool = True) -> None:
        """Have it wait where it should be answered; shed it if the requirement wants that."""
        if not self._anybody:
            heapq.heappush(self.homeless, (item.due_s + self._patience_s, item.number, item))
        elif self.held:
            self.held.append(item)  # first come, first served
        elif not self._assign(item, now_s, anew=anew):
            if self._assigner.holds:
                self.held.append(item)
            else:
                self.shed(item, "it could not be answered as required")

    def _assign(self, item: Item, now_s: float, *, anew: bool) -> bool:
        way = self._assigner.choose(item, now_s)
        if way is None:
            return False
        self._tally.diverted += self._assigner.took(item, way, now_s, anew=anew)
        queue = self._queues[way.pid]
        queue.add(item, way.variant)
        self._hungry[queue.lane] = None
        return True

    @property
    def _anybody(self) -> bool:
        return any(queue.lane.usable for queue in self._queues.values())

    def move(self, items: Iterable[Item], now_s: float) -> None:
        """They were to be answered where they cannot be any more."""
        for item in items:
            self.withdraw(item)
            self._tally.resent += 1
            self.place(item, now_s, anew=False)

    def withdraw(self, item: Item) -> None:
        """It is not, or not yet, answered where it was to be."""
        if item.waiting and item.at is not None:
            self._queues[item.at].remove(item)
        if item.at is not None:
            self._assigner.gave_up(item)
            item.at = None

    def answer(self, item: Item, task: Task) -> None:
        """It is answered by this task."""
        if item.waiting or (item.at, item.variant) != (task.pid, task.variant):
            self.withdraw(item)  # it was to be done again elsewhere
            self._assigner.regained(task.variant)
        self._settle(item)

    def shed(self, item: Item, reason: str) -> None:
        """It will not be answered."""
        self.withdraw(item)
        self._settle(item)
        self._tally.shed[reason] += 1
        self._shed.setdefault(reason, []).append(item.number)

    def _settle(self, item: Item) -> None:
        item.open = item.waiting = False
        del self.items[item.number]

    def see_to_those_without_place(self, now_s: float, *, in_flight: bool) -> None:
        """Somebody can take them now, or they have waited too long; or for nothing, if nothing is `in_flight`."""
        anybody = self._anybody
        while self.homeless and (anybody or self.homeless[0][0] <= now_s):
            _, _, item = heapq.heappop(self.homeless)
            if item.open and anybody:
                self.place(item, now_s, anew=False)
            elif item.open:
                self.shed(item, "no processor is left")
        while self.held and self._see_to(self.held[0], now_s, anybody=anybody, in_flight=in_flight):
            self.held.popleft()

    def _see_to(self, item: Item, now_s: float, *, anybody: bool, in_flight: bool) -> bool:
        """One that was held; false if it still is."""
        if item.open and not anybody:
            heapq.heappush(self.homeless, (item.due_s + self._patience_s, item.number, item))
        elif item.open and not self._assign(item, now_s, anew=False):
            if in_flight or any(queue.waiting for queue in self._queues.values()):
                return False
            self.shed(item, "it could not be answered as required")
        return True

    @property
    def next_s(self) -> float:
        """When somebody will have waited too long; inf if nobody can."""
        return self.homeless[0][0] if self.homeless else math.inf

    def take_shed(self) -> list[ShedItems]:
        """Those that were shed since this was last asked."""
        told = [ShedItems(items=tuple(items), reason=reason) for reason, items in self._shed.items()]
        self._shed = {}
        return told
