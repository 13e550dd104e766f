"""Keeps count of what really happened, for the live view and the receipt."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.events import TaskDone
from equipoise.dispatch.flight import Flight
from equipoise.dispatch.lane import Lane, Task
from equipoise.dispatch.pool import Pool
from equipoise.dispatch.progress import ProcessorProgress, Progress, ShareDone


@dataclass(slots=True)
class _Pair:
    """What one processor did with one variant; absolute times."""

    first_sent_s: float
    last_answer_s: float
    items: int = 0
    busy_s: float = 0.0
    load_s: float = 0.0


@dataclass(slots=True)
class Tally:
    """Counts; `earned` is the sum over answered items of the accuracy of the variant that answered."""

    accuracies: dict[str, float]  # of each variant
    start_s: float = 0.0
    earned: float = 0.0
    energy_j: float | None = 0.0  # None once somebody has worked whose watts are not described
    bad: int = 0
    duplicated: int = 0
    dropped: int = 0
    first_sent_s: float | None = None
    last_answer_s: float | None = None
    _pairs: dict[tuple[ProcessorId, str], _Pair] = field(default_factory=dict)

    def sent(self, task: Task, now_s: float) -> None:
        """A task is on its way."""
        self._pairs.setdefault((task.pid, task.variant), _Pair(now_s, now_s))
        if self.first_sent_s is None:
            self.first_sent_s = now_s

    def done(self, task: Task, event: TaskDone, accepted: tuple[int, ...], now_s: float, watts: float | None) -> None:
        """A task was answered by a processor that draws so many `watts`; of its items the `accepted` ones counted."""
        bad = len(set(event.bad_items).intersection(accepted))
        pair = self._pairs[task.pid, task.variant]
        pair.busy_s += event.busy_s
        pair.load_s += event.load_s
        self.energy_j = None if self.energy_j is None or watts is None else self.energy_j + watts * event.busy_s
        self.dropped += len(task.items) - len(accepted)
        if not accepted:
            return
        pair.items += len(accepted)
        pair.last_answer_s = self.last_answer_s = now_s
        self.bad += bad
        self.earned += (len(accepted) - bad) * self.accuracies[task.variant]

    def progress(self, now_s: float, deadline_s: float, replanned: int, flight: Flight) -> Progress:
        """The snapshot at `now_s`."""
        pool = flight.pool
        good = pool.answered_items - self.bad
        pairs: dict[ProcessorId, list[_Pair]] = {pid: [] for pid in flight.lanes}
        for (pid, _), pair in self._pairs.items():
            pairs[pid].append(pair)
        return Progress(
            items=pool.items,
            answered=pool.answered_items,
            bad=self.bad,
            in_flight=pool.in_flight_items,
            elapsed_s=now_s - self.start_s,
            deadline_s=deadline_s if math.isfinite(deadline_s) else None,
            accuracy=self.earned / good if good else 0.0,
            energy_j=self.energy_j,
            replanned=replanned,
            resent=pool.resent_items,
            duplicated=self.duplicated,
            dropped=self.dropped,
            first_sent_s=self._since_start(self.first_sent_s),
            last_answer_s=self._since_start(self.last_answer_s),
            processors=tuple(self._processor(lane, pairs[lane.pid], pool, now_s) for lane in flight.lanes.values()),
            shares=tuple(self._share(pid, variant, pair) for (pid, variant), pair in self._pairs.items()),
        )

    def _since_start(self, at_s: float | None) -> float | None:
        return None if at_s is None else at_s - self.start_s

    def _processor(self, lane: Lane, pairs: list[_Pair], pool: Pool, now_s: float) -> ProcessorProgress:
        items = sum(pair.items for pair in pairs)
        seconds = now_s - min((pair.first_sent_s for pair in pairs), default=now_s)
        return ProcessorProgress(
            pid=lane.pid,
            usable=lane.usable,
            items_done=items,
            items_in_flight=sum(pool.is_in_flight(item) for task in lane.tasks.values() for item in task.items),
            variant=lane.variant,
            items_per_s=items / seconds if seconds > 0 else 0.0,
            speed=lane.speed,
        )

    def _share(self, pid: ProcessorId, variant: str, pair: _Pair) -> ShareDone:
        return ShareDone(
            pid=pid,
            variant=variant,
            items=pair.items,
            busy_s=pair.busy_s,
            load_s=pair.load_s,
            first_sent_s=pair.first_sent_s - self.start_s,
            last_answer_s=pair.last_answer_s - self.start_s,
        )
