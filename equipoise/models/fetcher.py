"""Fetches a model file from whoever has it, chunk by chunk, and keeps it once its SHA-256 has proved right."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from equipoise.errors import ModelError, NodeError
from equipoise.models.cache import ModelCache, Part
from equipoise.models.description import ModelFile
from equipoise.models.holders import Holders

_RETURN_S = 5.0  # how long holders that are all gone may take to come back
_OTHER_PROCESS_S = 0.5
_PAUSE_S = 0.05
_PAUSES = 3  # as long as a chunk took, while tasks are here

OnWrong = Callable[[ModelFile, tuple[str, ...]], None]  # a file was thrown away that these holders sent


class _GivesWayError(Exception):
    """Something else is needed at once; what is here stays, if its room is not needed for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """How a file came here; `resumed_bytes` of it were here before, `sources` sent the rest."""

    sources: tuple[str, ...]
    size_bytes: int
    resumed_bytes: int
    took_s: float


class Fetcher:
    """Fills a cache; what is needed at once goes before the rest. Lives on the event loop's thread.

    While this machine is `busy` with tasks, what nobody waits for comes in small chunks, a quarter of the time at most.
    """

    def __init__(
        self, cache: ModelCache, holders: Holders, on_wrong: OnWrong, busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._cache = cache
        self._holders = holders
        self._on_wrong = on_wrong
        self._busy = busy
        self._turns: dict[str, asyncio.Lock] = {}
        self._urgent: Counter[str] = Counter()  # files that somebody waits for
        self._open: Counter[str] = Counter()  # files that are being fetched

    async def fetch(self, file: ModelFile, *, urgent: bool = False) -> Fetched | None:
        """Have a file in the cache; None if it was there, or another process has fetched it.

        What was fetched of it before is not fetched again. While something urgent is fetched, the rest waits.
        Raises ModelError if nobody has it or there is no room for it; what is here of it by then stays for the
        next time.
        """
        with self._counted(file, urgent):
            async with self._turns.setdefault(file.name, asyncio.Lock()):
                while not await asyncio.to_thread(self._cache.__contains__, file):
                    await self._until_turn(file)
                    part = await asyncio.to_thread(self._cache.begin, file)
                    if part is None:
                        await asyncio.sleep(_OTHER_PROCESS_S)
                        continue
                    self._open[file.name] += 1
                    try:
                        return await self._complete(part)
                    except _GivesWayError:
                        continue
                    finally:
                        self._open -= Counter([file.name])
                        part.close()
        return None

    async def _until_turn(self, file: ModelFile) -> None:
        """What is not urgent waits for what is; what is urgent, until the rest has let go of its room."""
        while self._pressed(file) or (self._urgent[file.name] and any(map(self._pressed_name, self._open))):
            await asyncio.sleep(_PAUSE_S)

    def _pressed(self, file: ModelFile) -> bool:
        return self._pressed_name(file.name)

    def _pressed_name(self, name: str) -> bool:
        """True if somebody waits for other files, but nobody for this one."""
        return bool(self._urgent) and not self._urgent[name]

    @contextmanager
    def _counted(self, file: ModelFile, urgent: bool) -> Iterator[None]:
        if not urgent:
            yield
            return
        self._urgent[file.name] += 1
        try:
            yield
        finally:
            self._urgent -= Counter([file.name])  # which drops what is 0

    async def _complete(self, part: Part) -> Fetched:
        began_s, resumed_bytes = asyncio.get_running_loop().time(), part.size_bytes
        sources = await self._fill(part, mixed=True)
        if not await asyncio.to_thread(part.finish):
            sources = await self._complete_from_one(part, sources if not resumed_bytes else ())
            resumed_bytes = 0
        took_s = asyncio.get_running_loop().time() - began_s
        return Fetched(sources=sources, size_bytes=part.file.size_bytes, resumed_bytes=resumed_bytes, took_s=took_s)

    async def _complete_from_one(self, part: Part, suspects: tuple[str, ...]) -> tuple[str, ...]:
        """What was gathered is wrong: have it all from one holder after the other, so that it shows who is wrong."""
        while True:
            self._on_wrong(part.file, suspects)
            if len(suspects) == 1:
                self._holders.ban(suspects[0], part.file.sha256)
            suspects = await self._fill(part, mixed=False)
            if await asyncio.to_thread(part.finish):
                return suspects

    async def _fill(self, part: Part, *, mixed: bool) -> tuple[str, ...]:
        """Fetch what is missing, from one holder after the other as they fail; those who sent something.

        Unless `mixed`, everything comes from one. Raises ModelError if nobody is left.
        """
        sources: list[str] = []
        failed: dict[str, str] = {}
        while (before_bytes := part.size_bytes) < part.file.size_bytes:
            holder = await self._next_holder(part.file, failed)
            try:
                await self._draw(holder, part)
            except NodeError as error:
                failed[holder] = str(error)
                if not mixed:
                    await asyncio.to_thread(part.restart)
            if part.size_bytes > before_bytes:
                sources.append(holder)
        return tuple(dict.fromkeys(sources))

    async def _next_holder(self, file: ModelFile, failed: dict[str, str]) -> str:
        """Somebody who has the file and has not failed yet; whoever left is asked again once it has come back."""
        give_up_s = asyncio.get_running_loop().time() + _RETURN_S
        while True:
            since = self._holders.changes
            await self._holders.look()
            for holder in self._holders.having(file.sha256):
                if holder not in failed:
                    return holder
            left_s = give_up_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                reasons = "; ".join(failed.values()) or "no node or client that is there has it"
                raise ModelError(f"model file {file.sha256} cannot be fetched: {reasons}")
            if await self._holders.changed(since, left_s):
                failed.clear()

    async def _draw(self, holder: str, part: Part) -> None:
        """Fetch from a holder until the file is whole. Raises NodeError."""
        while (here_bytes := part.size_bytes) < part.file.size_bytes:
            if self._pressed(part.file):
                raise _GivesWayError
            paced = self._busy() and not self._urgent[part.file.name]
            began_s = asyncio.get_running_loop().time()
            chunk = await self._holders.chunk(holder, part.file, here_bytes, small=paced)
            await asyncio.to_thread(part.append, chunk)
            if paced:
                await asyncio.sleep(_PAUSES * (asyncio.get_running_loop().time() - began_s))
