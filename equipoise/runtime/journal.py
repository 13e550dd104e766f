"""Keeps on the disk what a request has come to while it runs, so that whoever is killed leaves it behind.

There are two files: the predictions, a line per answer as it comes, and the receipt, which says what was asked and
acknowledges how much of the predictions is on the disk. Both are brought there together, about once a second: a disk,
and a memory card even more, takes far longer for that than for the writing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from equipoise.core.receipt import Acknowledged, Receipt
from equipoise.errors import OutputError
from equipoise.runtime.outputs import Sink
from equipoise.runtime.predictions import Kept, PredictionFile
from equipoise.runtime.receipt import write_receipt

_PERIOD_S = 1.0  # what a power cut may cost at most, beside what the disk needs
_MOST_OF_THE_TIME = 0.05  # spent on it: a receipt of very many shares is written more rarely

ReceiptSoFar = Callable[[Acknowledged | None], Receipt]


class Journal:
    """The files of one request; either may be missing.

    A receipt that goes to a device or a pipe is not kept up: it is written once, at the end, by who makes it.
    """

    def __init__(
        self, receipt: Path | None = None, predictions: PredictionFile | None = None, *, period_s: float = _PERIOD_S
    ) -> None:
        self._receipt = receipt if receipt is None or receipt.is_file() or not receipt.exists() else None
        self._predictions = predictions
        self._period_s = period_s

    @property
    def sink(self) -> Sink | None:
        """Where answers are to go, if they are kept."""
        return self._predictions

    @asynccontextmanager
    async def kept(
        self, so_far: ReceiptSoFar, on_error: Callable[[OutputError], None], *, earlier: Kept | None = None
    ) -> AsyncIterator[None]:
        """A context in which both files are kept up. `on_error` is told once if that can no longer be done.

        `earlier` is what the predictions file keeps of a run that is gone on with. Raises OutputError if the files
        cannot be begun.
        """
        if self._receipt is None and self._predictions is None:
            yield
            return
        await asyncio.to_thread(self._begin, so_far, earlier)
        over = asyncio.Event()
        keeping = asyncio.get_running_loop().create_task(self._keep_up(so_far, on_error, over))
        try:
            yield
        finally:
            over.set()
            await keeping

    def close(self) -> Acknowledged | None:
        """Bring all predictions to the disk and let go of them; says how much there is. Raises OutputError."""
        if self._predictions is None:
            return None
        self._predictions.close()
        return self._predictions.written

    def _begin(self, so_far: ReceiptSoFar, earlier: Kept | None) -> None:
        if self._predictions is not None:
            if earlier is None:  # or a receipt of before could be taken for one of what is written now
                self._write(so_far(None))
            self._predictions.begin(earlier)
            self._predictions.sync()
            self._write(so_far(self._predictions.written))
        else:
            self._write(so_far(None))

    async def _keep_up(
        self, so_far: ReceiptSoFar, on_error: Callable[[OutputError], None], over: asyncio.Event
    ) -> None:
        pause_s = self._period_s
        while not await _happens(over, pause_s):
            written = self._predictions.written if self._predictions is not None else None
            receipt = so_far(written)
            began_s = time.monotonic()
            try:
                await asyncio.to_thread(self._acknowledge, receipt)
            except OutputError as error:
                on_error(error)
                return
            pause_s = max(self._period_s, (time.monotonic() - began_s) / _MOST_OF_THE_TIME)

    def _acknowledge(self, receipt: Receipt) -> None:
        if self._predictions is not None:
            self._predictions.sync()
        self._write(receipt)

    def _write(self, receipt: Receipt) -> None:
        if self._receipt is not None:
            write_receipt(self._receipt, receipt)


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), within_s)
    except asyncio.TimeoutError:  # before Python 3.11 not the built-in one
        return False
    return True
