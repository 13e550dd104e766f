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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import NamedTuple

from equipoise.core.cluster import Cluster, ProcessorId, Profile
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


class Pieces(NamedTuple):
    """The shares of a plan by number: of each its processor, variant, items and batch size."""

    processor: list[int]
    variant: list[int]
    items: list[int]
    batch: list[int]


@dataclass(slots=True)
class _Work:
    """What shares add up to, by number of the processor or node."""

    free_s: dict[int, float] = field(default_factory=dict)  # when a processor's calls are over
    speed: dict[int, float] = field(default_factory=dict)
    longest_call_s: dict[int, float] = field(default_factory=dict)
    variance_s2: dict[int, float] = field(default_factory=dict)
    sent_bytes: dict[int, float] = field(default_factory=dict)  # to a node
    held: dict[int, int] = field(default_factory=dict)  # processor x variants + variant: processor
    ends_s: list[float] = field(default_factory=list)  # by share
    earned: float = 0.0
    energy_j: float | None = None


def predict(
    cluster: Cluster, shares: Sequence[Share], conditions: Conditions | None = None, confidence: float | None = None
) -> Prediction:
    """Latency, accuracy, energy and power of these shares. Raises KeyError if one names what the cluster lacks."""
    model = CostModel(cluster)
    return model.predict(shares, conditions or {}, confidence)


class CostModel:
    """The cost model of one cluster, with its look-up tables made once. Processors and variants also go by number.

    Plans have shares by the hundred thousand where clusters are large, and are judged within microseconds where they
    are small. So this is a plain loop over numbers that makes no object per share or processor but the shares it
    returns.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._variants = cluster.variants
        self._columns = {variant.name: v for v, variant in enumerate(cluster.variants)}
        self._nodes = cluster.nodes
        self._uplink_bytes_per_s = cluster.uplink_bytes_per_s
        self._is_memory_limited = any(node.memory_bytes is not None for node in cluster.nodes)
        self._pids: list[ProcessorId] = []
        self._profiles: list[dict[int, Profile]] = []
        self._single_s: list[dict[int, float]] = []  # of variants measured one item at a time
        self._node_of: list[int] = []
        self._watts: list[float | None] = []
        self.idle_w = 0.0
        for n, node in enumerate(cluster.nodes):
            for processor in node.processors:
                self._pids.append(ProcessorId(node.name, processor.name))
                profiles = {self._columns[profile.variant]: profile for profile in processor.profiles}
                self._profiles.append(profiles)
                self._single_s.append({v: prof.latency_s[1] for v, prof in profiles.items() if 1 in prof.latency_s})
                self._node_of.append(n)
                idle_w, active_w = processor.idle_w or 0.0, processor.active_w
                self._watts.append(None if active_w is None else active_w - idle_w)
                self.idle_w += idle_w

    def predict(self, shares: Sequence[Share], conditions: Conditions, confidence: float | None = None) -> Prediction:
        """See the module's head for the formulas. Raises KeyError if a share names what the cluster lacks."""
        pieces = Pieces(
            processor=[self._rows[share.node, share.processor] for share in shares],
            variant=[self._columns[share.variant] for share in shares],
            items=[share.items for share in shares],
            batch=[share.batch for share in shares],
        )
        return self.predict_pieces(pieces, conditions, confidence)

    def predict_pieces(self, pieces: Pieces, conditions: Conditions, confidence: float | None = None) -> Prediction:
        """The same for shares by number."""
        work = self._work(pieces, conditions, confidence)
        late_s = self._late_s(work, confidence)
        items = sum(pieces.items)
        return Prediction(
            shares=self._shares(pieces, work.ends_s, late_s),
            items=items,
            latency_s=max((free_s + late_s.get(p, 0.0) for p, free_s in work.free_s.items()), default=0.0),
            accuracy=work.earned / items if items else 0.0,
            energy_j=work.energy_j,
            power_w=self._power_w(work.free_s),
            overfull=self._overfull(work.held) if self._is_memory_limited else (),
        )

    def _work(self, pieces: Pieces, conditions: Conditions, confidence: float | None) -> _Work:
        """What the pieces add up to on each processor, one after another."""
        work, width = _Work(), len(self._variants)
        free_s, speeds, held = work.free_s, work.speed, work.held
        energy_j: float | None = 0.0
        for p, v, items, batch in zip(*pieces, strict=True):
            if p not in free_s:
                state = conditions.get(self._pids[p], _AS_PROFILED) if conditions else _AS_PROFILED
                free_s[p], speeds[p] = self._nodes[self._node_of[p]].link.latency_s + state.busy_s, state.speed
            profile, variant, speed = self._profiles[p][v], self._variants[v], speeds[p]
            single_s = self._single_s[p].get(v) if batch == 1 else None
            busy_s = profile.run_s(items, batch) if single_s is None else items * single_s
            if p * width + v not in held:
                held[p * width + v] = p
                if profile.load_s and not (conditions and self._is_resident(p, variant.name, conditions)):
                    busy_s += profile.load_s
            busy_s /= speed
            free_s[p] += busy_s
            work.ends_s.append(free_s[p])
            work.earned += items * variant.accuracy
            if confidence is not None and profile.latency_stddev_s:
                variance_s2 = profile.run_variance_s2(items, batch) / speed**2
                work.variance_s2[p] = work.variance_s2.get(p, 0.0) + variance_s2
            item_bytes = profile.item_bytes(variant)
            if item_bytes:
                node = self._node_of[p]
                work.sent_bytes[node] = work.sent_bytes.get(node, 0) + items * item_bytes
                work.longest_call_s[p] = max(work.longest_call_s.get(p, 0.0), profile.call_s(batch) / speed)
            watts = self._watts[p]
            energy_j = None if watts is None or energy_j is None else energy_j + watts * busy_s
        work.energy_j = energy_j
        return work

    @cached_property
    def _rows(self) -> dict[tuple[str, str], int]:
        return {(pid.node, pid.processor): p for p, pid in enumerate(self._pids)}

    def _is_resident(self, p: int, variant: str, conditions: Conditions) -> bool:
        return variant in conditions.get(self._pids[p], _AS_PROFILED).resident

    def _late_s(self, work: _Work, confidence: float | None) -> dict[int, float]:
        """How much later than by its calls alone a processor finishes: for its inputs, and to be confident."""
        z = _z(confidence, sum(variance_s2 > 0 for variance_s2 in work.variance_s2.values()))
        late_s = {p: z * math.sqrt(variance_s2) for p, variance_s2 in work.variance_s2.items()} if z else {}
        if not work.sent_bytes:
            return late_s
        uplink_s = sum(work.sent_bytes.values()) / self._uplink_bytes_per_s
        for p, free_s in work.free_s.items():
            node = self._node_of[p]
            if node in work.sent_bytes:
                link = self._nodes[node].link
                transfer_s = max(uplink_s, work.sent_bytes[node] / link.bandwidth_bytes_per_s)
                waits_s = link.latency_s + transfer_s + work.longest_call_s.get(p, 0.0) - free_s
                late_s[p] = late_s.get(p, 0.0) + max(0.0, waits_s)
        return late_s

    def _shares(self, pieces: Pieces, ends_s: list[float], late_s: dict[int, float]) -> tuple[Share, ...]:
        pids, variants = self._pids, self._variants
        return tuple(
            Share(
                node=pids[p].node,
                processor=pids[p].processor,
                variant=variants[v].name,
                batch=batch,
                items=items,
                finish_s=end_s + late_s.get(p, 0.0),
            )
            for p, v, items, batch, end_s in zip(*pieces, ends_s, strict=True)
        )

    def _power_w(self, processors: Iterable[int]) -> float | None:
        """Of these at work."""
        total_w = self.idle_w
        for p in processors:
            watts = self._watts[p]
            if watts is None:
                return None
            total_w += watts
        return total_w

    def _overfull(self, held: dict[int, int]) -> tuple[str, ...]:
        """Names of the nodes whose memory cannot hold what their processors use."""
        needed: dict[int, int] = {}
        for key, p in held.items():
            node = self._node_of[p]
            needed[node] = needed.get(node, 0) + self._profiles[p][key % len(self._variants)].memory_bytes
        limits = {n: self._nodes[n].memory_bytes for n in needed}
        return tuple(
            self._nodes[n].name for n, used in needed.items() if (limit := limits[n]) is not None and used > limit
        )


def _z(confidence: float | None, scattering: int) -> float:
    """Standard deviations above the mean at which each of so many processors is in time."""
    if confidence is None or not scattering:
        return 0.0
    return NormalDist().inv_cdf(confidence ** (1 / scattering))
