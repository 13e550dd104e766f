"""The way from here to one node, which the processors of the node share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from equipoise.core.cluster import Link


@dataclass(slots=True)
class Uplink:
    """Inputs follow each other on the link in the order in which they are sent; its latency delays them alike."""

    link: Link
    free_s: float = -math.inf  # when what was sent has left; absolute

    def backlog_s(self, now_s: float) -> float:
        """Seconds until what was sent has left."""
        return max(0.0, self.free_s - now_s)

    def transfer_s(self, size_bytes: int) -> float:
        """Seconds for which so many bytes occupy the link."""
        return size_bytes / self.link.bandwidth_bytes_per_s

    def arrives_s(self, size_bytes: int, now_s: float) -> float:
        """When inputs that are sent now will have arrived."""
        return now_s + self.backlog_s(now_s) + self.transfer_s(size_bytes) + self.link.latency_s

    def capacity_bytes(self, now_s: float, until_s: float) -> float:
        """How much can be sent now and arrive until then; 0 or more."""
        travel_s = until_s - now_s - self.backlog_s(now_s) - self.link.latency_s
        return travel_s * self.link.bandwidth_bytes_per_s if travel_s > 0 else 0.0

    def send(self, size_bytes: int, now_s: float) -> None:
        """So many bytes are on their way."""
        self.free_s = now_s + self.backlog_s(now_s) + self.transfer_s(size_bytes)

    def forget(self) -> None:
        """What was sent will not arrive."""
        self.free_s = -math.inf
