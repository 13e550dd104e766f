"""What it takes to prepare the very items that are going to be inferred."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from equipoise.core.family import Family, InputSpec
from equipoise.errors import InputError
from equipoise.families.preprocess import blank, fitted, prepare
from equipoise.profiling.measure import Effort, prepare_time_s

_GLANCE = Effort(batch_s=0.05, fewest_calls=3, warm_up_calls=1)
_LONG_S = 0.2  # once preparing some samples has taken so long, no more of them are looked at, and none twice


def prepare_times_s(
    family: Family, samples: Sequence[bytes], *, fits: bool = False, left_out: int = 0
) -> dict[str, float]:
    """Seconds to prepare one of these items on one thread, by variant; without those for which none can be prepared.

    samples    payloads as they would be sent; those that cannot be decoded are passed over
    fits       those that are larger than one fitted to the variant's input would be sent fitted
    left_out   so many more would be sent fitted
    """
    by_spec = {model.input: _mean_s(samples, model.input, fits, left_out) for model in family.models}
    found = {model.name: by_spec[model.input] for model in family.models}
    return {variant: seconds for variant, seconds in found.items() if seconds is not None}


def fit_times_s(samples: Sequence[bytes], spec: InputSpec) -> list[float]:
    """Seconds that each of these items took to be fitted to an input, of those that can be; the first ones may do."""
    return list(_first_times_s(samples, lambda payload: fitted(payload, spec)).values())


def _mean_s(samples: Sequence[bytes], spec: InputSpec, fits: bool, left_out: int) -> float | None:
    as_they_are = [payload for payload in samples if not fits or len(payload) <= len(blank(spec))]
    fitted_items = left_out + len(samples) - len(as_they_are)
    prepare_s = _prepare_time_s(as_they_are, spec)
    if not fitted_items:
        return prepare_s
    fitted_s = prepare_time_s([blank(spec)], spec, clock=time.perf_counter, effort=_GLANCE)
    if prepare_s is None:
        return fitted_s
    return (fitted_items * fitted_s + len(as_they_are) * prepare_s) / (fitted_items + len(as_they_are))


def _prepare_time_s(samples: Sequence[bytes], spec: InputSpec) -> float | None:
    first_s = _first_times_s(samples, lambda payload: prepare(payload, spec))
    if not first_s:
        return None
    if sum(first_s.values()) >= _LONG_S:
        return sum(first_s.values()) / len(first_s)
    return prepare_time_s(list(first_s), spec, clock=time.perf_counter, effort=_GLANCE)


def _first_times_s(samples: Sequence[bytes], work: Callable[[bytes], object]) -> dict[bytes, float]:
    """Seconds of the first time, by sample; without those that cannot be read."""
    seconds: dict[bytes, float] = {}
    for payload in samples:
        began_s = time.perf_counter()
        try:
            work(payload)
        except InputError:
            continue
        seconds[payload] = time.perf_counter() - began_s
        if sum(seconds.values()) >= _LONG_S:
            break
    return seconds
