"""A processor as a queue: which mixes of variants it may run, and how many items it can then take in time.

A station serves one item at a time, at batch 1, in the order of arrival. Before that an item comes over the node's
link, which is a queue too; the processors of one node hold equal slices of it, so that none can hold up another. Both
waits are taken to be independent. Time is measured in allowances: 1 is the latency that an item may have; rates are
items per allowance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from equipoise.core.cluster import Cluster, Node, Processor, ProcessorId, Profile
from equipoise.core.plan import Condition, Conditions
from equipoise.planning.waiting import (
    Complexes,
    Floats,
    cells_of,
    reading,
    residual_cells,
    residual_tails,
    served_cells,
    served_within,
    transform,
    waiting,
)

_AS_PROFILED = Condition()
_STEPS = 32  # of busy time, from all on one variant to all on the other
_SUBSTEPS = 4  # of what lies between two neighbours on a menu
_HALVINGS = 24  # of a search for a utilisation: a ten-millionth
_UNREAD = 1e-9  # a fraction of late items that rounding errors hide
_FALSE_POSITIONS = 20  # of a search for a rate, at most
_CLOSE = 1e-6  # of a logarithm of late items, to the one that is allowed


@dataclass(frozen=True, kw_only=True)
class Services:
    """What one item costs on one processor with each variant that it can run, in seconds; arrays (V,)."""

    pid: ProcessorId
    variants: tuple[str, ...]
    accuracy: Floats
    mean_s: Floats
    stddev_s: Floats
    transfer_s: Floats  # over this processor's slice of the link
    memory_bytes: Floats
    link_s: float
    budget_bytes: float  # of the node's memory, for this processor

    @property
    def figures(self) -> tuple[object, ...]:
        """All but the name: two processors with the same are as good as each other."""
        arrays = (self.accuracy, self.mean_s, self.stddev_s, self.transfer_s, self.memory_bytes)
        return (self.variants, self.link_s, self.budget_bytes, *(array.tobytes() for array in arrays))

    def chosen(self, which: npt.NDArray[np.bool_]) -> Services:
        """Only some of the variants."""
        return Services(
            pid=self.pid,
            variants=tuple(name for name, chosen in zip(self.variants, which, strict=True) if chosen),
            accuracy=self.accuracy[which],
            mean_s=self.mean_s[which],
            stddev_s=self.stddev_s[which],
            transfer_s=self.transfer_s[which],
            memory_bytes=self.memory_bytes[which],
            link_s=self.link_s,
            budget_bytes=self.budget_bytes,
        )


def services(cluster: Cluster, conditions: Conditions) -> Iterator[Services]:
    """Those of every processor, in the order of the description; one that is not available has no variants."""
    for node in cluster.nodes:
        budget_bytes = _memory_budget(node)
        for processor in node.processors:
            pid = ProcessorId(node.name, processor.name)
            state = conditions.get(pid, _AS_PROFILED)
            yield _services_of(cluster, node, processor, state if state.available else None, budget_bytes)


@dataclass(frozen=True, kw_only=True)
class _Queue:
    """What the waits of M mixes come of: means (M,) over their items, transforms (M, TERMS) of residual times."""

    mean: Floats
    residual: Complexes
    transfer: Floats
    carried: Complexes | None  # None if nothing takes time on the link


class Station:
    """A processor with the variants that are worth running within the allowance. Its arrays (V,) are over those.

    A mix is the fraction of the busy time that goes to each variant: mixes are arrays (M, V) whose rows add up to 1.
    """

    def __init__(self, given: Services, item_latency_s: float, confidence: float) -> None:
        left = (item_latency_s - given.link_s - given.transfer_s) / item_latency_s
        fits = served_within(left, given.mean_s / item_latency_s, given.stddev_s / item_latency_s) >= confidence
        self._fitting = given.chosen(fits & (given.memory_bytes <= given.budget_bytes))
        self.services = self._fitting.chosen(_undominated(self._fitting))
        self._allowance_s, self._confidence = item_latency_s, confidence

    def alone_and_in_pairs(self) -> Floats:
        """Every variant alone, and every two of them in steps of busy time."""
        variants = np.eye(len(self.services.variants))
        first, second = np.triu_indices(len(variants), 1)
        return np.concatenate((variants, self._between(variants[first], variants[second], _STEPS)))

    def between_neighbours(self, mixes: Floats, corners: Floats) -> Floats:
        """Mixes of every two in a row of `mixes` and, in coarser steps, of `corners`; those that fit into memory."""
        close = self._between(mixes[:-1], mixes[1:], _SUBSTEPS)
        return np.concatenate((mixes, close, self._between(corners[:-1], corners[1:], _STEPS)))

    def _between(self, some: Floats, others: Floats, steps: int) -> Floats:
        """Steps halfway between even ones of time and even ones of items, so that neither are coarse at either end."""
        part, root = np.arange(1, steps)[:, None, None] / steps, np.sqrt(self._mean)
        some, others = (mixes / root / (mixes / root).sum(axis=1, keepdims=True) for mixes in (some, others))
        mixes = ((part * some + (1.0 - part) * others) * root).reshape(len(part) * len(some), len(root))
        mixes /= mixes.sum(axis=1, keepdims=True)
        return mixes[(mixes > 0) @ self.services.memory_bytes <= self.services.budget_bytes]

    def fractions(self, mixes: Floats) -> Floats:
        """(M, V) what fraction of the items, rather than of the time, runs each variant."""
        items = mixes / self._mean
        fractions: Floats = items / items.sum(axis=1, keepdims=True)
        return fractions

    def accuracy(self, mixes: Floats) -> Floats:
        """(M,) expected accuracy of an item."""
        return self.fractions(mixes) @ self.services.accuracy

    def limits(self, mixes: Floats) -> Floats:
        """(M,) the most items per allowance with which every variant of a mix stays within the allowance.

        By the Illinois rule of false position, whose lower end always keeps it.
        """
        queue = self._queue(mixes)
        low, high = np.zeros(len(mixes)), 1.0 / np.maximum(queue.mean, queue.transfer)
        above, below = self._spare(mixes, queue, low), np.full(len(low), math.log(1.0 - self._confidence))
        kept_before = np.zeros(len(low), dtype=bool)
        for step in range(_FALSE_POSITIONS):
            rate = (high * above - low * below) / (above - below)
            spare = self._spare(mixes, queue, rate)
            kept = spare >= 0
            again = (kept == kept_before) & (step > 0)
            above = np.where(kept, spare, np.where(again, above / 2, above))
            below = np.where(kept, np.where(again, below / 2, below), spare)
            low, high, kept_before = np.where(kept, rate, low), np.where(kept, high, rate), kept
            if (above < _CLOSE).all():
                break
        return low

    def _spare(self, mixes: Floats, queue: _Queue, rate: Floats) -> Floats:
        """(M,) logarithm of how many times as many items might be late; below 0 if too many are.

        It is nearly linear in the rate, as the tail of a wait is nearly exponential.
        """
        wait = waiting(rate * queue.mean, queue.residual)
        if queue.carried is not None:
            wait *= waiting(rate * queue.transfer, queue.carried)
        # Not as a matrix product: for that, threads are started which wait for each other on a busy machine.
        in_time = np.einsum("mt,vt->mv", wait.view(np.float64), self._real_reading)
        late = 1.0 - np.where(mixes > 0, in_time, 1.0).min(axis=1, initial=1.0)
        spare: Floats = np.log((1.0 - self._confidence) / np.maximum(late, _UNREAD))
        return spare

    def _queue(self, mixes: Floats) -> _Queue:
        fractions = self.fractions(mixes)
        transfer, carried = fractions @ self._transfer, None
        if transfer.any():
            on_link = fractions * self._transfer / np.where(transfer > 0, transfer, 1.0)[:, None]
            carried = np.einsum("mv,vt->mt", on_link, self._carried)
        return _Queue(
            mean=fractions @ self._mean,
            residual=np.einsum("mv,vt->mt", mixes, self._residual),
            transfer=transfer,
            carried=carried,
        )

    @cached_property
    def relaxed(self) -> tuple[Floats, Floats]:
        """Allowances per item (V,) at least, and accuracy (V,), of every variant that fits: for a bound on all mixes.

        Whatever it is mixed with, the wait is no shorter than at the same utilisation with residual services as short
        as the shortest of any variant, and the link adds nothing. That leaves an upper limit u[v] to the utilisation
        with which v can be in a mix. So sum rate[v] mean[v] / u[v] <= utilisation / min u <= 1 in every mix.
        """
        mean, stddev, left = self._scaled(self._fitting)
        if not len(mean):
            return mean, self._fitting.accuracy
        shortest = transform(cells_of(residual_tails(mean, stddev).min(axis=0)))
        read = reading(served_cells(left, mean, stddev))
        low, high = np.zeros(len(mean)), np.ones(len(mean))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            kept = (read * waiting(middle, shortest)).real.sum(axis=-1) >= self._confidence
            low, high = np.where(kept, middle, low), np.where(kept, high, middle)
        return mean / high, self._fitting.accuracy

    def _scaled(self, given: Services) -> tuple[Floats, Floats, Floats]:
        """Mean, spread and what is left of the allowance once an item has come over an idle link."""
        allowance_s = self._allowance_s
        left = (allowance_s - given.link_s - given.transfer_s) / allowance_s
        return given.mean_s / allowance_s, given.stddev_s / allowance_s, left

    @cached_property
    def _mean(self) -> Floats:
        return self.services.mean_s / self._allowance_s

    @cached_property
    def _transfer(self) -> Floats:
        return self.services.transfer_s / self._allowance_s

    @cached_property
    def _residual(self) -> Complexes:
        mean, stddev, _ = self._scaled(self.services)
        return transform(residual_cells(mean, stddev))

    @cached_property
    def _carried(self) -> Complexes:
        transfer = np.where(self._transfer > 0, self._transfer, 1.0)  # what takes no time holds up nobody
        return transform(residual_cells(transfer, np.zeros_like(transfer)))

    @cached_property
    def _real_reading(self) -> Floats:
        """(V, 2 TERMS) for real and imaginary parts in turn."""
        mean, stddev, left = self._scaled(self.services)
        parts: Floats = reading(served_cells(left, mean, stddev)).conj().view(np.float64)
        return parts


def _services_of(
    cluster: Cluster, node: Node, processor: Processor, state: Condition | None, budget_bytes: float
) -> Services:
    profiles = processor.profiles if state is not None else ()
    speed = state.speed if state is not None else 1.0
    variants = {variant.name: variant for variant in cluster.variants}
    slice_bytes_per_s = node.link.bandwidth_bytes_per_s / max(1, sum(bool(p.profiles) for p in node.processors))
    return Services(
        pid=ProcessorId(node.name, processor.name),
        variants=tuple(profile.variant for profile in profiles),
        accuracy=np.array([variants[p.variant].accuracy for p in profiles]),
        mean_s=np.array([p.call_s(1) for p in profiles]) / speed,
        stddev_s=np.array([_single_stddev_s(p) for p in profiles]) / speed,
        transfer_s=np.array([p.item_bytes(variants[p.variant]) for p in profiles]) / slice_bytes_per_s,
        memory_bytes=np.array([float(p.memory_bytes) for p in profiles]),
        link_s=node.link.latency_s,
        budget_bytes=budget_bytes,
    )


def _single_stddev_s(profile: Profile) -> float:
    """Of a call with one item, which costs what the smallest measured size costs."""
    return profile.latency_stddev_s.get(min(profile.latency_s), 0.0)


def _memory_budget(node: Node) -> float:
    """Bytes that each processor of a node may fill: all of it if their largest pairs fit together, else equal parts."""
    if node.memory_bytes is None:
        return np.inf
    largest = (sum(sorted(p.memory_bytes for p in processor.profiles)[-2:]) for processor in node.processors)
    return node.memory_bytes if sum(largest) <= node.memory_bytes else node.memory_bytes / len(node.processors)


def _undominated(given: Services) -> npt.NDArray[np.bool_]:
    """(V,) true unless another variant is as good in everything; of equals, the first stays."""
    costs = np.stack((-given.accuracy, given.mean_s, given.stddev_s, given.transfer_s, given.memory_bytes))
    no_worse = (costs[:, :, None] <= costs[:, None, :]).all(axis=0)  # [a, b]: a is no worse than b
    equal = no_worse & no_worse.T
    beats = no_worse & (~equal | np.triu(np.ones_like(equal), 1))
    kept: npt.NDArray[np.bool_] = ~beats.any(axis=0)
    return kept
