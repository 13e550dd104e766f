"""The cluster description: nodes, their processors, and what each variant costs on each of them.

These nouns are the file format (JSON, see docs/formats.md) and what the planner reads. Decoding checks
everything that can be checked; what is left out has the documented default.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from equipoise.core.ranges import (
    ACCURACY_ITEMS,
    BATCH,
    BYTES,
    BYTES_PER_S,
    CALL_S,
    CONTENTION,
    INPUT_BYTES,
    MOST_NODES,
    MOST_PAIRS,
    MOST_VARIANTS,
    SECONDS,
    WATTS,
    refuse_more,
    refuse_outside,
    refuse_unprintable,
)

Name = Annotated[str, Meta(min_length=1)]


def _refuse_duplicates(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"duplicate {what}: {name!r}")
        seen.add(name)


class ProcessorId(NamedTuple):
    """Names one processor of one node."""

    node: str
    processor: str

    def __str__(self) -> str:
        return f"{self.node}/{self.processor}"


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One accuracy configuration. Without `accuracy_items` its accuracy is taken as exact."""

    name: Name
    accuracy: float
    accuracy_items: int | None = None
    input_bytes: int = 0

    def __post_init__(self) -> None:
        refuse_unprintable("variant", self.name)
        if not 0.0 <= self.accuracy <= 1.0:
            raise ValueError(f"accuracy of variant {self.name!r} must be a fraction from 0 to 1, not {self.accuracy}")
        if self.accuracy_items is not None:
            refuse_outside(f"accuracy_items of variant {self.name!r}", self.accuracy_items, ACCURACY_ITEMS)
        refuse_outside(f"input_bytes of variant {self.name!r}", self.input_bytes, INPUT_BYTES)


class Link(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The way from the coordinator to a node. The default is free and instant."""

    latency_s: float = 0.0
    bandwidth_bytes_per_s: float = math.inf

    def __post_init__(self) -> None:
        refuse_outside("latency_s of a link", self.latency_s, SECONDS)
        if self.bandwidth_bytes_per_s != math.inf:
            refuse_outside("bandwidth_bytes_per_s of a link", self.bandwidth_bytes_per_s, BYTES_PER_S)


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one variant costs on one processor.

    `latency_s` maps a batch size to the seconds of one call with that many items; between measured sizes
    a call costs what the straight line between its neighbours says. They are those of a node that is at work as a
    whole: alone, without the node's other processors, a call takes the `contention`-th part of it. `input_bytes` is
    what an item takes on its way to this processor where that is not what its variant says.
    """

    variant: Name
    latency_s: dict[int, float]
    latency_stddev_s: dict[int, float] = {}
    load_s: float = 0.0
    memory_bytes: int = 0
    contention: float = 1.0
    input_bytes: int | None = None

    def __post_init__(self) -> None:
        where = f"profile of variant {self.variant!r}"
        if not self.latency_s:
            raise ValueError(f"{where}: latency_s is empty; give at least the latency of batch 1")
        for batch, seconds in self.latency_s.items():
            refuse_outside(f"{where}: a batch size in latency_s", batch, BATCH)
            refuse_outside(f"{where}: latency_s of batch {batch}", seconds, CALL_S)
        for batch, seconds in self.latency_stddev_s.items():
            if batch not in self.latency_s:
                raise ValueError(f"{where}: latency_stddev_s has batch {batch}, which latency_s lacks")
            refuse_outside(f"{where}: latency_stddev_s of batch {batch}", seconds, SECONDS)
        refuse_outside(f"{where}: load_s", self.load_s, SECONDS)
        refuse_outside(f"{where}: memory_bytes", self.memory_bytes, BYTES)
        refuse_outside(f"{where}: contention", self.contention, CONTENTION)
        if self.input_bytes is not None:
            refuse_outside(f"{where}: input_bytes", self.input_bytes, INPUT_BYTES)

    @property
    def best_batch(self) -> int:
        """The measured batch size with the fewest seconds per item; of equals, the smallest."""
        return min(sorted(self.latency_s), key=lambda batch: self.latency_s[batch] / batch)

    @property
    def item_s(self) -> float:
        """Seconds per item at the best batch size."""
        return self.latency_s[self.best_batch] / self.best_batch

    def item_bytes(self, variant: Variant) -> int:
        """What an item takes on the network, when it is to be run with `variant`, which this is a profile of."""
        return variant.input_bytes if self.input_bytes is None else self.input_bytes

    def call_s(self, batch: int) -> float:
        """Seconds of one call with `batch` items, at most the largest measured size.

        A call smaller than the smallest measured size costs as much as that one.
        """
        known = self.latency_s.get(batch)
        if known is not None:
            return known
        sizes = sorted(self.latency_s)
        if not 1 <= batch <= sizes[-1]:
            raise ValueError(f"batch must be 1 to {sizes[-1]} for variant {self.variant!r}, not {batch}")
        above = bisect_left(sizes, batch)
        if above == 0:
            return self.latency_s[sizes[0]]
        low, high = sizes[above - 1], sizes[above]
        weight = (batch - low) / (high - low)
        return (1 - weight) * self.latency_s[low] + weight * self.latency_s[high]

    def run_s(self, items: int, batch: int) -> float:
        """Seconds to infer `items` in calls of `batch`, the last one with what remains."""
        if batch == 1:
            return items * self.call_s(1)
        calls, remainder = divmod(items, batch)
        whole_s = calls * self.call_s(batch) if calls else 0.0
        return whole_s + (self.call_s(remainder) if remainder else 0.0)

    def run_variance_s2(self, items: int, batch: int) -> float:
        """Variance of `run_s`: calls scatter independently of one another. In seconds squared."""
        if not self.latency_stddev_s:
            return 0.0
        calls, remainder = divmod(items, batch)
        return calls * self._call_stddev_s(batch) ** 2 + (self._call_stddev_s(remainder) ** 2 if remainder else 0.0)

    def _call_stddev_s(self, batch: int) -> float:
        """That of the largest measured batch size up to `batch`, or of the smallest one."""
        sizes = sorted(self.latency_stddev_s)
        return self.latency_stddev_s[sizes[max(0, bisect_right(sizes, batch) - 1)]]


class Processor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What executes one inference at a time. Without watts its energy is not counted."""

    name: Name
    profiles: tuple[Profile, ...]
    idle_w: float | None = None
    active_w: float | None = None

    def __post_init__(self) -> None:
        refuse_unprintable("processor", self.name)
        _refuse_duplicates(f"profile on processor {self.name!r}", (p.variant for p in self.profiles))
        for name, watts in (("idle_w", self.idle_w), ("active_w", self.active_w)):
            if watts is not None:
                refuse_outside(f"processor {self.name!r}: {name}", watts, WATTS)
        if self.idle_w is not None and self.active_w is not None and self.active_w < self.idle_w:
            raise ValueError(f"processor {self.name!r}: active_w {self.active_w} is below idle_w {self.idle_w}")


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One board. Without `memory_bytes` every variant fits."""

    name: Name
    processors: tuple[Processor, ...]
    link: Link = Link()
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        refuse_unprintable("node", self.name)
        if "/" in self.name or "*" in self.name:
            raise ValueError(f"node name {self.name!r} must not contain '/' or '*'")
        if not self.processors:
            raise ValueError(f"node {self.name!r} has no processors")
        _refuse_duplicates(f"processor on node {self.name!r}", (p.name for p in self.processors))
        if self.memory_bytes is not None:
            refuse_outside(f"node {self.name!r}: memory_bytes", self.memory_bytes, BYTES)


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything that the planner knows: the variants of one family and the nodes that run them.

    `uplink_bytes_per_s` is the coordinator's own way out, which the inputs for all nodes share; free by default. What
    is infinite by default is left out when it is written, as JSON has no number for it.
    """

    family: Name
    variants: tuple[Variant, ...]
    nodes: tuple[Node, ...]
    uplink_bytes_per_s: float = math.inf

    def __post_init__(self) -> None:
        if self.uplink_bytes_per_s != math.inf:
            refuse_outside("uplink_bytes_per_s", self.uplink_bytes_per_s, BYTES_PER_S)
        self._refuse_sizes()
        _refuse_duplicates("variant", (v.name for v in self.variants))
        _refuse_duplicates("node", (n.name for n in self.nodes))
        known = {v.name for v in self.variants}
        for pid, processor in self.processors():
            for profile in processor.profiles:
                if profile.variant not in known:
                    raise ValueError(
                        f"processor {pid} has a profile of unknown variant {profile.variant!r}; "
                        f"known: {', '.join(sorted(known))}"
                    )
        if not any(processor.profiles for _, processor in self.processors()):
            raise ValueError("no processor of the cluster has a profile, so nothing can be run")

    def _refuse_sizes(self) -> None:
        """Nothing to plan with, or too much."""
        if not self.variants:
            raise ValueError("the cluster has no variants")
        if not self.nodes:
            raise ValueError("the cluster has no nodes")
        refuse_more("variants", len(self.variants), MOST_VARIANTS)
        refuse_more("nodes", len(self.nodes), MOST_NODES)
        processors = sum(len(node.processors) for node in self.nodes)
        refuse_more("pairs of processor and variant", processors * len(self.variants), MOST_PAIRS)

    def processors(self) -> Iterator[tuple[ProcessorId, Processor]]:
        """Every processor with its id, in the order of the description."""
        for node in self.nodes:
            for processor in node.processors:
                yield ProcessorId(node.name, processor.name), processor

    def variant(self, name: str) -> Variant:
        """The variant of that name. Raises KeyError."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)

    def node(self, name: str) -> Node:
        """The node of that name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def profile(self, pid: ProcessorId, variant: str) -> Profile:
        """What `variant` costs on processor `pid`. Raises KeyError."""
        for processor in self.node(pid.node).processors:
            if processor.name == pid.processor:
                for profile in processor.profiles:
                    if profile.variant == variant:
                        return profile
        raise KeyError(f"{variant} on {pid}")
