"""How inputs travel: over the coordinator's uplink, which all nodes share, and each node's own link."""

from __future__ import annotations

import math

from equipoise.core.cluster import Cluster, Link, ProcessorId


class Network:
    """Payloads follow each other on each wire, and pass from uplink to link as they come rather than when complete.

    Latency delays without occupying. Answers are small: what they lose on the way back is part of a link's latency,
    as in the planner's cost model. A change of a wire counts for what is sent from then on.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.links = {node.name: node.link for node in cluster.nodes}
        self.uplink_bytes_per_s = cluster.uplink_bytes_per_s
        self._item_bytes = {variant.name: variant.input_bytes for variant in cluster.variants}
        self._item_bytes_of = {
            (pid, profile.variant): profile.input_bytes
            for pid, processor in cluster.processors()
            for profile in processor.profiles
            if profile.input_bytes is not None
        }
        self._uplink_free_s = -math.inf
        self._link_free_s = dict.fromkeys(self.links, -math.inf)

    def input_bytes(self, pid: ProcessorId, variant: str, items: int) -> int:
        """What so many items weigh on their way to a processor."""
        return items * self._item_bytes_of.get((pid, variant), self._item_bytes[variant])

    def arrives_s(self, node: str, size_bytes: int, now_s: float) -> float:
        """When a payload that is sent to a node now has arrived whole."""
        link = self.links[node]
        if size_bytes == 0:
            return max(now_s, self._link_free_s[node]) + link.latency_s
        leaves_s = max(now_s, self._uplink_free_s)
        self._uplink_free_s = leaves_s + size_bytes / self.uplink_bytes_per_s
        passes_s = max(leaves_s, self._link_free_s[node]) + size_bytes / link.bandwidth_bytes_per_s
        self._link_free_s[node] = max(passes_s, self._uplink_free_s)
        return self._link_free_s[node] + link.latency_s

    def change(self, node: str, link: Link) -> None:
        """From now on the node's link is this one."""
        self.links[node] = link

    def forget(self, node: str) -> None:
        """What was on its way to a node will not arrive."""
        self._link_free_s[node] = -math.inf
