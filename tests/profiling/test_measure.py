from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.core.family import Family, InputSpec
from equipoise.engines.base import Floats
from equipoise.engines.processors import LocalProcessor, whole_cpu
from equipoise.errors import ModelError
from equipoise.families.preprocess import prepare
from equipoise.profiling.measure import Effort, batch_curve, measure, sample_payload, time_calls
from equipoise.profiling.probe import measure_apart

QUICK = Effort(batch_s=0.01, most_calls=10, loads=1, largest_batch=2)
ITEM = np.zeros(3, dtype=np.float32)


@dataclass
class VirtualMachine:
    """A clock, and an engine whose calls move it on by what `call_s` says of their batch."""

    call_s: Callable[[int], float]
    fixed_batch: int | None = None
    most_items: int = 10**6
    now_s: float = 0.0
    batches: list[int] = field(default_factory=list)
    runtime: str = "virtual"

    def clock(self) -> float:
        return self.now_s

    def infer(self, batch: NDArray[Any]) -> Floats:
        if len(batch) > self.most_items:
            raise ModelError("out of memory")
        self.batches.append(len(batch))
        self.now_s += self.call_s(len(batch))
        return np.zeros((len(batch), 1), dtype=np.float32)

    def close(self) -> None:
        pass


def curve_of(machine: VirtualMachine, effort: Effort | None = None) -> dict[int, float]:
    calls = batch_curve(machine, ITEM, machine.clock, effort or Effort())
    return {batch: times.median_s for batch, times in calls.items()}


def test_batches_grow_while_they_pay():
    machine = VirtualMachine(call_s=lambda batch: 0.001 if batch <= 16 else 0.001 * batch / 16)

    assert list(curve_of(machine)) == [1, 2, 4, 8, 16, 32, 64]


def test_two_sizes_in_a_row_that_do_not_pay_end_the_growth():
    machine = VirtualMachine(call_s=lambda batch: 0.001 * batch)

    assert curve_of(machine) == pytest.approx({1: 0.001, 2: 0.002, 4: 0.004})


def test_one_awkward_size_does_not_end_the_growth():
    machine = VirtualMachine(call_s=lambda batch: 0.004 if batch == 2 else 0.001)

    assert list(curve_of(machine))[:4] == [1, 2, 4, 8]


def test_no_batch_is_tried_that_would_take_longer_than_allowed():
    machine = VirtualMachine(call_s=lambda batch: 0.3 * batch**0.9)

    assert list(curve_of(machine, Effort(longest_call_s=1.0))) == [1, 2]


def test_a_model_of_one_batch_size_is_measured_at_that_size_alone():
    machine = VirtualMachine(call_s=lambda batch: 0.001, fixed_batch=1)

    assert curve_of(machine) == {1: pytest.approx(0.001)}
    assert set(machine.batches) == {1}


def test_a_batch_that_does_not_fit_ends_the_growth_but_not_the_measurement():
    machine = VirtualMachine(call_s=lambda batch: 0.001, most_items=4)

    assert list(curve_of(machine)) == [1, 2, 4]


def test_a_model_that_cannot_infer_one_item_is_an_error():
    with pytest.raises(ModelError, match="out of memory"):
        curve_of(VirtualMachine(call_s=lambda batch: 0.001, most_items=0))


def test_steady_calls_need_few_repeats():
    machine = VirtualMachine(call_s=lambda batch: 0.001)

    seconds = time_calls(lambda: machine.infer(ITEM[np.newaxis]), machine.clock, Effort(fewest_calls=7))

    assert len(seconds) == 7


def test_scattered_calls_are_repeated_until_the_time_is_over():
    machine = VirtualMachine(call_s=lambda batch: 0.001 * (1 + len(machine.batches) % 5))

    seconds = time_calls(lambda: machine.infer(ITEM[np.newaxis]), machine.clock, Effort(tolerance=1e-9, batch_s=0.3))

    assert 0.3 <= sum(seconds) <= 0.31


def test_even_slow_calls_are_repeated_before_they_are_believed():
    machine = VirtualMachine(call_s=lambda batch: 20.0)

    seconds = time_calls(lambda: machine.infer(ITEM[np.newaxis]), machine.clock, Effort(fewest_calls=7))

    assert len(seconds) == 7


@pytest.mark.parametrize("size_px", [8, 300])
def test_the_sample_is_an_item_that_any_image_model_takes(size_px: int):
    spec = InputSpec(kind="image", tensor="image", dtype="uint8", size_px=size_px)

    assert prepare(sample_payload(spec), spec).shape == spec.item_shape
    assert sample_payload(spec) == sample_payload(spec)


def test_the_sample_of_a_tensor_model_has_its_shape_and_dtype():
    spec = InputSpec(kind="tensor", tensor="features", dtype="float32", shape=(5, 2))

    item = prepare(sample_payload(spec), spec)

    assert (item.shape, item.dtype) == ((5, 2), np.float32)


def test_a_real_variant_is_measured_in_this_process_and_in_one_of_its_own(tiny_family: Family):
    here = measure(tiny_family, "small", whole_cpu(), clock=time.perf_counter, effort=QUICK)
    apart = measure_apart(tiny_family, "small", whole_cpu(), QUICK)

    assert list(here.calls) == list(apart.calls) == [1, 2]
    assert here.runtime == apart.runtime
    assert not apart.looped
    assert apart.load_s > 0
    assert apart.prepare_s > 0
    assert apart.memory_bytes > 0


def test_a_model_that_cannot_be_loaded_is_an_error_here_not_a_dead_process(tiny_family: Family):
    with pytest.raises(ModelError, match="NoSuchProvider"):
        measure_apart(tiny_family, "small", LocalProcessor(name="odd", provider="NoSuchProvider"), QUICK)


def test_a_process_that_dies_is_an_error_that_says_how(
    tiny_family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho 'last words' >&2\nkill -9 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(dying))

    with pytest.raises(ModelError, match=r"signal 9; perhaps it was out of memory.*last words"):
        measure_apart(tiny_family, "small", whole_cpu(), QUICK)
