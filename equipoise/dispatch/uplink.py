"""The way from here to one node: the coordinator's uplink, which all nodes share, then the node's own link."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import msgspec

from equipoise.core.cluster import Link
from equipoise.core.ranges import BYTES_PER_S

_RATES = 3
_ROUND_TRIPS = 5
_LATENCY_NOISE = 0.25  # of the latency
_LATENCY_NOISE_S = 0.02  # what a busy machine may add even to the shortest of some round trips
_SENDS = 32  # that are remembered
_NOISE = 0.25  # of what a transfer should take: nobody plans more exactly than that
_NOISE_S = 0.1  # what threads and queues on either side may add to it, or take away
_SIZES = 4
_TELLING = 0.25  # of the largest of the last transfers: what is smaller tells more of everything else than of the link
_LEAST_TOOK = 0.25  # of what a transfer should take: a link is not believed to become faster at once


@dataclass(slots=True)
class Wire:
    """What is sent over it follows what was sent before."""

    bytes_per_s: float = math.inf
    free_s: float = -math.inf  # when what was sent has left; absolute


@dataclass(slots=True)
class Uplink:
    """Inputs follow each other in the order in which they are sent, and pass from the uplink to the link as they come.

    The link's latency delays them alike. Its processors share an Uplink, and all Uplinks the `common` wire.
    """

    link: Link
    common: Wire = field(default_factory=Wire)
    free_s: float = -math.inf  # when what was sent has left the node's own link; absolute
    _seen_s: float = -math.inf  # when the last inputs that are known to have arrived had passed; absolute
    _sizes: deque[int] = field(default_factory=lambda: deque(maxlen=_SIZES))  # of the last transfers
    _rates: deque[float] = field(default_factory=lambda: deque(maxlen=_RATES))
    _round_trips_s: deque[float] = field(default_factory=lambda: deque(maxlen=_ROUND_TRIPS))
    _sends: deque[tuple[float, float]] = field(
        default_factory=lambda: deque(maxlen=_SENDS)
    )  # when, and when it had left
    _first_latency_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._first_latency_s = self.link.latency_s

    def backlog_s(self, now_s: float) -> float:
        """Seconds until what was sent has left."""
        return max(0.0, self.free_s - now_s, self.common.free_s - now_s)

    @property
    def bytes_per_s(self) -> float:
        """What passes at most."""
        return min(self.link.bandwidth_bytes_per_s, self.common.bytes_per_s)

    def transfer_s(self, size_bytes: int) -> float:
        """Seconds for which so many bytes occupy the slower of the two."""
        return size_bytes / self.bytes_per_s

    def arrives_s(self, size_bytes: int, now_s: float) -> float:
        """When inputs that are sent now will have arrived."""
        return self._passed_s(size_bytes, now_s) + self.link.latency_s

    def capacity_bytes(self, now_s: float, until_s: float) -> float:
        """How much can be sent now and arrive until then; 0 or more."""
        travel_s = until_s - now_s - self.backlog_s(now_s) - self.link.latency_s
        return travel_s * self.bytes_per_s if travel_s > 0 else 0.0

    def send(self, size_bytes: int, now_s: float) -> None:
        """So many bytes are on their way."""
        self.free_s = self._passed_s(size_bytes, now_s)
        self._sends.append((now_s, self.free_s))
        if size_bytes:
            self.common.free_s = self._left_s(size_bytes, now_s)

    def forget(self) -> None:
        """What was sent will not arrive."""
        self.free_s = -math.inf
        self._sends.clear()
        self._round_trips_s.clear()

    def learn(self, size_bytes: int, sent_s: float, arrived_s: float, worked_s: float) -> bool:
        """Inputs that were sent at `sent_s` had arrived at `arrived_s`; true if the link turns out to be another one.

        The processor worked on them for `worked_s`: a transfer that takes no longer than that keeps nobody waiting,
        and on a busy machine may have been delayed by anything. A transfer begins when the one before it is over. Of
        the last three rates the middle one counts, so that one mishap is none. Whether a way has become longer or
        slower cannot be told from transfers of about one size: it counts as slower until round trips tell. A link that
        is free stays free.
        """
        passed_s = arrived_s - self.link.latency_s
        took_s = passed_s - max(sent_s, self._seen_s)
        self._seen_s = max(self._seen_s, passed_s)
        self._sizes.append(size_bytes)
        if size_bytes <= _TELLING * max(self._sizes) or math.isinf(self.link.bandwidth_bytes_per_s):
            return False
        self._rates.append(self._rate(size_bytes, took_s, worked_s))
        rate = sorted(self._rates)[len(self._rates) // 2]
        if rate == self.link.bandwidth_bytes_per_s or len(self._rates) < _RATES:
            return False
        if rate < self.link.bandwidth_bytes_per_s:  # round trips may have waited behind what had not left yet
            latency_s = min(self.link.latency_s, self._first_latency_s)
            self.link = msgspec.structs.replace(self.link, latency_s=latency_s)
            self._round_trips_s.clear()
        self.link = msgspec.structs.replace(self.link, bandwidth_bytes_per_s=rate)
        self.free_s = max(self.free_s, passed_s)
        return True

    def learn_round_trip(self, sent_s: float, back_s: float) -> bool:
        """An empty message that was sent at `sent_s` was answered at `back_s`; true if the latency is another one.

        It says nothing if something else was on its way before it. A way is longer if all of the last five took
        longer, and shorter if one of them did not take as long. A link that is free stays free.
        """
        if self.link == Link() or not self._was_idle(sent_s):
            return False
        self._round_trips_s.append(back_s - sent_s)
        known_s, latency_s = self.link.latency_s, min(self._round_trips_s)
        as_expected = abs(latency_s - known_s) <= max(_LATENCY_NOISE_S, _LATENCY_NOISE * known_s)
        if as_expected or (latency_s > known_s and len(self._round_trips_s) < _ROUND_TRIPS):
            return False
        self.link = msgspec.structs.replace(self.link, latency_s=latency_s)
        return True

    def _was_idle(self, at_s: float) -> bool:
        """True if all that was sent by then had left, as far as is remembered."""
        left_s = [left_s for sent_s, left_s in self._sends if sent_s <= at_s]
        return left_s[-1] <= at_s if left_s else len(self._sends) < _SENDS

    def _rate(self, size_bytes: int, took_s: float, worked_s: float) -> float:
        known = self.link.bandwidth_bytes_per_s
        expected_s = size_bytes / known
        as_expected = abs(took_s - expected_s) <= max(_NOISE_S, _NOISE * expected_s)
        if as_expected or max(took_s, expected_s) <= worked_s:
            return known
        return min(BYTES_PER_S.most, max(BYTES_PER_S.least, size_bytes / max(took_s, _LEAST_TOOK * expected_s)))

    def _left_s(self, size_bytes: int, now_s: float) -> float:
        return max(now_s, self.common.free_s) + size_bytes / self.common.bytes_per_s

    def _passed_s(self, size_bytes: int, now_s: float) -> float:
        """When the last byte has passed both."""
        if not size_bytes:
            return max(now_s, self.free_s)
        begins_s = max(now_s, self.common.free_s, self.free_s)
        return max(begins_s + size_bytes / self.link.bandwidth_bytes_per_s, self._left_s(size_bytes, now_s))
