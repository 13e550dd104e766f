"""Who owns which item: the one place that knows, so that no item is ever lost or answered twice.

An item is open (nobody works on it), in flight (held by one or two tasks), answered, or given up. Answered and
given up are final.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from equipoise.core.cluster import ProcessorId
from equipoise.dispatch.order import Shuffled

_OPEN, _IN_FLIGHT, _ANSWERED, _GIVEN_UP = range(4)


class Pool:
    """The items of a request. Every method costs time proportional to the items that it touches.

    `order` names every item once; it is the order in which items are taken.
    """

    def __init__(self, order: Sequence[int]) -> None:
        if not isinstance(order, Shuffled) and sorted(order) != list(range(len(order))):
            raise ValueError(f"order must name every item from 0 to {len(order) - 1} exactly once")
        self._state = bytearray(len(order))  # all open
        self._holders = bytearray(len(order))  # tasks in flight that hold the item
        self._order, self._fresh, self._begun = order, iter(order), 0  # how many of the order were taken from it
        self._queue: deque[int] = deque()  # open again; and stale entries of items that a late answer has settled
        self._retries: deque[tuple[int, ...]] = deque()  # what failed together, in halves, to find the item at fault
        self._failed_alone: dict[int, list[ProcessorId]] = {}  # where each item failed that was sent alone
        self._sent = bytearray(len(order))
        self._failed = bytearray(len(order))
        self.resent_items = 0  # times that an item was taken again after its task was released or failed
        self._count = [len(order), 0, 0, 0]

    @property
    def items(self) -> int:
        """All items of the request."""
        return len(self._state)

    @property
    def open_items(self) -> int:
        """Items that nobody works on."""
        return self._count[_OPEN]

    @property
    def in_flight_items(self) -> int:
        """Items that are held by at least one task."""
        return self._count[_IN_FLIGHT]

    @property
    def answered_items(self) -> int:
        """Items that have their answer."""
        return self._count[_ANSWERED]

    @property
    def given_up_items(self) -> int:
        """Items that failed wherever they were sent."""
        return self._count[_GIVEN_UP]

    @property
    def settled(self) -> bool:
        """True if every item is answered or given up."""
        return self._count[_OPEN] == self._count[_IN_FLIGHT] == 0

    def unanswered(self) -> tuple[int, ...]:
        """Every item without an answer, ascending."""
        return tuple(item for item, state in enumerate(self._state) if state != _ANSWERED)

    def take(self, limit: int) -> tuple[int, ...]:
        """Up to `limit` open items, now held by one task. Empty only if no item is open.

        Items that failed together come alone and in halves, so that fewer may come than there are.
        """
        return self._take_retry(limit) or self._take_fresh(limit)

    def share(self, items: Iterable[int]) -> tuple[int, ...]:
        """Those of `items` that are in flight, now held by one more task."""
        shared = tuple(item for item in items if self._state[item] == _IN_FLIGHT)
        for item in shared:
            self._holders[item] += 1
        return shared

    def release(self, items: Iterable[int]) -> tuple[int, ...]:
        """A task no longer holds `items`; those that nobody else holds are open again, first in the queue."""
        opened = tuple(item for item in items if self._let_go(item))
        self._queue.extendleft(reversed(opened))
        return opened

    def retry(self, items: Iterable[int], where: ProcessorId, *, attempts: int, processors: int) -> None:
        """A task failed on `items`: release them to be tried in halves, until the item at fault is alone.

        An item is given up once it failed alone `attempts` times on as many as `processors` different ones, or
        twice as often anywhere.
        """
        opened = tuple(item for item in items if self._let_go(item))
        for item in opened:
            self._failed[item] = True
        if len(opened) == 1:
            failures = self._failed_alone.setdefault(opened[0], [])
            failures.append(where)
            if len(failures) >= (attempts if len(set(failures)) >= processors else 2 * attempts):
                self._move(opened[0], _GIVEN_UP)
                return
        middle = len(opened) // 2
        self._retries.extend(half for half in (opened[:middle], opened[middle:]) if half)

    def answer(self, items: Iterable[int]) -> tuple[int, ...]:
        """Those of `items` that had no answer; they have one now. Their holders keep holding them until released."""
        accepted = tuple(item for item in items if self._state[item] < _ANSWERED)
        for item in accepted:
            self._move(item, _ANSWERED)
        return accepted

    def is_in_flight(self, item: int) -> bool:
        """True if a task holds the item and it has no answer yet."""
        return self._state[item] == _IN_FLIGHT

    def holders(self, item: int) -> int:
        """How many tasks in flight hold the item."""
        return self._holders[item]

    def has_failed(self, item: int) -> bool:
        """True if a task that held the item failed."""
        return bool(self._failed[item])

    def _take_retry(self, limit: int) -> tuple[int, ...]:
        while self._retries:
            group = tuple(item for item in self._retries.popleft() if self._state[item] == _OPEN)
            if len(group) > limit:
                self._retries.appendleft(group[limit:])
            if group:
                return self._hold(group[:limit])
        return ()

    def _take_fresh(self, limit: int) -> tuple[int, ...]:
        taken: list[int] = []
        while len(taken) < limit and (item := self._next_item()) is not None:
            if self._state[item] == _OPEN:
                taken.append(item)
        return self._hold(tuple(taken))

    def _next_item(self) -> int | None:
        if self._queue:
            return self._queue.popleft()
        self._begun += 1
        return next(self._fresh, None)

    def _hold(self, items: tuple[int, ...]) -> tuple[int, ...]:
        for item in items:
            self._move(item, _IN_FLIGHT)
            self._holders[item] = 1
            self.resent_items += self._sent[item]
            self._sent[item] = True
        return items

    def _let_go(self, item: int) -> bool:
        """One holder less; true if that opened the item."""
        self._holders[item] -= 1
        opened = self._state[item] == _IN_FLIGHT and self._holders[item] == 0
        if opened:
            self._move(item, _OPEN)
        return opened

    def _move(self, item: int, state: int) -> None:
        self._count[self._state[item]] -= 1
        self._state[item] = state
        self._count[state] += 1
