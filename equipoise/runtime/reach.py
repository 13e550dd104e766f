"""Can this machine play the described boards? What is described is compared with what one core really needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import msgspec
import numpy as np

from equipoise.core.cluster import Cluster, Node, Processor, ProcessorId
from equipoise.core.family import Family
from equipoise.core.plan import Plan
from equipoise.engines.processors import LocalProcessor, usable_cpus
from equipoise.engines.registry import load_engine
from equipoise.errors import EmulationError, InputError
from equipoise.families.preprocess import prepare

_RUNS = 5
_USABLE = 0.9  # of the cores: the coordinator and the network need some as well
_STEADY = 0.8  # of a described time: what a call may really take, so that being held up now and then can be made up for


@dataclass(frozen=True, slots=True, kw_only=True)
class RealCost:
    """Seconds that one core of this machine needs for one item of a variant; both halves overlap."""

    prepare_s: float
    infer_s: float

    @property
    def item_s(self) -> float:
        """Seconds of work per item."""
        return self.prepare_s + self.infer_s


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfReach:
    """A pair that is described as faster than this machine can play it steadily."""

    pid: ProcessorId
    variant: str
    described_s: float  # per item
    real: RealCost

    def __str__(self) -> str:
        return (
            f"{self.variant} on {self.pid} is described as {_ms(self.described_s)} per item, but here decoding takes "
            f"{_ms(self.real.prepare_s)} and inference {_ms(self.real.infer_s)}"
        )


def measure_costs(family: Family, variants: Iterable[str], samples: Sequence[bytes]) -> dict[str, RealCost]:
    """What each variant really costs on one core of this machine, the best of a few runs over `samples`.

    samples   payloads of items, as they would be sent; those that cannot be decoded are passed over

    Raises ModelError if a variant cannot be run.
    """
    return {variant: _measure(family, variant, samples) for variant in variants}


def out_of_reach(cluster: Cluster, costs: Mapping[str, RealCost]) -> tuple[OutOfReach, ...]:
    """The pairs whose described speed this machine does not have, among the variants that were measured.

    A pair is in reach if decoding and inference, each on a core of its own, keep up with it in 80 % of the time.
    """
    found = []
    for pid, processor in cluster.processors():
        for profile in processor.profiles:
            real = costs.get(profile.variant)
            if real is not None and max(real.prepare_s, real.infer_s) > _STEADY * profile.item_s:
                found.append(OutOfReach(pid=pid, variant=profile.variant, described_s=profile.item_s, real=real))
    return tuple(found)


def without(cluster: Cluster, pairs: Collection[OutOfReach]) -> Cluster:
    """The cluster less these pairs; a processor may be left with no profile, and then gets no work.

    Raises EmulationError if nothing would be left.
    """
    excluded = {(pair.pid, pair.variant) for pair in pairs}
    if len(excluded) == sum(len(processor.profiles) for _, processor in cluster.processors()):
        raise EmulationError("this machine is too slow for every described processor: " + _listed(pairs))

    def slower(node: Node, processor: Processor) -> Processor:
        pid = ProcessorId(node.name, processor.name)
        kept = tuple(profile for profile in processor.profiles if (pid, profile.variant) not in excluded)
        return msgspec.structs.replace(processor, profiles=kept)

    nodes = tuple(
        msgspec.structs.replace(node, processors=tuple(slower(node, processor) for processor in node.processors))
        for node in cluster.nodes
    )
    return msgspec.structs.replace(cluster, nodes=nodes)


def check_reach(
    cluster: Cluster, family: Family, plan: Plan, samples: Sequence[bytes], *, cores: int | None = None
) -> tuple[OutOfReach, ...]:
    """Refuse a plan that this machine cannot play; otherwise the pairs that a later plan must leave alone.

    The pairs of the plan together must not need more than 90 % of the cores.
    Raises EmulationError with the figures described and measured.
    """
    costs = measure_costs(family, (variant.name for variant in cluster.variants), samples)
    unreachable = out_of_reach(cluster, costs)
    used = {(share.pid, share.variant) for share in plan.shares}
    refused = [pair for pair in unreachable if (pair.pid, pair.variant) in used]
    if refused:
        raise EmulationError("this machine is too slow to play the plan: " + _listed(refused))
    _refuse_too_much(plan, costs, cores or len(usable_cpus()))
    return unreachable


def _refuse_too_much(plan: Plan, costs: Mapping[str, RealCost], cores: int) -> None:
    work_s = sum(share.items * costs[share.variant].item_s for share in plan.shares)
    if work_s > _USABLE * cores * plan.latency_s:
        raise EmulationError(
            f"this machine is too slow to play the plan: {plan.items} items need {work_s:.2f} s of decoding and "
            f"inference here, but {cores} cores have {_USABLE * cores * plan.latency_s:.2f} s to spare within the "
            f"planned {plan.latency_s:.2f} s; give a longer deadline, fewer boards or slower ones"
        )


def _measure(family: Family, variant: str, samples: Sequence[bytes]) -> RealCost:
    spec = family.model(variant).input
    tensor = np.zeros(spec.item_shape, dtype=spec.dtype)
    prepare_s: list[float] = []
    for payload in samples:
        with suppress(InputError):
            tensor = prepare(payload, spec)
            prepare_s.append(_best_s(partial(prepare, payload, spec)))
    engine = load_engine(family, variant, LocalProcessor(name="one-core", threads=1))
    try:
        infer_s = _best_s(partial(engine.infer, tensor[np.newaxis]))
    finally:
        engine.close()
    return RealCost(prepare_s=fmean(prepare_s) if prepare_s else 0.0, infer_s=infer_s)


def _best_s(work: Callable[[], object]) -> float:
    """What the machine can do: whatever else it does only ever adds."""
    return min(_seconds(work) for _ in range(_RUNS))


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _listed(pairs: Iterable[OutOfReach]) -> str:
    return "; ".join(map(str, pairs))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
