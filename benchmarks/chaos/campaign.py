"""The campaign: warm-up, a faultless run, boards that are harmed one at a time, and a run under faults."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import field

from benchmarks.chaos.attempt import Attempt, attempt, settled
from benchmarks.chaos.boards import FOUR, Boards, Footprint, boards_on_hosts
from benchmarks.chaos.harm import Harm, draw, harms_one_at_a_time
from benchmarks.chaos.memory import Memory, grown
from benchmarks.chaos.work import Work, work_in

_SETTLES_WITHIN_S = 15.0

OnAttempt = Callable[[str, Attempt], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much of everything. Requests are sized so that the boards need some two thirds of the deadline."""

    seed: int = 1
    warm_up: int = 4
    faultless: int = 10
    faulty: int = 200
    variants: int = 3
    items: int = 400
    deadline_s: float = 2.5
    mended_after_s: tuple[float, ...] = (
        *(0.5, 0.8, 1.0, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0),
        *(2.2, 2.4, 2.6, 2.8, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0),
    )
    long_items: int = 12_000
    long_deadline_s: float = 60.0


class Campaign(msgspec.Struct, kw_only=True):
    """All that was done and found."""

    seed: int
    family: str
    faultless: list[Attempt] = []
    faulty: list[Attempt] = []
    mended: list[Attempt] = []
    memory: list[Memory] = []
    load: list[float] = []  # of the whole machine, after each request: how many processes want to run
    cpus: int = field(default_factory=lambda: os.cpu_count() or 1)

    @property
    def attempts(self) -> list[Attempt]:
        """Every request that counts."""
        return [*self.faultless, *self.faulty, *self.mended]

    @property
    def wrong(self) -> list[str]:
        """Everything that must not be; empty if all is well."""
        of_requests = [f"request {one.number}: {sentence}" for one in self.attempts for sentence in one.wrong]
        return [*of_requests, *grown(self.memory)]


def run_campaign(folder: Path, settings: Settings, on_attempt: OnAttempt = lambda phase, one: None) -> Campaign:
    """Do it all on hosts of its own, in `folder`; Ctrl-C ends it early. Raises RuntimeError if they cannot be built."""
    short, long = folder / "short", folder / "long"
    short.mkdir()
    long.mkdir()
    work = work_in(short, settings.items, settings.variants)
    campaign = Campaign(seed=settings.seed, family=work.family.name)
    with suppress(KeyboardInterrupt), boards_on_hosts(folder, work.family, FOUR) as boards:
        going = _Going(boards, settings, campaign, on_attempt)
        for _ in range(settings.warm_up):
            going.once("warm-up", work, ())
        for _ in range(settings.faultless):
            campaign.faultless.append(going.once("faultless", work, ()))
        going.limit()
        long_work = work_in(long, settings.long_items, settings.variants)
        for harm in harms_one_at_a_time(settings.mended_after_s, tuple(boards.boards)):
            campaign.mended.append(going.once("mended", long_work, (harm,), long=True))
        chance = random.Random(settings.seed)
        for _ in range(settings.faulty):
            harms = draw(chance, tuple(boards.boards), 0.6 * settings.deadline_s)
            campaign.faulty.append(going.once("faulty", work, harms))
    return campaign


class _Going:
    """The campaign under way."""

    def __init__(self, boards: Boards, settings: Settings, campaign: Campaign, on_attempt: OnAttempt) -> None:
        self._boards = boards
        self._settings = settings
        self._campaign = campaign
        self._on_attempt = on_attempt
        self._requests = 0
        self._seen: list[Mapping[str, Footprint]] = []
        self._limits: dict[str, Footprint] = {}

    def once(self, phase: str, work: Work, harms: Sequence[Harm], *, long: bool = False) -> Attempt:
        """One request; then whatever it left has gone, or is told."""
        self._requests += 1
        deadline_s = self._settings.long_deadline_s if long else self._settings.deadline_s
        one = attempt(self._boards, work, self._requests, harms, deadline_s=deadline_s, until_back=long)
        found, left = settled(self._boards, self._limits, within_s=_SETTLES_WITHIN_S)
        one = msgspec.structs.replace(one, wrong=(*one.wrong, *left))
        self._seen.append(found)
        self._remember(found)
        self._campaign.load.append(os.getloadavg()[0])
        self._on_attempt(phase, one)
        return one

    def limit(self) -> None:
        """From now on a node may have no more than it ever had so far."""
        self._limits = {
            name: Footprint(
                memory_bytes=max(seen[name].memory_bytes for seen in self._seen),
                threads=max(seen[name].threads for seen in self._seen),
                files=max(seen[name].files for seen in self._seen),
                children=0,
                peers=max(seen[name].peers for seen in self._seen),
            )
            for name in self._boards.boards
        }

    def _remember(self, found: Mapping[str, Footprint]) -> None:
        for name, footprint in found.items():
            self._campaign.memory.append(
                Memory(
                    board=name,
                    life=self._boards.boards[name].lives,
                    request=self._requests,
                    memory_bytes=footprint.memory_bytes,
                    threads=footprint.threads,
                    files=footprint.files,
                )
            )
