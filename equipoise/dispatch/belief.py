"""Which processors are so late that no speed explains it any more."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.lane import Lane


class Belief:
    """Remembers until when each task that is being worked on can be believed to be.

    A heap with one entry per task that ever was first in its lane; entries that no longer hold are dropped, or
    put off if the processor has turned out slower since, when their time comes.
    """

    def __init__(self, lanes: Mapping[ProcessorId, Lane], margin_s: float) -> None:
        self._lanes = lanes
        self._margin_s = margin_s
        self._until_s: list[tuple[float, int, ProcessorId]] = []

    def watch(self, lane: Lane) -> None:
        """The lane may have begun another task."""
        head = lane.head
        if head is not None:
            heapq.heappush(self._until_s, (lane.believable_until_s(head, self._margin_s), head.number, lane.pid))

    def overdue(self, now_s: float) -> list[Lane]:
        """Lanes that are late beyond belief; each is named once."""
        found = []
        while self._until_s and self._until_s[0][0] <= now_s:
            _, number, pid = heapq.heappop(self._until_s)
            lane = self._lanes[pid]
            if lane.head is None or lane.head.number != number or lane in found:
                continue
            if lane.believable_until_s(lane.head, self._margin_s) > now_s:
                self.watch(lane)
            else:
                found.append(lane)
        return found

    def next_s(self) -> float:
        """When to look again; inf if nothing is in flight."""
        while self._until_s:
            until_s, number, pid = self._until_s[0]
            head = self._lanes[pid].head
            if head is not None and head.number == number:
                return until_s
            heapq.heappop(self._until_s)
        return math.inf
