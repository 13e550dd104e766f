"""The way from here to one node: the coordinator's uplink, which all nodes share, then the node's own link."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from equipoise.core.cluster import Link


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
        if size_bytes:
            self.common.free_s = self._left_s(size_bytes, now_s)

    def forget(self) -> None:
        """What was sent will not arrive."""
        self.free_s = -math.inf

    def _left_s(self, size_bytes: int, now_s: float) -> float:
        return max(now_s, self.common.free_s) + size_bytes / self.common.bytes_per_s

    def _passed_s(self, size_bytes: int, now_s: float) -> float:
        """When the last byte has passed both."""
        if not size_bytes:
            return max(now_s, self.free_s)
        begins_s = max(now_s, self.common.free_s, self.free_s)
        return max(begins_s + size_bytes / self.link.bandwidth_bytes_per_s, self._left_s(size_bytes, now_s))
