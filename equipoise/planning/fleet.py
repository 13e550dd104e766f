"""A cluster compiled into arrays: what the planner computes with.

P processors, V variants. A fleet depends on the cluster description alone, never on a request, so it is made
once and planned with many times; its hulls are computed on first use and kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from equipoise.core.accuracy import wilson_interval
from equipoise.core.cluster import Cluster, ProcessorId, Variant
from equipoise.core.plan import Condition, Conditions
from equipoise.planning.hulls import Hulls, upper_hulls
from equipoise.planning.ladders import NEVER_S, Ladder, Rungs, ladder_of
from equipoise.planning.predict import CostModel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_AS_PROFILED = Condition()
_LEAST_CONFIDENCE = 1e-9  # two-sided; at one-sided 0.5 the lower end is the accuracy itself


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Arrays over (processor, variant); `item_s` is inf where a processor has no profile of a variant.

    `call_s[p, v] * (n // batch[p, v]) + rest_s[rest_at[p, v] + n % batch[p, v]]` is what n items cost, exactly.
    """

    cluster: Cluster
    pids: tuple[ProcessorId, ...]
    names: tuple[str, ...]  # of the variants
    accuracy: Floats  # (V,)
    input_bytes: Floats  # (P, V)
    item_s: Floats  # (P, V) seconds per item at the best batch size
    batch: Ints  # (P, V)
    call_s: Floats  # (P, V) seconds of one whole call
    rest_s: Floats  # seconds of incomplete calls, of all profiles one after another
    rest_at: Ints  # (P, V) where in `rest_s` those of a profile begin
    load_s: Floats  # (P, V)
    memory_bytes: Floats  # (P, V)
    node: Ints  # (P,) the node that a processor belongs to
    node_memory_bytes: Floats  # (N,) inf where not described
    watts: Floats  # (P,) beyond idling; nan where not described
    link_s: Floats  # (P,)
    bandwidth_bytes_per_s: Floats  # (N,)
    uplink_bytes_per_s: float

    @classmethod
    def of(cls, cluster: Cluster) -> Fleet:
        """Compile a cluster description."""
        columns = {variant.name: v for v, variant in enumerate(cluster.variants)}
        shape = (sum(len(node.processors) for node in cluster.nodes), len(columns))
        item_s, call_s, batch = np.full(shape, np.inf), np.full(shape, np.inf), np.ones(shape, np.int64)
        load_s, memory_bytes, rest_at = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)
        watts, rest_s = np.full(shape[0], np.nan), [0.0]
        input_bytes = np.tile(np.array([float(variant.input_bytes) for variant in cluster.variants]), (shape[0], 1))
        for p, (_, processor) in enumerate(cluster.processors()):
            if processor.active_w is not None:
                watts[p] = processor.active_w - (processor.idle_w or 0.0)
            for profile in processor.profiles:
                v = columns[profile.variant]
                size = profile.best_batch
                batch[p, v], call_s[p, v] = size, profile.latency_s[size]
                load_s[p, v], memory_bytes[p, v] = profile.load_s, profile.memory_bytes
                if profile.input_bytes is not None:
                    input_bytes[p, v] = profile.input_bytes
                if size > 1:
                    rest_at[p, v] = len(rest_s)
                    rest_s += [0.0, *(profile.call_s(rest) for rest in range(1, size))]
        np.divide(call_s, batch, out=item_s)
        return cls(
            cluster=cluster,
            pids=tuple(pid for pid, _ in cluster.processors()),
            names=tuple(columns),
            accuracy=np.array([variant.accuracy for variant in cluster.variants]),
            input_bytes=input_bytes,
            item_s=item_s,
            batch=batch,
            call_s=call_s,
            rest_s=np.array(rest_s),
            rest_at=rest_at,
            load_s=load_s,
            memory_bytes=memory_bytes,
            node=np.repeat(np.arange(len(cluster.nodes)), [len(node.processors) for node in cluster.nodes]),
            node_memory_bytes=np.array([math.inf if n.memory_bytes is None else n.memory_bytes for n in cluster.nodes]),
            watts=watts,
            link_s=np.array([node.link.latency_s for node in cluster.nodes for _ in node.processors]),
            bandwidth_bytes_per_s=np.array([node.link.bandwidth_bytes_per_s for node in cluster.nodes]),
            uplink_bytes_per_s=cluster.uplink_bytes_per_s,
        )

    def at_confidence(self, confidence: float | None) -> Fleet:
        """The same with the lower ends of the accuracies' intervals in place of the accuracies; itself for None."""
        if confidence is None:
            return self
        known = self._cautious.get(confidence)
        if known is None:
            known = self._cautious[confidence] = Fleet.of(_cautious(self.cluster, confidence))
        return known

    @cached_property
    def _cautious(self) -> dict[float, Fleet]:
        return {}

    def run_s(self, rows: Ints, columns: Ints, items: Ints) -> Floats:
        """Seconds at profile speed for whole `items` of (processor, variant) pairs; arrays of one shape."""
        calls, rest = np.divmod(items, self.batch[rows, columns])
        seconds: Floats = calls * self.call_s[rows, columns] + self.rest_s[self.rest_at[rows, columns] + rest]
        return seconds

    @cached_property
    def index(self) -> dict[ProcessorId, int]:
        """Row of each processor."""
        return {pid: p for p, pid in enumerate(self.pids)}

    @cached_property
    def column(self) -> dict[str, int]:
        """Column of each variant."""
        return {name: v for v, name in enumerate(self.names)}

    @cached_property
    def by_accuracy(self) -> Ints:
        """(V,) columns, most accurate first."""
        return np.argsort(-self.accuracy, kind="stable")

    @cached_property
    def costs(self) -> CostModel:
        """The cost model of the cluster."""
        return CostModel(self.cluster)

    @cached_property
    def shortest_call_s(self) -> Floats:
        """(P, V) seconds of the shortest call; inf where there is none."""
        shortest_s: Floats = self.call_s.copy()
        rows, columns = np.nonzero(self.batch > 1)
        shortest_s[rows, columns] = np.minimum(shortest_s[rows, columns], self.rest_s[self.rest_at[rows, columns] + 1])
        return shortest_s

    @cached_property
    def node_link_s(self) -> Floats:
        """(N,) latency of each node's link."""
        return np.array([node.link.latency_s for node in self.cluster.nodes])

    @cached_property
    def runnable(self) -> Bools:
        """(P, V) true where a processor has a profile of a variant and the memory to hold it."""
        fits: Bools = self.memory_bytes <= self.node_memory_bytes[self.node][:, None]
        return np.isfinite(self.item_s) & fits

    @cached_property
    def best_accuracy(self) -> float:
        """Of the variants that can be run at all."""
        return float(np.where(self.runnable, self.accuracy, 0.0).max())

    @cached_property
    def ladder(self) -> Ladder:
        """What to mix when accuracy is what counts.

        Where nothing has a fixed cost, a variant that another one beats in both speed and accuracy is left out.
        """
        order = self.by_accuracy
        item_s = np.where(self.runnable, self.item_s, np.inf)[:, order]
        useful = np.isfinite(item_s)
        if not (self.has_loads or self.has_batches or self.is_memory_bound or self.has_links):
            fastest_above = np.minimum.accumulate(item_s, axis=1)
            useful[:, 1:] &= item_s[:, 1:] < fastest_above[:, :-1]
        return ladder_of(np.where(useful, item_s, np.inf), self.accuracy[order][None, :], variant=order)

    def rungs(self, ladder: Ladder) -> Rungs:
        """The fleet's figures by rung; kept for its own ladder, whatever its rungs are worth."""
        return self._own_rungs if ladder.variant is self.ladder.variant else self._by_rung(ladder)

    @cached_property
    def _own_rungs(self) -> Rungs:
        return self._by_rung(self.ladder)

    def _by_rung(self, ladder: Ladder) -> Rungs:
        at = np.arange(len(self.pids))[:, None], ladder.variant
        return Rungs(
            call_s=self.call_s[at],
            input_bytes=self.input_bytes[at],
            memory_bytes=self.memory_bytes[at],
            calls=np.stack((self.batch[at], np.minimum(self.call_s[at], NEVER_S), self.rest_at[at])),
        )

    @cached_property
    def hulls(self) -> Hulls:
        """Hulls of (items per second, accuracy earned per second)."""
        return upper_hulls(self.ladder.item_s, self.ladder.gain)

    @cached_property
    def has_loads(self) -> bool:
        """True if some variant has to be loaded first."""
        return bool(self.load_s.any())

    @cached_property
    def has_batches(self) -> bool:
        """True if some variant runs best in calls of several items."""
        return bool((self.batch > 1).any())

    @cached_property
    def has_links(self) -> bool:
        """True if inputs take time to travel."""
        limited = math.isfinite(self.uplink_bytes_per_s) or bool(np.isfinite(self.bandwidth_bytes_per_s).any())
        return limited and bool(self.input_bytes.any())

    @cached_property
    def input_bytes_differ(self) -> float:
        """By how many bytes the inputs of two variants differ at most, on the same processor."""
        return float(np.ptp(self.input_bytes, axis=1).max())

    @cached_property
    def is_memory_bound(self) -> bool:
        """True if some node cannot hold all the variants that its processors can run."""
        needed = np.where(np.isfinite(self.item_s), self.memory_bytes, 0.0).sum(axis=1)
        return bool((np.bincount(self.node, needed) > self.node_memory_bytes).any())


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """When each processor can start, and how fast it then is: the link and the conditions, as arrays (P,)."""

    start_s: Floats  # inf where a processor is not available
    speed: Floats
    load_s: Floats | None  # (P, V) at profile speed, of the variants that are not resident; None if there are none

    @classmethod
    def of(cls, fleet: Fleet, conditions: Conditions) -> Readiness:
        """How the fleet stands under these conditions."""
        load_s = fleet.load_s if fleet.has_loads else None
        if not conditions:
            return cls(start_s=fleet.link_s, speed=np.ones(len(fleet.pids)), load_s=load_s)
        states = [conditions.get(pid, _AS_PROFILED) for pid in fleet.pids]
        wait_s = np.array([state.busy_s if state.available else np.inf for state in states])
        if load_s is not None:
            load_s = load_s.copy()
            for p, state in enumerate(states):
                load_s[p, [fleet.column[name] for name in state.resident if name in fleet.column]] = 0.0
        speed = np.array([state.speed for state in states])
        return cls(start_s=fleet.link_s + wait_s, speed=speed, load_s=load_s)

    def time_s(self, deadline_s: float) -> Floats:
        """(P,) seconds at profile speed that each processor can work until the deadline."""
        left: Floats = np.maximum(0.0, deadline_s - self.start_s) * self.speed
        return left


def _cautious(cluster: Cluster, confidence: float) -> Cluster:
    """With each measured accuracy at the end of its interval that it exceeds with this confidence."""

    def lower(variant: Variant) -> Variant:
        items = variant.accuracy_items
        if items is None:
            return variant
        low, _ = wilson_interval(variant.accuracy * items, items, max(2 * confidence - 1, _LEAST_CONFIDENCE))
        return msgspec.structs.replace(variant, accuracy=low)

    return msgspec.structs.replace(cluster, variants=tuple(lower(variant) for variant in cluster.variants))
