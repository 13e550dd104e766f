"""Measures what a variant costs on a processor of this machine: time per call, time to load, memory.

What is timed is what a node does: `Engine.infer` on prepared items of one batch. Preparing an item (decoding,
resizing) is timed on its own, because a node overlaps it. Run it in a process of its own (`probe`): memory
that an earlier model freed would hide what the next one needs.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from equipoise.core.family import Family, InputSpec
from equipoise.engines.base import Engine
from equipoise.engines.processors import LocalProcessor
from equipoise.engines.registry import load_engine
from equipoise.errors import ModelError
from equipoise.families.preprocess import pack_array, prepare
from equipoise.profiling.statistics import CallTimes, is_settled, summarise

Clock = Callable[[], float]

SAMPLE_IMAGE_PX = 256


class Measurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one variant cost on one processor.

    `calls` is by batch size. `looped` says that the model file takes one batch size only, so that larger
    batches are looped over and were not measured. `load_s` is from the file to the first answer.
    `prepare_s` is one item on one thread, for images a JPEG of 256 x 256. All of this is of a processor that works
    alone; while the others of its node do, too, a call takes `contention` times as long.
    """

    runtime: str
    calls: dict[int, CallTimes]
    looped: bool
    load_s: float
    memory_bytes: int
    prepare_s: float
    contention: float = 1.0

    @property
    def best_batch(self) -> int:
        """The batch size with the fewest seconds per item."""
        return min(sorted(self.calls), key=lambda batch: self.calls[batch].median_s / batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to measure: until the median of a batch size is settled within `tolerance`, or `batch_s` is over.

    Batch sizes double up to `largest_batch` while seconds per item fall by `gain` or more; `patience` sizes in
    a row may fail to do so, because one size may just be an awkward one.
    """

    tolerance: float = 0.02
    batch_s: float = 0.5
    fewest_calls: int = 7
    most_calls: int = 500
    warm_up_calls: int = 3
    loads: int = 3
    gain: float = 0.03
    patience: int = 2
    largest_batch: int = 64
    longest_call_s: float = 0.5


def measure(family: Family, variant: str, processor: LocalProcessor, *, clock: Clock, effort: Effort) -> Measurement:
    """Measure one variant on one processor. Raises KeyError and ModelError as `load_engine` does."""
    spec = family.model(variant).input
    payload = sample_payload(spec)
    item = prepare(payload, spec)
    resident_bytes = _resident_bytes()
    engine, load_s = _loaded(lambda: load_engine(family, variant, processor), item, clock, effort)
    try:
        calls = batch_curve(engine, item, clock, effort)
        return Measurement(
            runtime=engine.runtime,
            calls=calls,
            looped=engine.fixed_batch is not None,
            load_s=load_s,
            memory_bytes=max(0, _resident_bytes() - resident_bytes),
            prepare_s=prepare_time_s([payload], spec, clock=clock, effort=effort),
        )
    finally:
        engine.close()


def prepare_time_s(payloads: Sequence[bytes], spec: InputSpec, *, clock: Clock, effort: Effort) -> float:
    """Median seconds to prepare one of these payloads on one thread. Raises InputError as `prepare` does."""

    def prepare_all() -> None:
        for payload in payloads:
            prepare(payload, spec)

    return statistics.median(time_calls(prepare_all, clock, effort)) / len(payloads)


def batch_curve(engine: Engine, item: NDArray[Any], clock: Clock, effort: Effort) -> dict[int, CallTimes]:
    """Times per call by batch size, for as many sizes as pay."""
    curve: dict[int, CallTimes] = {}
    best_item_s, misses = float("inf"), 0
    for batch in _sizes(engine.fixed_batch, effort.largest_batch):
        items = np.stack([item] * batch)
        try:
            curve[batch] = summarise(time_calls(lambda items=items: engine.infer(items), clock, effort))  # type: ignore[misc]
        except ModelError:
            if not curve:
                raise
            break  # too large for the device's memory; what fits is known
        item_s = curve[batch].median_s / batch
        misses = 0 if item_s <= best_item_s * (1 - effort.gain) else misses + 1
        best_item_s = min(best_item_s, item_s)
        if misses == effort.patience or 2 * curve[batch].median_s > effort.longest_call_s:
            break
    return curve


def time_calls(call: Callable[[], object], clock: Clock, effort: Effort) -> list[float]:
    """Seconds of each call, after a warm-up, until their median is settled or the time for it is over.

    There are never fewer than `fewest_calls`, however long they take.
    """
    _repeat(call, clock, effort.warm_up_calls, effort.batch_s)
    started_s = clock()
    seconds: list[float] = []
    while len(seconds) < effort.most_calls:
        before_s = clock()
        call()
        now_s = clock()
        seconds.append(now_s - before_s)
        if len(seconds) < effort.fewest_calls:
            continue
        if is_settled(seconds, effort.tolerance) or now_s - started_s > effort.batch_s:
            break
    return seconds


def sample_payload(spec: InputSpec) -> bytes:
    """An item as a user might send it: a JPEG photograph's stand-in, or the tensor itself. Always the same."""
    random = np.random.default_rng(0)
    if spec.kind == "tensor":
        return pack_array(random.integers(0, 127, spec.item_shape).astype(spec.dtype))
    # Enlarged noise has about the detail of a photograph; pure noise would take far longer to decode.
    small = Image.fromarray(random.integers(0, 256, (SAMPLE_IMAGE_PX // 8, SAMPLE_IMAGE_PX // 8, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize((SAMPLE_IMAGE_PX, SAMPLE_IMAGE_PX), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _loaded(load: Callable[[], Engine], item: NDArray[Any], clock: Clock, effort: Effort) -> tuple[Engine, float]:
    """An engine that has answered once, and the median seconds until that over fresh loads."""
    seconds: list[float] = []
    while True:
        before_s = clock()
        engine = load()
        engine.infer(item[np.newaxis])
        seconds.append(clock() - before_s)
        if len(seconds) == effort.loads or sum(seconds) > effort.loads * effort.longest_call_s:
            return engine, statistics.median(seconds)
        engine.close()


def _repeat(call: Callable[[], object], clock: Clock, times: int, most_s: float) -> None:
    started_s = clock()
    for _ in range(times):
        call()
        if clock() - started_s > most_s:
            return


def _sizes(fixed_batch: int | None, largest: int) -> Iterator[int]:
    if fixed_batch is not None:
        yield fixed_batch
        return
    batch = 1
    while batch <= largest:
        yield batch
        batch *= 2


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
