"""A task on its way through a processor: items are prepared ahead of inference, a batch at a time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from equipoise.core.family import InputSpec
from equipoise.engines.base import Floats
from equipoise.errors import InputError
from equipoise.fabric.messages import TaskMessage, TaskReply
from equipoise.families.preprocess import prepare

OnReply = Callable[[Callable[[], TaskReply]], None]  # called with what makes the reply, on any thread; must not wait
Errors = dict[int, str]  # item, or row of a batch -> why it cannot be decoded


class Batch(NamedTuple):
    """Items ready to be inferred in one call: row i of `tensor` is item `items[i]`."""

    items: tuple[int, ...]
    tensor: NDArray[Any]
    errors: Errors  # the items left out


class PreparingBatch(NamedTuple):
    """Items whose tensor is being filled, by others but for the piece that is left to whoever finishes it."""

    items: tuple[int, ...]
    tensor: NDArray[Any]
    pieces: tuple[Future[Errors], ...]
    left: Callable[[], Errors]

    def finish(self) -> Batch:
        """Do what is left, wait until all is prepared, and leave out the items that cannot be decoded."""
        failed = self.left()
        for piece in self.pieces:
            failed |= piece.result()
        if not failed:
            return Batch(self.items, self.tensor, {})
        good = [row for row in range(len(self.items)) if row not in failed]
        errors = {self.items[row]: reason for row, reason in failed.items()}
        return Batch(tuple(self.items[row] for row in good), self.tensor[good], errors)


class Job:
    """A task that was accepted. What concerns preparation is used under the worker's lock, the rest by one thread."""

    def __init__(self, message: TaskMessage, spec: InputSpec, arrived_s: float, on_reply: OnReply) -> None:
        self.message = msgspec.structs.replace(message, payloads=())
        self.arrived_s = arrived_s
        self.on_reply = on_reply
        self.abandoned = False
        self.payload_bytes = sum(map(len, message.payloads))
        self._spec = spec
        self._payloads: list[bytes] = list(message.payloads)
        self._next = 0
        self._preparing: deque[PreparingBatch] = deque()
        self.prepared_items = 0  # prepared or being prepared, and not yet taken
        self.answered: list[int] = []
        self.scores: list[Floats] = []  # of the answered items, in that order
        self.errors: Errors = {}  # by item: why it cannot be answered

    @property
    def expires_s(self) -> float:
        """After this time (time.monotonic) it need not be started."""
        expire_in_s = self.message.expire_in_s
        return math.inf if expire_in_s is None else self.arrived_s + expire_in_s

    @property
    def due_s(self) -> float:
        """When its coordinator needs it (time.monotonic); inf if that was not said."""
        due_in_s = self.message.due_in_s
        return math.inf if due_in_s is None else self.arrived_s + due_in_s

    @property
    def key(self) -> tuple[str, str]:
        """Identity of the family and name of the variant that it needs."""
        return self.message.family, self.message.variant

    @property
    def batches(self) -> int:
        """How many calls its items are inferred in."""
        return math.ceil(len(self.message.items) / self.message.batch)

    @property
    def all_prepared(self) -> bool:
        """True if the preparation of its last batch has begun, or nobody wants it any more."""
        return self._next == len(self._payloads) or self.abandoned

    def prepare_next(self, pool: Executor, pieces: int, *, needed_now: bool = False) -> None:
        """Have the next batch prepared on `pool`, split into `pieces`; there must be one left.

        If it is `needed_now`, the first of them is left to whoever needs it: handing it over would take longer.
        """
        start, stop = self._next, min(self._next + self.message.batch, len(self._payloads))
        tensor = np.empty((stop - start, *self._spec.item_shape), dtype=self._spec.dtype)
        rows = math.ceil((stop - start) / pieces)
        work = [
            partial(_prepare_rows, self._payloads[first : min(first + rows, stop)], self._spec, tensor, first - start)
            for first in range(start, stop, rows)
        ]
        left = work.pop(0) if needed_now else dict
        self._payloads[start:stop] = [b""] * (stop - start)  # so that they are freed one by one
        futures = tuple(map(pool.submit, work))
        self._preparing.append(PreparingBatch(self.message.items[start:stop], tensor, futures, left))
        self.prepared_items += stop - start
        self._next = stop

    def take(self) -> PreparingBatch:
        """The oldest batch whose preparation has begun; there must be one."""
        batch = self._preparing.popleft()
        self.prepared_items -= len(batch.items)
        return batch

    def forget(self) -> None:
        """Drop what was prepared and stop preparing."""
        for batch in self._preparing:
            for piece in batch.pieces:
                piece.cancel()
        self._preparing.clear()
        self._payloads.clear()
        self._next = self.prepared_items = 0


def _prepare_rows(payloads: Sequence[bytes], spec: InputSpec, tensor: NDArray[Any], first_row: int) -> Errors:
    failed: Errors = {}
    for row, payload in enumerate(payloads, start=first_row):
        try:
            tensor[row] = prepare(payload, spec)
        except InputError as error:  # noqa: PERF203 - one bad item must not spoil the others
            failed[row] = str(error)
    return failed
