"""Which processors are late with what they work on: later than expected, and so late that no speed explains it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.lane import Lane, Task

_LATE = 0.5  # of what a task should take: later than that is worth another look at the plan


class Alarms:
    """One alarm per lane, for the task that it is working on; it goes off unless another task has begun by then.

    A heap from which entries that no longer hold are dropped when their time comes.
    """

    def __init__(self, lanes: Mapping[ProcessorId, Lane]) -> None:
        self._lanes = lanes
        self._heap: list[tuple[float, int, ProcessorId]] = []
        self._holds: dict[ProcessorId, tuple[float, int]] = {}

    def add(self, lane: Lane, at_s: float) -> None:
        """Set the alarm of a lane that has work, in place of an earlier one."""
        assert lane.head is not None
        entry = at_s, lane.head.number
        if self._holds.get(lane.pid) != entry:
            self._holds[lane.pid] = entry
            heapq.heappush(self._heap, (*entry, lane.pid))

    def ring(self, now_s: float) -> list[Lane]:
        """The lanes whose alarms go off; each has work."""
        found = []
        while self.next_s() <= now_s:
            _, _, pid = heapq.heappop(self._heap)
            del self._holds[pid]
            found.append(self._lanes[pid])
        return found

    def next_s(self) -> float:
        """When the next alarm goes off; inf if none is set."""
        while self._heap:
            at_s, number, pid = self._heap[0]
            head = self._lanes[pid].head
            if self._holds.get(pid) == (at_s, number) and head is not None and head.number == number:
                return at_s
            heapq.heappop(self._heap)
        return math.inf


class Belief:
    """Remembers until when each task that is being worked on can be believed to be.

    `margin_s` says what is forgiven beyond what any speed explains, now.
    """

    def __init__(self, lanes: Mapping[ProcessorId, Lane], margin_s: Callable[[], float]) -> None:
        self._margin_s = margin_s
        self._alarms = Alarms(lanes)

    def watch(self, lane: Lane) -> None:
        """The lane may have begun another task."""
        if lane.head is not None:
            self._alarms.add(lane, lane.believable_until_s(lane.head, self._margin_s()))

    def overdue(self, now_s: float) -> list[Lane]:
        """Lanes that are late beyond belief; each is named once."""
        found = []
        for lane in self._alarms.ring(now_s):
            assert lane.head is not None
            if lane.believable_until_s(lane.head, self._margin_s()) > now_s:
                self.watch(lane)  # the processor has turned out slower since
            else:
                found.append(lane)
        return found

    def next_s(self) -> float:
        """When to look again; inf if nothing is in flight."""
        return self._alarms.next_s()


class Lateness:
    """Remembers when each task that is being worked on is so late that more than its scatter must be behind it.

    `least_s` is forgiven in any case.
    """

    def __init__(self, lanes: Mapping[ProcessorId, Lane], least_s: float) -> None:
        self._least_s = least_s
        self._alarms = Alarms(lanes)

    def watch(self, lane: Lane) -> None:
        """The lane may have begun another task."""
        if lane.head is not None:
            self._alarms.add(lane, self._late_from_s(lane, lane.head))

    def late(self, now_s: float) -> list[Lane]:
        """Lanes that are late; each again whenever it is twice as late as it was."""
        found = []
        for lane in self._alarms.ring(now_s):
            assert lane.head is not None
            from_s = self._late_from_s(lane, lane.head)
            if from_s > now_s:  # the processor has turned out slower since
                self._alarms.add(lane, from_s)
            else:
                self._alarms.add(lane, now_s + (now_s - lane.due_s))
                found.append(lane)
        return found

    def next_s(self) -> float:
        """When to look again; inf if nothing is in flight."""
        return self._alarms.next_s()

    def _late_from_s(self, lane: Lane, head: Task) -> float:
        return max(lane.late_from_s, lane.due_s + max(self._least_s, _LATE * lane.work_s(head)))
