"""The cost model: what to expect when given shares are run. Every strategy is judged by it.

A processor runs its shares in the order in which they stand. A share costs `load_s` if its variant is not resident,
then whole calls of its batch size and a last call with what remains. A node's link carries the inputs of all its
processors one after another, while they compute: no share ends before its inputs have come and its last call has run.

    ready(p)  = link latency + busy_s(p)
    compute(k) = finish(k-1) + [load_s + run_s(items, batch)] / speed(p)
    arrive(k) = link latency + input bytes of the node up to share k / bandwidth + last call / speed(p)
    finish(k) = max(compute(k), arrive(k));    latency = max finish
    accuracy  = sum items x accuracy / items;  energy = sum (active_w - idle_w) x busy seconds

Energy is what the request adds: the boards idle anyway. It is None if a processor with work has no `active_w`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.plan import Condition, Conditions, Share

_AS_PROFILED = Condition()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What to expect; `shares` are those that were asked about, with their finish times filled in."""

    shares: tuple[Share, ...]
    items: int
    latency_s: float
    accuracy: float
    energy_j: float | None


def predict(cluster: Cluster, shares: Sequence[Share], conditions: Conditions | None = None) -> Prediction:
    """Latency, accuracy and energy of these shares. Raises KeyError if one names what the cluster lacks."""
    model = CostModel(cluster)
    return model.predict(shares, conditions or {})


class CostModel:
    """The cost model of one cluster, with its look-up tables made once."""

    def __init__(self, cluster: Cluster) -> None:
        self._profiles = {
            (pid, profile.variant): profile for pid, processor in cluster.processors() for profile in processor.profiles
        }
        self._watts = {
            pid: None if processor.active_w is None else processor.active_w - (processor.idle_w or 0.0)
            for pid, processor in cluster.processors()
        }
        self._links = {node.name: node.link for node in cluster.nodes}
        self._variants = {variant.name: variant for variant in cluster.variants}

    def predict(self, shares: Sequence[Share], conditions: Conditions) -> Prediction:
        """See the module's head for the formulas."""
        free_s: dict[ProcessorId, float] = {}
        resident: dict[ProcessorId, set[str]] = {}
        sent_bytes: dict[str, int] = {}
        finished: list[Share] = []
        items, earned = 0, 0.0
        energy_j: float | None = 0.0
        for share in shares:
            pid, profile = share.pid, self._profiles[share.pid, share.variant]
            link, variant = self._links[pid.node], self._variants[share.variant]
            state = conditions.get(pid, _AS_PROFILED)
            busy_s = profile.run_s(share.items, share.batch) / state.speed
            if profile.load_s:
                loaded = resident.setdefault(pid, set(state.resident))
                busy_s += 0.0 if share.variant in loaded else profile.load_s / state.speed
                loaded.add(share.variant)
            finish_s = free_s.get(pid, link.latency_s + state.busy_s) + busy_s
            if variant.input_bytes:
                sent_bytes[pid.node] = sent_bytes.get(pid.node, 0) + share.items * variant.input_bytes
                arrived_s = link.latency_s + sent_bytes[pid.node] / link.bandwidth_bytes_per_s
                finish_s = max(finish_s, arrived_s + profile.call_s(min(share.batch, share.items)) / state.speed)
            free_s[pid] = finish_s
            items += share.items
            earned += share.items * variant.accuracy
            watts = self._watts[pid]
            energy_j = None if watts is None or energy_j is None else energy_j + watts * busy_s
            finished.append(msgspec.structs.replace(share, finish_s=finish_s))
        return Prediction(
            shares=tuple(finished),
            items=items,
            latency_s=max(free_s.values(), default=0.0),
            accuracy=earned / items if items else 0.0,
            energy_j=energy_j,
        )
