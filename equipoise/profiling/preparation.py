"""What it takes to prepare the very items that are going to be inferred."""

from __future__ import annotations

import time
from collections.abc import Sequence

from equipoise.core.family import Family, InputSpec
from equipoise.errors import InputError
from equipoise.families.preprocess import prepare
from equipoise.profiling.measure import Effort, prepare_time_s

_GLANCE = Effort(batch_s=0.05, fewest_calls=3, warm_up_calls=1)


def prepare_times_s(family: Family, samples: Sequence[bytes]) -> dict[str, float]:
    """Seconds to prepare one of these items on one thread, by variant; without those for which none can be prepared.

    samples   payloads as they would be sent; those that cannot be decoded are passed over
    """
    by_spec = {model.input: _prepare_time_s(samples, model.input) for model in family.models}
    found = {model.name: by_spec[model.input] for model in family.models}
    return {variant: seconds for variant, seconds in found.items() if seconds is not None}


def _prepare_time_s(samples: Sequence[bytes], spec: InputSpec) -> float | None:
    readable = [payload for payload in samples if _is_readable(payload, spec)]
    return prepare_time_s(readable, spec, clock=time.perf_counter, effort=_GLANCE) if readable else None


def _is_readable(payload: bytes, spec: InputSpec) -> bool:
    try:
        prepare(payload, spec)
    except InputError:
        return False
    return True
