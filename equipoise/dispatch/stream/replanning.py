"""When a stream is to be planned anew, and for what rate."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from equipoise.core.stream import StreamRequest
from equipoise.dispatch.lane import Lane
from equipoise.dispatch.stream.arrivals import ArrivalRate
from equipoise.dispatch.stream.settings import Replans, StreamSettings


class Replanning:
    """Wants a new plan when nodes go or come (at once), and when speeds or the rate drift (once in a while)."""

    def __init__(self, request: StreamRequest, lanes: Iterable[Lane], settings: StreamSettings) -> None:
        self._request = request
        self._lanes = list(lanes)
        self._settings = settings
        self._rate = ArrivalRate(request.arrivals_per_s, settings.rate_items)
        self._planned_per_s = request.arrivals_per_s
        self._planned_speed = {lane: lane.speed for lane in self._lanes}
        self._wanted = self._urgent = False
        self._asking = False
        self._asked_s = -math.inf

    def want_now(self) -> None:
        """What can be used has changed."""
        self._wanted = self._urgent = self._settings.replans >= Replans.ON_LOSS

    def arrived(self, now_s: float) -> None:
        """An item did: is the rate still about the planned one, or no less than was asked for?"""
        self._rate.arrived(now_s)
        rate_per_s, settings = self._rate.per_s(now_s), self._settings
        surges = rate_per_s > settings.surge * self._planned_per_s
        calm = rate_per_s < settings.calm * self._planned_per_s and self._planned_per_s > self._request.arrivals_per_s
        self._wanted = self._wanted or (self._follows_drift and (surges or calm))

    def learned(self, lane: Lane) -> None:
        """Of the speed of this one: has it drifted since the last plan?"""
        drift = abs(math.log(lane.speed / self._planned_speed[lane]))
        self._wanted = self._wanted or (self._follows_drift and drift > math.log1p(self._settings.speed_drift))

    @property
    def _follows_drift(self) -> bool:
        return self._settings.replans >= Replans.ON_DRIFT

    def rate_per_s(self, now_s: float) -> float:
        """How many items have arrived per second of late."""
        return self._rate.per_s(now_s)

    def answered(self) -> bool:
        """A plan has come; true if one was asked for."""
        asked, self._asking = self._asking, False
        return asked

    def is_due(self, now_s: float) -> bool:
        """True if a plan is to be asked for now. An answer that never came is asked for again."""
        if self._asking and now_s >= self._asked_s + self._settings.lost_answer_s:
            self._asking, self._wanted = False, True
        return self._wanted and not self._asking and self._able and now_s >= self._earliest_s

    def next_s(self) -> float:
        """When to look again; inf if there is nothing to look for."""
        if self._asking:
            return self._asked_s + self._settings.lost_answer_s
        return self._earliest_s if self._wanted and self._able else math.inf

    def ask(self, now_s: float) -> StreamRequest:
        """For the rate that there is, with something in hand, if that is above the rate that was asked for."""
        measured_per_s = self._rate.per_s(now_s)
        surges = measured_per_s > self._settings.surge * self._request.arrivals_per_s
        self._planned_per_s = self._settings.headroom * measured_per_s if surges else self._request.arrivals_per_s
        self._planned_speed = {lane: lane.speed for lane in self._lanes}
        self._wanted = self._urgent = False
        self._asking, self._asked_s = True, now_s
        return msgspec.structs.replace(self._request, arrivals_per_s=self._planned_per_s)

    @property
    def _able(self) -> bool:
        return any(lane.usable for lane in self._lanes)

    @property
    def _earliest_s(self) -> float:
        return self._asked_s + (0.0 if self._urgent else self._settings.replan_every_s)
