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
from itertools import pairwise

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

Ints = npt.NDArray[np.int64]

_AS_PROFILED = Condition()
_STEPS = 16  # of busy time, from all on one variant to all on the other
_SUBSTEPS = 8  # of a step, where it is worth a closer look
_HALVINGS = 24  # of a search for a utilisation: a ten-millionth
_UNREAD = 1e-9  # a fraction of late items that rounding errors hide
_FALSE_POSITIONS = 16  # of a search for a rate: as close


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
class Mixes:
    """Ways to divide a station's busy time between two variants, or one (then both are the same). Arrays (M,)."""

    slow: Ints
    fast: Ints
    work: Floats  # fraction of the busy time that goes to `slow`

    def at(self, which: Ints) -> Mixes:
        """Some of them."""
        return Mixes(slow=self.slow[which], fast=self.fast[which], work=self.work[which])

    def and_between(self) -> Mixes:
        """These, and finer ones between any two neighbours that are a step of the same two variants apart."""
        pairs = [_joined(*ends) for ends in pairwise(zip(self.slow, self.fast, self.work, strict=True))]
        found = [pair for pair in pairs if pair is not None]
        parts = np.arange(1, _SUBSTEPS) / _SUBSTEPS
        finer = [low + (high - low) * parts for _, _, low, high in found]
        return Mixes(
            slow=np.concatenate((self.slow, *(np.full(len(parts), slow) for slow, _, _, _ in found))).astype(np.int64),
            fast=np.concatenate((self.fast, *(np.full(len(parts), fast) for _, fast, _, _ in found))).astype(np.int64),
            work=np.concatenate((self.work, *finer)),
        )


@dataclass(frozen=True, kw_only=True)
class _Queue:
    """What waits come of: means (M,) over the items of a mix and transforms (M, TERMS) of residual times."""

    mean: Floats
    residual: Complexes
    transfer: Floats
    carried: Complexes | None  # None if nothing takes time on the link


class Station:
    """A processor with the variants that are worth running within the allowance. Its arrays (V,) are over those."""

    def __init__(self, given: Services, item_latency_s: float, confidence: float) -> None:
        left = (item_latency_s - given.link_s - given.transfer_s) / item_latency_s
        fits = served_within(left, given.mean_s / item_latency_s, given.stddev_s / item_latency_s) >= confidence
        self._fitting = given.chosen(fits & (given.memory_bytes <= given.budget_bytes))
        self.services = self._fitting.chosen(_undominated(self._fitting))
        self._allowance_s, self._confidence = item_latency_s, confidence

    @cached_property
    def mixes(self) -> Mixes:
        """Every variant alone, and every two of them that fit into memory together, in steps of busy time.

        More than two are not tried. Were the wait a matter of utilisation and mean residual service time alone, then
        both would be limits linear in the variants' rates, and a linear program with two limits has an optimum with two
        rates.
        """
        size_bytes = self.services.memory_bytes
        alone = np.arange(len(size_bytes))
        first, second = np.triu_indices(len(size_bytes), 1)
        together = size_bytes[first] + size_bytes[second] <= self.services.budget_bytes
        first, second = first[together], second[together]
        mean_s = self.services.mean_s
        slow = np.where(mean_s[first] >= mean_s[second], first, second)
        steps = np.arange(1, _STEPS) / _STEPS
        return Mixes(
            slow=np.concatenate((alone, np.repeat(slow, len(steps)))),
            fast=np.concatenate((alone, np.repeat(first + second - slow, len(steps)))),
            work=np.concatenate((np.ones(len(alone)), np.tile(steps, len(slow)))),
        )

    def slow_fraction(self, mixes: Mixes) -> Floats:
        """(M,) the fraction of the items, rather than of the time, that runs the slow variant."""
        slow, fast = mixes.work / self._mean[mixes.slow], (1.0 - mixes.work) / self._mean[mixes.fast]
        return slow / (slow + fast)

    def accuracy(self, mixes: Mixes) -> Floats:
        """(M,) expected accuracy of an item."""
        return self._mixed(self.services.accuracy, mixes)

    def limits(self, mixes: Mixes) -> Floats:
        """(M,) the most items per allowance with which every variant of a mix stays within the allowance.

        By the Illinois rule of false position, whose lower end always keeps it.
        """
        queue = self._queue(mixes)
        low, high = np.zeros(len(mixes.work)), 1.0 / np.maximum(queue.mean, queue.transfer)
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
        return low

    def _spare(self, mixes: Mixes, queue: _Queue, rate: Floats) -> Floats:
        """(M,) logarithm of how many times as many items might be late; below 0 if too many are.

        It is nearly linear in the rate, as the tail of a wait is nearly exponential.
        """
        wait = waiting(rate * queue.mean, queue.residual)
        if queue.carried is not None:
            wait *= waiting(rate * queue.transfer, queue.carried)
        reads = [np.einsum("mt,mt->m", self._reading[v], wait).real for v in (mixes.slow, mixes.fast)]
        late = np.maximum(1.0 - np.minimum(*reads), _UNREAD)
        spare: Floats = np.log((1.0 - self._confidence) / late)
        return spare

    def _queue(self, mixes: Mixes) -> _Queue:
        work = mixes.work[:, None]
        residual = work * self._residual[mixes.slow] + (1.0 - work) * self._residual[mixes.fast]
        fraction = self.slow_fraction(mixes)
        slow, fast = fraction * self._transfer[mixes.slow], (1.0 - fraction) * self._transfer[mixes.fast]
        busy, carried = slow + fast, None
        if busy.any():
            on_slow = np.divide(slow, busy, out=np.zeros_like(busy), where=busy > 0)[:, None]
            carried = on_slow * self._carried[mixes.slow] + (1.0 - on_slow) * self._carried[mixes.fast]
        mean = self._mixed(self._mean, mixes)
        return _Queue(mean=mean, residual=residual, transfer=busy, carried=carried)

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

    def _mixed(self, values: Floats, mixes: Mixes) -> Floats:
        """(M,) mean over the items of a mix."""
        fraction = self.slow_fraction(mixes)
        mean: Floats = fraction * values[mixes.slow] + (1.0 - fraction) * values[mixes.fast]
        return mean

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
    def _reading(self) -> Complexes:
        mean, stddev, left = self._scaled(self.services)
        return reading(served_cells(left, mean, stddev))


def _joined(one: tuple[int, int, float], other: tuple[int, int, float]) -> tuple[int, int, float, float] | None:
    """The two variants that both mixes consist of and each one's time for the slow one; None unless a step apart."""
    slow, fast = one[:2] if one[0] != one[1] else other[:2]
    works = []
    for first, second, work in (one, other):
        if (first, second) == (slow, fast):
            works.append(work)
        elif first == second and first in (slow, fast):
            works.append(1.0 if first == slow else 0.0)
        else:
            return None
    return (slow, fast, works[0], works[1]) if abs(works[0] - works[1]) <= 1.5 / _STEPS else None


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
        transfer_s=np.array([variants[p.variant].input_bytes for p in profiles]) / slice_bytes_per_s,
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
