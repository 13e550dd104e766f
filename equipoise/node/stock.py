"""Families that a node has heard of from others: their files are fetched, measured at leisure, and offered."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from equipoise.core.family import Family, Model
from equipoise.errors import ModelError, NodeError, reason_of
from equipoise.fabric.messages import FamilyDescription
from equipoise.families.identity import identity_of
from equipoise.models.cache import Held, ModelCache
from equipoise.models.description import ModelFile, family_in, file_of
from equipoise.models.fetcher import Fetched, Fetcher
from equipoise.models.holders import Holders
from equipoise.models.kept import MOST_FAMILIES, KeptFamilies
from equipoise.models.shelf import Shelf
from equipoise.node.log import NodeLog
from equipoise.node.repertoire import Repertoire

_LOOK_AGAIN_S = 10.0
_BUSY_S = 0.1
_MOST_SAID = 256  # reasons that are not told again; every client that they may be about has a name of its own
_TRIES = 3  # to hold a file that was just fetched, before others may have had it leave again

DEFAULT_CACHE_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StockSettings:
    """Where files that are fetched are kept, and how much of them."""

    folder: Path
    most_bytes: int = DEFAULT_CACHE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """What a stock needs of its node.

    `survey` measures these variants of a family here, or with False learns what is known of them without;
    `unmeasured` are the variants that this may still be tried for. `signed` tells whether a family may be adopted.
    """

    survey: Callable[[Family, Collection[str], bool], Awaitable[None]]
    unmeasured: Callable[[Family], Collection[str]]
    busy: Callable[[], bool]
    signed: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Adopted:
    """A family of others; the `Supply` of its files."""

    stock: Stock
    identity: str
    family: Family
    files: Mapping[str, ModelFile]  # by variant

    def fetch_s(self, model: Model) -> float | None:
        """As `Supply` says."""
        return self.stock.fetch_s(self.files[model.name])

    def hold(self, model: Model) -> Held:
        """As `Supply` says; not on the event loop's thread."""
        return self.stock.hold(model.name, self.files[model.name])


@dataclass(kw_only=True, eq=False)
class Stock:
    """Adopts every family that holders tell of, as far as the cluster has signed it and the cache has room.

    Lives on the event loop's thread, except for `fetch_s` and `hold`.
    """

    settings: StockSettings
    repertoire: Repertoire
    shelf: Shelf
    holders: Holders
    keeper: Keeper
    log: NodeLog
    _adopted: list[_Adopted] = field(default_factory=list)
    _offered: set[str] = field(default_factory=set)  # families that were measured as far as that is possible
    _said: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=_MOST_SAID))  # each is told once
    _waiting: set[concurrent.futures.Future[Fetched | None]] = field(default_factory=set)
    _closed: bool = False

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._cache = ModelCache(self.settings.folder / "files", self.settings.most_bytes)
        self._kept = KeptFamilies(self.settings.folder / "families")
        self._fetcher = Fetcher(self._cache, self.holders, self._on_wrong, self.keeper.busy)

    async def run(self) -> None:
        """Look after the stock until this is cancelled; if the folder cannot be used, say so and do without."""
        try:
            await asyncio.to_thread(self._cache.prepare)
        except ModelError as error:
            self.log("fetches nothing", reason=error)
            return
        for description in await asyncio.to_thread(list, self._kept):
            await self._adopt(description, source="the cache")
        while True:
            since = self.holders.changes
            for identity, holder in (await self.holders.look()).items():
                await self._meet(identity, holder)
            for adopted in tuple(self._adopted):
                await self._measure_all(adopted)
                await self._fill_up(adopted)
            await self.holders.changed(since, _LOOK_AGAIN_S)

    def close(self) -> None:
        """Whoever waits for a file waits no longer."""
        self._closed = True
        for waiting in tuple(self._waiting):
            waiting.cancel()

    def fetch_s(self, file: ModelFile) -> float | None:
        """How long it takes until a file is here: 0 if it is, None if it cannot be had. Any thread may call."""
        if file in self._cache:
            return 0.0
        if file.size_bytes > self.settings.most_bytes:
            return None
        return self.holders.fetch_s(file, self._cache.here_bytes(file))

    def hold(self, variant: str, file: ModelFile) -> Held:
        """The file of a variant, here until that is closed; any thread may call except the event loop's.

        Raises ModelError if it cannot be had.
        """
        for _ in range(_TRIES):
            held = self._cache.hold(file)
            if held is not None:
                return held
            self._await_fetched(variant, file)
        raise ModelError("leaves as soon as it has been fetched", path=self._cache.path_of(file))

    def _await_fetched(self, variant: str, file: ModelFile) -> None:
        waiting = asyncio.run_coroutine_threadsafe(self._fetch(variant, file, urgent=True), self._loop)
        self._waiting.add(waiting)
        try:
            if self._closed:
                waiting.cancel()
            waiting.result()
        except concurrent.futures.CancelledError:
            raise ModelError("is not fetched any more: the node is closing", path=self._cache.path_of(file)) from None
        finally:
            self._waiting.discard(waiting)

    async def _meet(self, identity: str, holder: str) -> None:
        """Somebody tells of a family; if it is not known here yet, and may be, adopt it."""
        if identity in self.repertoire.identities:
            return
        if not self.keeper.signed(identity):
            reason = "the cluster has not signed it; sign it with `equipoise cluster sign FAMILY`"
            self._say_once("not adopted", identity, reason, holder=holder)
            return
        if len(self._adopted) >= MOST_FAMILIES:
            self._say_once("not adopted", identity, f"{MOST_FAMILIES} families are enough", holder=holder)
            return
        try:
            description = await self.holders.describe(holder, identity)
        except NodeError as error:
            self._say_once("not adopted", identity, str(error), holder=holder)
            return
        if identity_of(family_in(self._cache.folder, description)) != identity:
            self.holders.ban(holder, identity)
            self._say_once("not adopted", identity, "what is described is another one", holder=holder)
            return
        try:
            await asyncio.to_thread(self._kept.keep, identity, description)
        except OSError as error:
            self._say_once("not kept", identity, reason_of(error), holder=holder)
        await self._adopt(description, source=holder)

    async def _adopt(self, description: FamilyDescription, *, source: str) -> None:
        family = family_in(self._cache.folder, description)
        identity = identity_of(family)
        if identity in self.repertoire.identities or not self.keeper.signed(identity):
            return
        adopted = _Adopted(self, identity, family, {model.name: file_of(model) for model in description.models})
        self._adopted = [*(other for other in self._adopted if other.identity != identity), adopted]
        self.repertoire.add(family, supply=adopted)
        self.repertoire.expect(identity, files=len(self._wanted(adopted)))
        self.shelf.put(family, description)
        self.log("adopted", family=family.name, source=source)
        for variant, file in adopted.files.items():
            if file.size_bytes > self.settings.most_bytes:
                self.log("not fetched", variant=variant, reason=self._cache.too_large(file))
        await self.keeper.survey(family, tuple(adopted.files), False)

    async def _measure_all(self, adopted: _Adopted) -> None:
        """Fetch and measure what was never measured here."""
        wanted = self._wanted(adopted)
        for left, variant in zip(range(len(wanted), 0, -1), wanted, strict=True):
            self.repertoire.expect(adopted.identity, files=left)
            await self._measure(adopted, variant)
        self.repertoire.expect(adopted.identity, files=0)
        complete = not self._outstanding(adopted) and len(self.keeper.unmeasured(adopted.family)) < len(adopted.files)
        if complete and (wanted or adopted.identity not in self._offered):
            self._offered.add(adopted.identity)
            self.log("profiled", family=adopted.family.name)

    def _wanted(self, adopted: _Adopted) -> list[str]:
        """The variants that are still to be measured here and whose files can be had now, the smallest first."""
        files = adopted.files
        can_be_had = (
            model
            for model in self._outstanding(adopted)
            if files[model.name] in self._cache or self.holders.having(model.sha256)
        )
        return self._by_size(adopted, can_be_had)

    def _outstanding(self, adopted: _Adopted) -> list[Model]:
        """The variants that are still to be measured here, sooner or later."""
        unmeasured = self.keeper.unmeasured(adopted.family)
        return [
            model
            for model in adopted.family.models
            if model.name in unmeasured
            and model.accuracy is not None
            and self.repertoire.may_load(model.sha256)
            and adopted.files[model.name].size_bytes <= self.settings.most_bytes
        ]

    @staticmethod
    def _by_size(adopted: _Adopted, models: Iterable[Model]) -> list[str]:
        return sorted((model.name for model in models), key=lambda variant: adopted.files[variant].size_bytes)

    async def _measure(self, adopted: _Adopted, variant: str) -> None:
        """Have the file here, wait until the node has nothing else to do, and measure it."""
        file = adopted.files[variant]
        if not await self._try_fetch(variant, file):
            return
        while self.keeper.busy():
            await asyncio.sleep(_BUSY_S)
        held = await asyncio.to_thread(self._cache.hold, file)
        if held is None:
            return  # it has left again; there is a next time
        try:
            await self.keeper.survey(adopted.family, (variant,), True)
        finally:
            held.close()

    async def _fill_up(self, adopted: _Adopted) -> None:
        """Fetch what is not here, while nothing has to leave for it; of the rest learn how long it would take."""
        loadable = (model for model in adopted.family.models if self.repertoire.may_load(model.sha256))
        for variant in self._by_size(adopted, loadable):
            file = adopted.files[variant]
            if file in self._cache or not self.holders.having(file.sha256):
                continue
            if self._cache.has_room_for(file):
                await self._try_fetch(variant, file)
            elif self.holders.fetch_s(file) is None:
                with suppress(NodeError):  # then it is not known, and the variant not offered
                    await self.holders.try_out(file)

    async def _try_fetch(self, variant: str, file: ModelFile) -> bool:
        try:
            await self._fetch(variant, file)
        except ModelError as error:
            self._say_once("not fetched", variant, str(error))
            return False
        return True

    async def _fetch(self, variant: str, file: ModelFile, *, urgent: bool = False) -> Fetched | None:
        fetched = await self._fetcher.fetch(file, urgent=urgent)
        if fetched is not None:
            self.log(
                "fetched",
                variant=variant,
                sha256=file.sha256,
                source=",".join(fetched.sources) or None,
                size_bytes=fetched.size_bytes,
                resumed_bytes=fetched.resumed_bytes or None,
                after_s=fetched.took_s,
            )
        return fetched

    def _on_wrong(self, file: ModelFile, sources: tuple[str, ...]) -> None:
        self.log("thrown away", sha256=file.sha256, source=",".join(sources) or None, reason="its SHA-256 is not that")

    def _say_once(self, event: str, what: str, reason: str, **more: str) -> None:
        if (what, reason) not in self._said:
            self._said.append((what, reason))
            self.log(event, what=what, **more, reason=reason)
