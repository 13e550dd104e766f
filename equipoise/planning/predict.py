"""The cost model: what to expect when given shares are run. Every strategy is judged by it.

A processor runs its shares one after another. A share costs `load_s` if its variant is not resident, then whole calls
of its batch size and a last call with what remains. Inputs travel while others are computed: over the coordinator's
uplink, which all nodes share, and over the node's link, which its processors share; the last call can only begin when
all inputs of the node have come. The variants that a node uses have to fit into its memory together.

    busy(p)    = sum over shares of [load_s + run_s(items, batch)] / speed(p)
    compute(p) = link latency + busy_s(p) + busy(p)
    transfer(n) = max(input bytes for n / bandwidth(n), input bytes for all / uplink)
    arrive(p)  = link latency + transfer(n) + longest single call of p's shares / speed(p)
    finish(p)  = max(compute(p), arrive(p)) + z sqrt(variance(p)) / speed(p);    latency = max finish
    accuracy   = sum items x accuracy / items
    energy     = sum (active_w - idle_w) x busy(p)
    power      = sum of idle_w over all processors + sum of (active_w - idle_w) over those at work

Energy is what the request adds: the boards idle anyway. It is None if a processor with work has no `active_w`; so is
power.

z is 0 unless a confidence is asked for. Calls scatter independently, so variances add up, and the sum over many calls
is close to normal. All n processors whose time scatters have to be in time: each at confidence^(1/n), which is exact if
they scatter independently and cautious if they are slow together (Sidak, JASA 62, 1967).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import msgspec

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.plan import Condition, Conditions, Share

_AS_PROFILED = Condition()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What to expect; `shares` are those that were asked about, with their finish times filled in.

    `overfull` names the nodes whose memory cannot hold the variants that they are to run.
    """

    shares: tuple[Share, ...]
    items: int
    latency_s: float
    accuracy: float
    energy_j: float | None
    power_w: float | None
    overfull: tuple[str, ...] = ()


def predict(
    cluster: Cluster, shares: Sequence[Share], conditions: Conditions | None = None, confidence: float | None = None
) -> Prediction:
    """Latency, accuracy, energy and power of these shares. Raises KeyError if one names what the cluster lacks."""
    model = CostModel(cluster)
    return model.predict(shares, conditions or {}, confidence)


@dataclass(slots=True)
class _Load:
    """What one processor is given to do."""

    free_s: float
    late_s: float = 0.0  # by how much more than its calls alone
    longest_call_s: float = 0.0
    variance_s2: float = 0.0
    resident: set[str] = field(default_factory=set)
    used: dict[str, int] = field(default_factory=dict)  # bytes of memory by variant


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
        self.idle_w = sum(processor.idle_w or 0.0 for _, processor in cluster.processors())
        self._nodes = {node.name: node for node in cluster.nodes}
        self._variants = {variant.name: variant for variant in cluster.variants}
        self._uplink_bytes_per_s = cluster.uplink_bytes_per_s

    def predict(self, shares: Sequence[Share], conditions: Conditions, confidence: float | None = None) -> Prediction:
        """See the module's head for the formulas."""
        loads: dict[ProcessorId, _Load] = {}
        sent_bytes: dict[str, int] = {}
        computed: list[tuple[Share, _Load, float]] = []
        items, earned = 0, 0.0
        energy_j: float | None = 0.0
        for share in shares:
            pid, profile, variant = share.pid, self._profiles[share.pid, share.variant], self._variants[share.variant]
            state = conditions.get(pid, _AS_PROFILED)
            load = loads.get(pid)
            if load is None:
                ready_s = self._nodes[pid.node].link.latency_s + state.busy_s
                load = loads[pid] = _Load(ready_s, resident=set(state.resident))
            busy_s = profile.run_s(share.items, share.batch) / state.speed
            if profile.load_s and share.variant not in load.resident:
                busy_s += profile.load_s / state.speed
            load.resident.add(share.variant)
            load.used[share.variant] = profile.memory_bytes
            load.free_s += busy_s
            if profile.latency_stddev_s:
                load.variance_s2 += profile.run_variance_s2(share.items, share.batch) / state.speed**2
            if variant.input_bytes:
                sent_bytes[pid.node] = sent_bytes.get(pid.node, 0) + share.items * variant.input_bytes
                load.longest_call_s = max(load.longest_call_s, profile.call_s(share.batch) / state.speed)
            items += share.items
            earned += share.items * variant.accuracy
            watts = self._watts[pid]
            energy_j = None if watts is None or energy_j is None else energy_j + watts * busy_s
            computed.append((share, load, load.free_s))
        self._delay(loads, sent_bytes, confidence)
        return Prediction(
            shares=tuple(
                msgspec.structs.replace(share, finish_s=end_s + load.late_s) for share, load, end_s in computed
            ),
            items=items,
            latency_s=max((load.free_s + load.late_s for load in loads.values()), default=0.0),
            accuracy=earned / items if items else 0.0,
            energy_j=energy_j,
            power_w=self._power_w(loads),
            overfull=self._overfull(loads),
        )

    def _delay(self, loads: dict[ProcessorId, _Load], sent_bytes: dict[str, int], confidence: float | None) -> None:
        """Note how much later than by its calls alone each processor finishes: for its inputs, and to be confident."""
        z = _z(confidence, sum(load.variance_s2 > 0 for load in loads.values()))
        if not (sent_bytes or z):
            return
        uplink_s = sum(sent_bytes.values()) / self._uplink_bytes_per_s
        for pid, load in loads.items():
            load.late_s = z * math.sqrt(load.variance_s2)
            if pid.node in sent_bytes:
                link = self._nodes[pid.node].link
                transfer_s = max(uplink_s, sent_bytes[pid.node] / link.bandwidth_bytes_per_s)
                load.late_s += max(0.0, link.latency_s + transfer_s + load.longest_call_s - load.free_s)

    def _power_w(self, loads: dict[ProcessorId, _Load]) -> float | None:
        watts = [self._watts[pid] for pid in loads]
        return None if None in watts else self.idle_w + sum(w for w in watts if w is not None)

    def _overfull(self, loads: dict[ProcessorId, _Load]) -> tuple[str, ...]:
        needed: dict[str, int] = {}
        for pid, load in loads.items():
            needed[pid.node] = needed.get(pid.node, 0) + sum(load.used.values())
        memory = {name: self._nodes[name].memory_bytes for name in needed}
        return tuple(name for name, used in needed.items() if (limit := memory[name]) is not None and used > limit)


def _z(confidence: float | None, scattering: int) -> float:
    """Standard deviations above the mean at which each of so many processors is in time."""
    if confidence is None or not scattering:
        return 0.0
    return NormalDist().inv_cdf(confidence ** (1 / scattering))
