"""How much longer calls take while the other processors of the node are at work: each alone, then all together.

Cores share caches, memory and heat; an accelerator shares the CPU that prepares its items. As in a node, all processors
are threads of one process, each with its own engine, and a call is what a node does for it: preparing and inferring. To
see what is shared rather than what else the machine does meanwhile, alone and together take turns. Run it in a process
of its own (`probe`).
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from equipoise.core.family import Family, InputSpec
from equipoise.engines.base import Engine
from equipoise.engines.processors import LocalProcessor, pinned
from equipoise.engines.registry import load_engine
from equipoise.families.preprocess import prepare
from equipoise.profiling.costs import call_cost_s
from equipoise.profiling.measure import Clock, Effort, sample_payload

_ROUNDS = 3
_WINDOW = 0.5  # of the time that the measuring of a batch size may take
_LONG = 4  # windows: a call that takes so long need not be repeated in each
_FEWEST_CALLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One processor's part: an engine, and the batch that it is given again and again."""

    processor: LocalProcessor
    engine: Engine
    payloads: Sequence[bytes]
    spec: InputSpec

    def cost_s(self, clock: Clock) -> float:
        """What a call costs now."""
        began_s = clock()
        items = np.stack([prepare(payload, self.spec) for payload in self.payloads])
        prepared_s = clock()
        self.engine.infer(items)
        return call_cost_s(self.processor, infer_s=clock() - prepared_s, prepare_s=prepared_s - began_s)


def contention(
    family: Family,
    variant: str,
    processors: Sequence[LocalProcessor],
    batches: Mapping[str, int],
    *,
    clock: Clock,
    effort: Effort,
) -> dict[str, float]:
    """By name of each processor: how many times longer a call takes while the others do the same, at least 1.

    batches   by name of the processor, the items of a call

    The median, over the rounds, of the ratio of medians. Raises KeyError and ModelError as `load_engine` does.
    """
    spec = family.model(variant).input
    payload = sample_payload(spec)
    with ExitStack() as loaded:
        parts = [
            _Part(
                processor=processor,
                engine=loaded.enter_context(closing(load_engine(family, variant, processor))),
                payloads=[payload] * batches[processor.name],
                spec=spec,
            )
            for processor in processors
        ]
        for part in parts:
            _window([part], clock, effort)  # the first calls are slower
        rounds = [_round(parts, clock, effort) for _ in range(_ROUNDS)]
    return {
        part.processor.name: max(1.0, statistics.median(ratios)) for part, *ratios in zip(parts, *rounds, strict=True)
    }


def _round(parts: Sequence[_Part], clock: Clock, effort: Effort) -> list[float]:
    """By part, what a call costs together over what it costs alone."""
    alone = [_window([part], clock, effort)[0] for part in parts]
    together = _window(parts, clock, effort)
    return [both / one for both, one in zip(together, alone, strict=True)]


def _window(parts: Sequence[_Part], clock: Clock, effort: Effort) -> list[float]:
    """By part, the median cost of a call while all of these are at work all the time."""
    costs: list[list[float]] = [[] for _ in parts]
    begin, over = threading.Barrier(len(parts)), threading.Event()

    def work(part: _Part, own: list[float]) -> None:
        with pinned(part.processor.cpus):
            begin.wait()
            began_s = clock()
            try:
                while not over.is_set():
                    cost_s = part.cost_s(clock)
                    if over.is_set():
                        break  # the others have stopped meanwhile
                    own.append(cost_s)
                    windows = (clock() - began_s) / (_WINDOW * effort.batch_s)
                    fewest = min(map(len, costs))
                    if windows > 1 and fewest >= (_FEWEST_CALLS if windows < _LONG else 1):
                        over.set()
            finally:
                over.set()

    with ThreadPoolExecutor(len(parts)) as threads:
        list(threads.map(work, parts, costs))
    return [statistics.median(own) for own in costs]
