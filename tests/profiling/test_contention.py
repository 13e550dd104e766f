"""What processors that work at the same time cost each other: in a made-up time, and for real."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.core.family import Family
from equipoise.engines.processors import CPU_PROVIDER, LocalProcessor, usable_cpus
from equipoise.errors import ModelError
from equipoise.profiling.contention import contention
from equipoise.profiling.costs import call_cost_s
from equipoise.profiling.measure import Effort
from equipoise.profiling.probe import contention_apart

EFFORT = Effort(batch_s=0.1)
CPU = LocalProcessor(name="cpu")
GPU = LocalProcessor(name="gpu", provider="Made up")
BATCHES = {"cpu": 2, "gpu": 4}


class MadeUpTime:
    """A clock for each thread, which stands still but for inference."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def __call__(self) -> float:
        return getattr(self._of_thread, "now_s", 0.0)

    def pass_s(self, seconds: float) -> None:
        self._of_thread.now_s = self() + seconds


class MadeUpEngine:
    """Takes 10 ms alone, and so many times as long while another thread of the measuring is there."""

    fixed_batch = None
    runtime = "made up"

    def __init__(self, time: MadeUpTime, factor: float) -> None:
        self._time, self._factor, self._before = time, factor, threading.active_count()
        self.batches: set[int] = set()
        self.closed = False

    def infer(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        self.batches.add(len(batch))
        threads = threading.active_count() - self._before
        self._time.pass_s(0.010 * (self._factor if threads > 1 else 1.0))
        return np.zeros((len(batch), 4), dtype=np.float32)

    def close(self) -> None:
        self.closed = True


def made_up(monkeypatch: pytest.MonkeyPatch, time: MadeUpTime, factors: Mapping[str, float]) -> list[MadeUpEngine]:
    engines: list[MadeUpEngine] = []

    def load(_family: Family, _variant: str, processor: LocalProcessor) -> MadeUpEngine:
        engines.append(MadeUpEngine(time, factors[processor.name]))
        return engines[-1]

    monkeypatch.setattr("equipoise.profiling.contention.load_engine", load)
    return engines


def test_each_processor_has_its_own_factor(tiny_family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    time = MadeUpTime()
    engines = made_up(monkeypatch, time, {"cpu": 1.75, "gpu": 1.0})

    found = contention(tiny_family, "small", [CPU, GPU], BATCHES, clock=time, effort=EFFORT)

    assert found == pytest.approx({"cpu": 1.75, "gpu": 1.0})
    assert [engine.batches for engine in engines] == [{2}, {4}]
    assert all(engine.closed for engine in engines)


def test_who_seems_faster_in_company_is_taken_to_be_undisturbed(
    tiny_family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = MadeUpTime()
    made_up(monkeypatch, time, {"cpu": 0.9, "gpu": 1.0})

    assert contention(tiny_family, "small", [CPU, GPU], BATCHES, clock=time, effort=EFFORT)["cpu"] == 1.0


def test_a_call_that_takes_far_too_long_is_made_once_a_window(
    tiny_family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = MadeUpTime()
    made_up(monkeypatch, time, {"cpu": 3.0, "gpu": 3.0})

    found = contention(tiny_family, "small", [CPU, GPU], BATCHES, clock=time, effort=Effort(batch_s=0.004))

    assert found == pytest.approx({"cpu": 3.0, "gpu": 3.0})


def test_an_engine_that_fails_in_company_is_an_error_and_no_thread_is_left(
    tiny_family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    time, before = MadeUpTime(), threading.active_count()
    engines = made_up(monkeypatch, time, {"cpu": 1.0, "gpu": 1.0})

    def fail(self: MadeUpEngine, batch: NDArray[Any]) -> NDArray[np.float32]:
        time.pass_s(0.010)
        if self is engines[1] and threading.active_count() - before > 1:
            raise ModelError("no memory is left")
        return np.zeros((len(batch), 4), dtype=np.float32)

    monkeypatch.setattr(MadeUpEngine, "infer", fail)

    with pytest.raises(ModelError, match="no memory is left"):
        contention(tiny_family, "small", [CPU, GPU], BATCHES, clock=time, effort=EFFORT)
    assert threading.active_count() == before


def test_real_processors_are_measured_in_a_process_of_their_own(tiny_family: Family) -> None:
    parts = [LocalProcessor(name=f"cpu{part}", cpus=(cpu,)) for part, cpu in enumerate(usable_cpus()[:2])]

    found = contention_apart(tiny_family, "large", parts, {part.name: 2 for part in parts}, Effort(batch_s=0.02))

    assert found.keys() == {part.name for part in parts}
    assert all(factor >= 1.0 for factor in found.values())


def test_a_processor_that_cannot_run_it_is_an_error(tiny_family: Family) -> None:
    parts = [LocalProcessor(name="cpu"), LocalProcessor(name="none", provider="NoSuchProvider")]

    with pytest.raises(ModelError, match="NoSuchProvider"):
        contention_apart(tiny_family, "small", parts, {"cpu": 1, "none": 1}, Effort(batch_s=0.02))


def test_a_cpu_prepares_and_infers_in_turn_and_an_accelerator_is_prepared_for() -> None:
    cpu = LocalProcessor(name="cpu", provider=CPU_PROVIDER, threads=4)

    assert call_cost_s(cpu, infer_s=0.010, prepare_s=0.008) == pytest.approx(0.012)
    assert call_cost_s(GPU, infer_s=0.010, prepare_s=0.008) == 0.010
    assert call_cost_s(GPU, infer_s=0.010, prepare_s=0.030 * len(usable_cpus())) == pytest.approx(0.030)
