"""A cluster compiled into arrays: what the planner computes with.

P processors, V variants. A fleet depends on the cluster description alone, never on a request, so it is made
once and planned with many times; its hulls are computed on first use and kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from equipoise.core.cluster import Cluster, ProcessorId, Profile
from equipoise.core.plan import Condition, Conditions
from equipoise.planning.hulls import Hulls, upper_hulls
from equipoise.planning.predict import CostModel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_AS_PROFILED = Condition()
NEVER_S = 1e200  # finite, so that no item of it takes no time


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Rungs that a processor may mix: every rung with itself and with every faster one. N pairs, T triples.

    Rounding leaves time over that is less than one item's step from the fast rung to the slow one; what lies between
    the two makes a triple of the pair: some of the fast rung's items are lifted to `middle`. Arrays over processors
    have an axis of length 1 where a window of counts goes. NEVER_S marks a missing rung or a step that gains nothing.
    """

    slow: Ints  # (N,)
    fast: Ints  # (N,)
    fast_s: Floats  # (P, 1, N)
    step_s: Floats  # (P, 1, N) what an item takes longer on the slow rung
    fast_gain: Floats  # (P, 1, N)
    step_gain: Floats  # (P, 1, N)
    of: Ints  # (T,) the pair of each triple
    middle: Ints  # (T,)
    lift_s: Floats  # (P, 1, T) the step from the fast rung to the middle one
    lift_gain: Floats  # (P, 1, T)


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The variants worth mixing on each processor, slowest first, H of them at most.

    Every array has shape (P, H); where a processor has fewer, `item_s` is inf, at the end.
    """

    variant: Ints
    item_s: Floats
    gain: Floats  # what one item is worth: its accuracy, unless another objective says otherwise

    @cached_property
    def pairs(self) -> Pairs:
        """What may be mixed."""
        rungs = self.item_s.shape[1]
        slow, fast = np.triu_indices(rungs)
        of, middle = np.nonzero((slow[:, None] < np.arange(rungs)) & (np.arange(rungs) < fast[:, None]))
        item_s, gain = np.minimum(self.item_s, NEVER_S)[:, None, :], self.gain[:, None, :]
        fast_s, fast_gain = item_s[:, :, fast], gain[:, :, fast]
        return Pairs(
            slow=slow,
            fast=fast,
            fast_s=fast_s,
            step_s=_steps(item_s[:, :, slow], fast_s),
            fast_gain=fast_gain,
            step_gain=gain[:, :, slow] - fast_gain,
            of=of,
            middle=middle,
            lift_s=_steps(item_s[:, :, middle], fast_s[:, :, of]),
            lift_gain=gain[:, :, middle] - fast_gain[:, :, of],
        )


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Arrays over (processor, variant); `item_s` is inf where a processor has no profile of a variant."""

    cluster: Cluster
    pids: tuple[ProcessorId, ...]
    names: tuple[str, ...]  # of the variants
    accuracy: Floats  # (V,)
    item_s: Floats  # (P, V) seconds per item at the best batch size, or per transfer if that is slower
    batch: Ints  # (P, V)
    load_s: Floats  # (P, V)
    remainder_s: Floats  # (P, V) what a last, incomplete batch costs at most beyond items x item_s
    memory_bytes: Floats  # (P, V)
    node_memory_bytes: Floats  # (P,) inf where not described
    item_j: Floats  # (P, V) joules beyond idling; nan where the watts are not described
    link_s: Floats  # (P,)

    @classmethod
    def of(cls, cluster: Cluster) -> Fleet:
        """Compile a cluster description."""
        columns = {variant.name: v for v, variant in enumerate(cluster.variants)}
        shape = (sum(len(node.processors) for node in cluster.nodes), len(columns))
        item_s, batch = np.full(shape, np.inf), np.ones(shape, np.int64)
        load_s, remainder_s, memory_bytes = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        watts = np.full(shape[0], np.nan)
        transfer_bytes = np.array([float(v.input_bytes) for v in cluster.variants])
        for p, (_, processor) in enumerate(cluster.processors()):
            if processor.active_w is not None:
                watts[p] = processor.active_w - (processor.idle_w or 0.0)
            for profile in processor.profiles:
                v = columns[profile.variant]
                batch[p, v], item_s[p, v], remainder_s[p, v] = _calls(profile)
                load_s[p, v], memory_bytes[p, v] = profile.load_s, profile.memory_bytes
        nodes = [node for node in cluster.nodes for _ in node.processors]
        bandwidth = np.array([node.link.bandwidth_bytes_per_s for node in nodes])
        return cls(
            cluster=cluster,
            pids=tuple(pid for pid, _ in cluster.processors()),
            names=tuple(columns),
            accuracy=np.array([variant.accuracy for variant in cluster.variants]),
            item_s=np.maximum(item_s, transfer_bytes / bandwidth[:, None]),
            batch=batch,
            load_s=load_s,
            remainder_s=remainder_s,
            memory_bytes=memory_bytes,
            node_memory_bytes=np.array([math.inf if n.memory_bytes is None else n.memory_bytes for n in nodes]),
            item_j=np.where(np.isfinite(item_s), item_s * watts[:, None], np.nan),
            link_s=np.array([node.link.latency_s for node in nodes]),
        )

    @cached_property
    def index(self) -> dict[ProcessorId, int]:
        """Row of each processor."""
        return {pid: p for p, pid in enumerate(self.pids)}

    @cached_property
    def column(self) -> dict[str, int]:
        """Column of each variant."""
        return {name: v for v, name in enumerate(self.names)}

    @cached_property
    def costs(self) -> CostModel:
        """The cost model of the cluster."""
        return CostModel(self.cluster)

    @cached_property
    def runnable(self) -> Bools:
        """(P, V) true where a processor has a profile of a variant and the memory to hold it."""
        fits: Bools = self.memory_bytes <= self.node_memory_bytes[:, None]
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
        order = np.argsort(-self.accuracy, kind="stable")
        item_s = np.where(self.runnable, self.item_s, np.inf)[:, order]
        useful = np.isfinite(item_s)
        if not (self.has_charges or self.is_memory_bound):
            fastest_above = np.minimum.accumulate(item_s, axis=1)
            useful[:, 1:] &= item_s[:, 1:] < fastest_above[:, :-1]
        return _ladder(order[None, :], np.where(useful, item_s, np.inf), self.accuracy[order][None, :])

    @cached_property
    def hulls(self) -> Hulls:
        """Hulls of (items per second, accuracy earned per second)."""
        return upper_hulls(self.ladder.item_s, self.ladder.gain)

    @cached_property
    def has_charges(self) -> bool:
        """True if a variant may cost something beyond items x seconds per item."""
        return bool(self.load_s.any() or self.remainder_s.any())

    @cached_property
    def is_memory_bound(self) -> bool:
        """True if some node cannot hold all the variants that its processors can run."""
        needed = np.where(np.isfinite(self.item_s), self.memory_bytes, 0.0).sum(axis=1)
        return bool((needed > self.node_memory_bytes).any())


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """When each processor can start, and how fast it then is: the link and the conditions, as arrays (P,)."""

    start_s: Floats  # inf where a processor is not available
    speed: Floats
    charge_s: Floats | None  # (P, V) fixed cost of using a variant at all, at profile speed; None if there is none

    @classmethod
    def of(cls, fleet: Fleet, conditions: Conditions) -> Readiness:
        """How the fleet stands under these conditions."""
        if not conditions:
            ones = np.ones(len(fleet.pids))
            charge_s = fleet.load_s + fleet.remainder_s if fleet.has_charges else None
            return cls(start_s=fleet.link_s, speed=ones, charge_s=charge_s)
        states = [conditions.get(pid, _AS_PROFILED) for pid in fleet.pids]
        wait_s = np.array([state.busy_s if state.available else np.inf for state in states])
        charge_s = None
        if fleet.has_charges:
            to_load = np.ones(fleet.item_s.shape, dtype=bool)
            for p, state in enumerate(states):
                to_load[p, [fleet.column[name] for name in state.resident if name in fleet.column]] = False
            charge_s = np.where(to_load, fleet.load_s, 0.0) + fleet.remainder_s
        speed = np.array([state.speed for state in states])
        return cls(start_s=fleet.link_s + wait_s, speed=speed, charge_s=charge_s)

    def time_s(self, deadline_s: float) -> Floats:
        """(P,) seconds at profile speed that each processor can work until the deadline."""
        left: Floats = np.maximum(0.0, deadline_s - self.start_s) * self.speed
        return left


def ladder_of(item_s: Floats, gain: Floats) -> Ladder:
    """A ladder of all variants (P, V) that are not inf in `item_s`, with what an item of each is worth."""
    return _ladder(np.arange(item_s.shape[1])[None, :], item_s, gain)


def _ladder(variant: Ints, item_s: Floats, gain: Floats) -> Ladder:
    rungs = max(1, int(np.isfinite(item_s).sum(axis=1).max()))
    slowest_first = np.argsort(np.where(np.isfinite(item_s), -item_s, np.inf), axis=1, kind="stable")[:, :rungs]
    return Ladder(
        variant=np.take_along_axis(np.broadcast_to(variant, item_s.shape), slowest_first, 1),
        item_s=np.take_along_axis(item_s, slowest_first, 1),
        gain=np.take_along_axis(np.broadcast_to(gain, item_s.shape), slowest_first, 1),
    )


def _steps(slow_s: Floats, fast_s: Floats) -> Floats:
    """Seconds more per item; NEVER_S where there are none, or a rung is missing."""
    step_s = slow_s - fast_s
    return np.where((step_s > 0) & (slow_s < NEVER_S), step_s, NEVER_S)


def _calls(profile: Profile) -> tuple[int, float, float]:
    """Best batch size, seconds per item at it, and what an incomplete last batch costs on top at most."""
    if len(profile.latency_s) == 1:
        ((size, call_s),) = profile.latency_s.items()
        return size, call_s / size, (call_s - call_s / size)
    size, item_s = profile.best_batch, profile.item_s
    worst_s = max((profile.call_s(rest) - rest * item_s for rest in range(1, size)), default=0.0)
    return size, item_s, max(0.0, worst_s)
