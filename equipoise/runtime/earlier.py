"""A run that was cut short: what it had come to, what is left of it, and both parts as one."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from equipoise.core.cluster import ProcessorId
from equipoise.core.ranges import ASKED
from equipoise.core.receipt import LostNode, Origin, Receipt, Resumption
from equipoise.core.request import Prefer, Request, Requirement, WhenLate
from equipoise.dispatch.commands import Finish
from equipoise.dispatch.progress import Progress, ShareDone
from equipoise.errors import UsageError
from equipoise.fabric.messages import Answer
from equipoise.runtime.inputs import Items
from equipoise.runtime.outputs import Scorecard, Sink
from equipoise.runtime.predictions import Kept, Row
from equipoise.runtime.receipt import make_receipt


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What was kept of a run, by item index; `left` are the items that are still to be answered, ascending.

    Its clock goes on while nobody coordinates it: `since_s` is how long ago it began. With `more_s` that is how long
    the rest may take; without it the deadline is the one that was promised.
    """

    receipt: Receipt
    origin: Origin
    kept: Kept
    rows: Mapping[int, Row]
    left: tuple[int, ...]
    since_s: float
    last_written_s: float  # when the predictions file was last written to, from its start
    more_s: float | None = None

    @property
    def request(self) -> Request:
        """The whole request, as it is promised now."""
        requirement = self.receipt.requirement
        if self.more_s is not None:
            deadline_s = self.since_s + self.more_s
            requirement = msgspec.structs.replace(requirement, deadline_s=deadline_s, throughput_per_s=None)
        return Request(items=self.receipt.items, requirement=requirement)

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, infinite without one; not above 0 if it has passed."""
        return self.request.deadline_s - self.since_s

    @property
    def given_up(self) -> bool:
        """True if the deadline has passed and the policy then gives up what is left."""
        return self.left_s <= 0 and self.request.requirement.when_late is not WhenLate.KEEP_FLOOR

    def at(self, now: dt.datetime) -> Earlier:
        """The same, seen later."""
        return replace(self, since_s=max(self.since_s, _since_s(self.origin, now)))

    def rest(self) -> Request:
        """What is left as a request of its own, at least one item: the seconds left, and the accuracy still owed."""
        wanted = self.request.requirement
        timely = self.left_s > 0
        requirement = Requirement(
            deadline_s=self.left_s if timely and not wanted.time_unbounded else None,
            min_accuracy=min(1.0, max(0.0, self._owed_accuracy())),
            prefer=wanted.prefer if timely else Prefer.LATENCY,
            when_late=wanted.when_late,
            max_energy_j=self._energy_left_j(),
            max_power_w=wanted.max_power_w,
            confidence=wanted.confidence,
        )
        return Request(items=len(self.left), requirement=requirement)

    def answers(self) -> Iterable[tuple[Answer, ProcessorId, str]]:
        """What was answered, by whom and with which variant."""
        for item, row in self.rows.items():
            classes = (row.class_index,) if row.class_index is not None else ()
            yield Answer(item=item, classes=classes, error=row.error), row.pid, row.variant

    def joined(self, later: Progress | None = None) -> Progress:
        """How far the whole is, when the rest, begun `since_s` after the start, is so far."""
        before = self._progress()
        if later is None:
            return before
        good, later_good = before.answered - before.bad, later.answered - later.bad
        earned = before.accuracy * good + later.accuracy * later_good
        return Progress(
            items=before.items,
            answered=before.answered + later.answered,
            bad=before.bad + later.bad,
            in_flight=later.in_flight,
            elapsed_s=self.since_s + later.elapsed_s,
            deadline_s=before.deadline_s,
            accuracy=earned / (good + later_good) if good + later_good else 0.0,
            replanned=before.replanned + 1 + later.replanned,
            resent=before.resent + later.resent,
            duplicated=before.duplicated + later.duplicated,
            dropped=before.dropped + later.dropped,
            first_sent_s=_least(before.first_sent_s, self._at(later.first_sent_s)),
            last_answer_s=_most(before.last_answer_s, self._at(later.last_answer_s)),
            processors=later.processors,
            shares=_summed([*before.shares, *map(self._moved, later.shares)]),
            energy_j=_sum_if_known(before.energy_j, later.energy_j),
        )

    def receipt_of(
        self,
        *,
        progress: Progress | None,
        finish: Finish | None,
        lost: tuple[LostNode, ...],
        scorecard: Scorecard,
        items: Items,
        origin: Origin | None,
    ) -> Receipt:
        """The receipt of the whole; `progress`, `finish` and `lost` are those of the rest, with its own item numbers.

        `progress` is None if nothing was run any more.
        """
        whole = finish and replace(finish, unanswered=tuple(self.left[item] for item in finish.unanswered))
        later = tuple(msgspec.structs.replace(one, after_s=self.since_s + one.after_s) for one in lost)
        resumption = Resumption(after_s=self.since_s, answered=len(self.rows), deadline_s=self.more_s)
        return make_receipt(
            request=self.request,
            family=self.receipt.family,
            plan=self.receipt.plan,
            progress=self.joined(progress),
            finish=whole,
            lost=(*self.receipt.lost, *later),
            scorecard=scorecard,
            name_of=items.name,
            emulated=self.receipt.emulated,
            seed=self.receipt.seed,
            resumed=(*self.receipt.resumed, resumption),
            origin=origin,
        )

    def _owed_accuracy(self) -> float:
        """Mean accuracy that the rest must reach so that everything readable has the floor's."""
        before = self._progress()
        good = before.answered - before.bad
        owed = self.request.requirement.min_accuracy * (good + len(self.left)) - before.accuracy * good
        return owed / len(self.left)

    def _energy_left_j(self) -> float | None:
        budget_j, spent_j = self.request.requirement.max_energy_j, self.receipt.energy_j
        return None if budget_j is None else max(ASKED.least, budget_j - (spent_j or 0.0))

    def _progress(self) -> Progress:
        receipt = self.receipt
        good = [row for row in self.rows.values() if row.error is None]
        first_s = [share.first_sent_s for share in receipt.shares if share.first_sent_s is not None]
        return Progress(
            items=receipt.items,
            answered=len(self.rows),
            bad=len(self.rows) - len(good),
            in_flight=0,
            elapsed_s=self.since_s,
            deadline_s=receipt.requirement.deadline_s,
            accuracy=sum(self.origin.accuracies[row.variant] for row in good) / len(good) if good else 0.0,
            replanned=receipt.replanned,
            resent=receipt.resent,
            duplicated=receipt.duplicated,
            dropped=receipt.dropped,
            first_sent_s=min(first_s, default=0.0 if self.rows else None),
            last_answer_s=self._last_answer_s() if self.rows else None,
            processors=(),
            shares=self._shares(Counter((row.pid, row.variant) for row in good)),
            energy_j=receipt.energy_j,
        )

    def _last_answer_s(self) -> float:
        """As it was recorded, or if answers came after that, when the last of them was written."""
        acknowledged = self.origin.predictions
        recorded_s = [share.last_answer_s for share in self.receipt.shares if share.last_answer_s is not None]
        if acknowledged is None or len(self.rows) > acknowledged.lines or not recorded_s:
            recorded_s.append(self.last_written_s)
        return max(recorded_s)

    def _shares(self, answered: Counter[tuple[ProcessorId, str]]) -> tuple[ShareDone, ...]:
        """What was recorded, and what was answered after that; unreadable items only count where they were recorded."""
        recorded = {(ProcessorId(s.node, s.processor), s.variant): s for s in self.receipt.shares}
        shares = []
        for pid, variant in dict.fromkeys([*recorded, *answered]):
            share = recorded.get((pid, variant))
            items = max(share.items if share else 0, answered[pid, variant])
            if items or (share and share.first_sent_s is not None):
                shares.append(
                    ShareDone(
                        pid=pid,
                        variant=variant,
                        items=items,
                        busy_s=share.busy_s if share else 0.0,
                        load_s=share.load_s if share else 0.0,
                        first_sent_s=(share and share.first_sent_s) or 0.0,
                        last_answer_s=(share and share.last_answer_s) or self._last_answer_s(),
                    )
                )
        return tuple(shares)

    def _moved(self, share: ShareDone) -> ShareDone:
        first_s, last_s = self.since_s + share.first_sent_s, self.since_s + share.last_answer_s
        return replace(share, first_sent_s=first_s, last_answer_s=last_s)

    def _at(self, later_s: float | None) -> float | None:
        return None if later_s is None else self.since_s + later_s


class RestItems:
    """Those of some items that are left, numbered from 0."""

    def __init__(self, items: Items, left: Sequence[int]) -> None:
        self._items, self._left = items, left

    def __len__(self) -> int:
        return len(self._left)

    def name(self, index: int) -> str:
        """What the user calls the item."""
        return self._items.name(self._left[index])

    def payload(self, index: int) -> bytes:
        """The item as it travels. Raises InputError."""
        return self._items.payload(self._left[index])


class RestSink:
    """Gives answers to the items that are left the numbers that these had from the beginning."""

    def __init__(self, sink: Sink, left: Sequence[int]) -> None:
        self._sink, self._left = sink, left

    def accept(self, answer: Answer, pid: ProcessorId, variant: str) -> None:
        """Pass the answer on."""
        self._sink.accept(msgspec.structs.replace(answer, item=self._left[answer.item]), pid, variant)


def earlier_run(
    receipt: Receipt,
    origin: Origin,
    kept: Kept,
    items: Items,
    *,
    now: dt.datetime,
    last_written: dt.datetime,
    more_s: float | None = None,
) -> Earlier:
    """What became of the run of this receipt until `now`; `last_written` is when its predictions file last grew.

    Raises UsageError if an answer was kept to what is no item of the request, or by a variant that it did not have.
    """
    numbers = {items.name(item): item for item in range(len(items))}
    rows: dict[int, Row] = {}
    for row in kept.rows:
        if row.item not in numbers or (row.error is None and row.variant not in origin.accuracies):
            raise UsageError(f"an answer was kept to {row.item!r} by {row.variant!r}, which the request does not have")
        rows[numbers[row.item]] = row
    known_s = max((s.last_answer_s for s in receipt.shares if s.last_answer_s is not None), default=0.0)
    since_s = max(_since_s(origin, now), known_s)  # a clock that was set back does not make a run younger
    return Earlier(
        receipt=receipt,
        origin=origin,
        kept=kept,
        rows=rows,
        left=tuple(item for item in range(len(items)) if item not in rows),
        since_s=since_s,
        last_written_s=min(max(0.0, _since_s(origin, last_written)), since_s),
        more_s=more_s,
    )


def _since_s(origin: Origin, now: dt.datetime) -> float:
    return (now - dt.datetime.fromisoformat(origin.started_at)).total_seconds()


def _summed(shares: Iterable[ShareDone]) -> tuple[ShareDone, ...]:
    """One share per processor and variant."""
    found: dict[tuple[ProcessorId, str], ShareDone] = {}
    for share in shares:
        pair = (share.pid, share.variant)
        found[pair] = _sum(found[pair], share) if pair in found else share
    return tuple(found.values())


def _sum(before: ShareDone, after: ShareDone) -> ShareDone:
    return replace(
        after,
        items=before.items + after.items,
        busy_s=before.busy_s + after.busy_s,
        load_s=before.load_s + after.load_s,
        first_sent_s=min(before.first_sent_s, after.first_sent_s),
        last_answer_s=max(before.last_answer_s, after.last_answer_s) if after.items else before.last_answer_s,
    )


def _sum_if_known(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _least(a: float | None, b: float | None) -> float | None:
    return min((one for one in (a, b) if one is not None), default=None)


def _most(a: float | None, b: float | None) -> float | None:
    return max((one for one in (a, b) if one is not None), default=None)
