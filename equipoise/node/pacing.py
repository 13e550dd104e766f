"""When a processor is done: as soon as it can, or, emulated, when its description says.

An emulated processor really infers, on a machine that is faster than the board it plays, and then holds the
answer back. Its schedule is absolute: a call is due the described seconds after the one before it was *due*,
so that late wake-ups and a busy machine do not add up; a call that was held up is made up for, up to a limit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Protocol

from equipoise.core.cluster import Link, Profile

# A processor that was stopped (SIGSTOP, say) must not come back faster than the board that it plays.
MOST_CATCHING_UP_S = 0.25


class Pace(Protocol):
    """Told what a processor does, in order; returns when that may count as done."""

    def begin(self, arrived_s: float) -> None:
        """A task that arrived then (time.monotonic) begins."""

    def load(self, variant: str) -> None:
        """The variant has been loaded."""

    def call(self, variant: str, items: int) -> None:
        """So many items have been inferred in one call."""


class AsFastAsItCan:
    """The processor is what it is."""

    def begin(self, arrived_s: float) -> None:
        """Nothing to wait for."""

    def load(self, variant: str) -> None:
        """Nothing to wait for."""

    def call(self, variant: str, items: int) -> None:
        """Nothing to wait for."""


class AsDescribed:
    """The processor takes the seconds of its profiles, divided by `speed`, which may be changed at any time."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self._profiles = profiles
        self._due_s = -math.inf
        self.speed = 1.0

    def begin(self, arrived_s: float) -> None:
        """The task starts when it arrives or when the processor is free, whichever is later."""
        self._due_s = max(self._due_s, arrived_s)

    def load(self, variant: str) -> None:
        """Wait until the described loading is over."""
        self._pass(self._profiles[variant].load_s)

    def call(self, variant: str, items: int) -> None:
        """Wait until the described call is over."""
        self._pass(self._profiles[variant].call_s(items))

    def _pass(self, described_s: float) -> None:
        now_s = time.monotonic()
        self._due_s = max(self._due_s + described_s / self.speed, now_s - MOST_CATCHING_UP_S)
        if self._due_s > now_s:
            time.sleep(self._due_s - now_s)


class Wire:
    """An emulated link to a node: payloads follow each other, latency delays without occupying.

    Replies are small, and what they lose on the way back is part of `latency_s`, as in the planner's cost model.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._free_s = -math.inf

    def arrives_s(self, sent_s: float, payload_bytes: int) -> float:
        """When a payload sent at `sent_s` has arrived whole; it waits for those sent before it."""
        self._free_s = max(self._free_s, sent_s) + payload_bytes / self._link.bandwidth_bytes_per_s
        return self._free_s + self._link.latency_s
