"""Meeting again soon: whoever was lost and is there again is found at once, not when Zenoh happens to ask again.

Zenoh asks who is there ever more rarely, at last every 8 s. While somebody is missing the network is asked every second
or two; if somebody answers to whom this session has no link, a session of its own is opened for a moment that has links
to both: peers tell each other whom they know, and this session dials.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

import zenoh
from zenoh.handlers import Callback

from equipoise.fabric.config import ZenohSettings

_ANSWERS_S = 0.3  # how long answers are waited for
_PAUSE_S = 0.7
_INTRODUCED_S = 2.0  # dialling included; a slow board has to sign for it
_LOOK_S = 0.05
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0  # with somebody who was introduced in vain


class Reunion:
    """Looks for those who are missing, as long as somebody is. Lives on the event loop's thread."""

    def __init__(self, session: Any, settings: ZenohSettings, is_anybody_missing: Callable[[], bool]) -> None:
        self._session = session
        self._settings = settings
        self._is_anybody_missing = is_anybody_missing
        self._own_zid = str(session.info.zid())
        self._looking: asyncio.Task[None] | None = None
        self._pauses: dict[str, tuple[float, float]] = {}  # by who was introduced in vain: until when, and the next one

    def seek(self) -> None:
        """Somebody may be missing."""
        if self._settings.scouting is not None and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._seek())

    async def give_up(self) -> None:
        """Look no longer."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _seek(self) -> None:
        self._pauses.clear()
        while self._is_anybody_missing():
            with suppress(zenoh.ZError):
                found = await self._scout()
                mine = found.pop(self._own_zid, [])
                strangers = {zid: found[zid] for zid in found.keys() - self._linked() if self._is_worth_it(zid)}
                if strangers and mine:
                    await self._introduce(mine, strangers)
                    self._pause_with(strangers.keys() - self._linked())
            await asyncio.sleep(_PAUSE_S)

    def _is_worth_it(self, zid: str) -> bool:
        until_s, _ = self._pauses.get(zid, (0.0, 0.0))
        return asyncio.get_running_loop().time() >= until_s

    def _pause_with(self, zids: Iterable[str]) -> None:
        """They may be of another cluster, too busy, or not have missed this session yet: next time later."""
        now_s = asyncio.get_running_loop().time()
        for zid in zids:
            _, pause_s = self._pauses.get(zid, (0.0, _FIRST_PAUSE_S))
            self._pauses[zid] = now_s + pause_s, min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _scout(self) -> dict[str, list[str]]:
        """Who answers now, each with its addresses."""
        found: dict[str, list[str]] = {}

        def on_hello(hello: Any) -> None:
            found[str(hello.zid)] = list(map(str, hello.locators))

        config = replace(self._settings, listen=(), connect=()).config()
        scout: Any = await asyncio.to_thread(zenoh.scout, Callback(on_hello, indirect=False), "peer", config)
        try:
            await asyncio.sleep(_ANSWERS_S)
        finally:
            scout.stop()
        return dict(found)

    def _linked(self) -> set[str]:
        return set(map(str, self._session.info.peers_zid()))

    async def _introduce(self, mine: list[str], strangers: dict[str, list[str]]) -> None:
        dialled = (mine[0], *chain.from_iterable(strangers.values()))
        settings = replace(self._settings, listen=(), connect=dialled, scouting=None, stays=False)
        between = await asyncio.to_thread(zenoh.open, settings.config())
        try:
            give_up_s = asyncio.get_running_loop().time() + _INTRODUCED_S
            while not self._linked() >= strangers.keys() and asyncio.get_running_loop().time() < give_up_s:
                await asyncio.sleep(_LOOK_S)
        finally:
            await asyncio.to_thread(between.close)
