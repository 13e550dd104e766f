from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from equipoise.core.cluster import ProcessorId
from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor, usable_cpus, whole_cpu
from equipoise.errors import ModelError
from equipoise.profiling.local import (
    TOGETHER,
    LocalProfiles,
    known_here,
    local_cluster,
    local_node,
    profile_here,
    steps_known,
    steps_of,
)
from equipoise.profiling.measure import Effort, Measurement
from equipoise.profiling.statistics import CallTimes
from equipoise.profiling.store import ProfileStore

QUICK = Effort(batch_s=0.01, most_calls=10, loads=1, largest_batch=2)
CPU = LocalProcessor(name="cpu", threads=4)
GPU = LocalProcessor(name="cuda", provider="CUDAExecutionProvider")
MISSING = LocalProcessor(name="missing", provider="NoSuchProvider")


def measurement(*, call_s: dict[int, float], prepare_s: float = 0.0) -> Measurement:
    calls = {
        batch: CallTimes(calls=9, median_s=s, stddev_s=s / 10, p90_s=s, p95_s=s, p99_s=s) for batch, s in call_s.items()
    }
    return Measurement(runtime="any", calls=calls, looped=False, load_s=0.2, memory_bytes=5000, prepare_s=prepare_s)


def profiles(**measured: Measurement) -> LocalProfiles:
    """Of the variants "small" and "large" on the processor of each name."""
    pairs = {(name, variant): figures for name, figures in measured.items() for variant in ("small", "large")}
    return LocalProfiles(measured=pairs, failures={})


def test_what_is_known_is_not_measured_again_unless_asked(tiny_family: Family, tmp_path: Path):
    store = ProfileStore(tmp_path)
    had_to_be_measured: list[bool] = []

    def on_pair(processor: str, variant: str, measured: bool) -> None:
        had_to_be_measured.append(measured)

    first = profile_here(tiny_family, [whole_cpu()], store, effort=QUICK, on_pair=on_pair, variants=["small"])
    second = profile_here(tiny_family, [whole_cpu()], store, effort=QUICK, on_pair=on_pair)
    profile_here(tiny_family, [whole_cpu()], store, effort=QUICK, on_pair=on_pair, variants=["small"], again=True)

    assert had_to_be_measured == [True, False, True, True]
    assert second.measured["cpu", "small"] == first.measured["cpu", "small"]
    assert known_here(tiny_family, [whole_cpu()], store).keys() == {("cpu", "small"), ("cpu", "large")}


def test_a_processor_that_runs_nothing_is_reported_and_the_others_are_measured(tiny_family: Family, tmp_path: Path):
    found = profile_here(tiny_family, [whole_cpu(), MISSING], ProfileStore(tmp_path), effort=QUICK, variants=["small"])

    assert found.measured.keys() == {("cpu", "small")}
    assert "NoSuchProvider" in found.failures["missing", "small"]


def test_a_machine_that_runs_no_variant_at_all_is_an_error(tiny_family: Family, tmp_path: Path):
    with pytest.raises(ModelError, match=r"no variant of family 'tiny' runs here.*NoSuchProvider"):
        profile_here(tiny_family, [MISSING], ProfileStore(tmp_path), effort=QUICK)


def test_a_cpu_infers_and_prepares_with_the_same_cores(tiny_family: Family):
    found = profiles(cpu=measurement(call_s={1: 0.010, 4: 0.020}, prepare_s=0.004))

    profile = local_node(tiny_family, [CPU], found).processors[0].profiles[0]

    assert profile.latency_s == pytest.approx({1: 0.010 + 0.004 / 4, 4: 0.020 + 4 * 0.004 / 4})
    assert profile.latency_stddev_s == pytest.approx({1: 0.001, 4: 0.002})
    assert (profile.load_s, profile.memory_bytes) == (0.2, 5000)


def test_beside_an_accelerator_the_slower_of_inference_and_preparation_counts(tiny_family: Family):
    cores = len(usable_cpus())
    found = profiles(cuda=measurement(call_s={1: 0.010, 8: 0.011}, prepare_s=0.008 * cores))

    profile = local_node(tiny_family, [GPU], found).processors[0].profiles[0]

    assert profile.latency_s == pytest.approx({1: 0.010, 8: 8 * 0.008})


def test_what_is_known_of_the_very_items_goes_before_the_sample(tiny_family: Family):
    found = profiles(cpu=measurement(call_s={1: 0.010}, prepare_s=4.0))

    small, large = local_node(tiny_family, [CPU], found, prepare_s={"small": 0.004}).processors[0].profiles

    assert small.latency_s == pytest.approx({1: 0.011})
    assert large.latency_s == pytest.approx({1: 1.010})


def test_this_machine_is_a_cluster_of_one_node_with_every_pair_that_runs(tiny_family: Family):
    found = LocalProfiles(
        measured={("cpu", "small"): measurement(call_s={1: 0.01}), ("cuda", "large"): measurement(call_s={1: 0.02})},
        failures={},
    )

    cluster = local_cluster(tiny_family, [CPU, GPU], found)

    (node,) = cluster.nodes
    assert {variant.name for variant in cluster.variants} == {"small", "large"}
    assert cluster.profile(ProcessorId(node.name, "cuda"), "large").item_s == pytest.approx(0.02)
    assert [len(processor.profiles) for processor in node.processors] == [1, 1]


def test_a_host_name_that_no_node_may_have_is_made_one(tiny_family: Family, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.node", lambda: "odd/host*name")

    assert local_node(tiny_family, [CPU], profiles(cpu=measurement(call_s={1: 0.01}))).name == "odd-host-name"


CPUS = [LocalProcessor(name=f"cpu{part}", cpus=usable_cpus()[:1]) for part in range(2)]


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Variants that were measured together, in that order; the factors are made up."""
    variants: list[str] = []

    def made_up(_family: Family, variant: str, *_: object) -> dict[str, float]:
        variants.append(variant)
        if variant == "large":
            raise ModelError("the memory is full")
        return {"cpu0": 1.5, "cpu1": 1.25}

    monkeypatch.setattr("equipoise.profiling.together.contention_apart", made_up)
    return variants


def test_what_processors_cost_each_other_is_measured_once_and_kept(
    tiny_family: Family, tmp_path: Path, together: list[str]
):
    store, steps = ProfileStore(tmp_path), []

    def profile(**options: bool) -> LocalProfiles:
        steps.clear()
        return profile_here(tiny_family, CPUS, store, effort=QUICK, on_pair=lambda *step: steps.append(step), **options)

    assert steps_known(tiny_family, CPUS, store) == 0
    first, second = profile(), profile()

    assert {pair: found.contention for pair, found in first.measured.items()} == {
        ("cpu0", "small"): 1.5, ("cpu1", "small"): 1.25, ("cpu0", "large"): 2.0, ("cpu1", "large"): 2.0,
    }  # fmt: skip
    assert first.failures == {(TOGETHER, "large"): "the memory is full"}
    assert second.measured == first.measured
    assert together == ["small", "large", "large"]
    assert len(steps) == steps_of(tiny_family, CPUS) == 6
    assert steps_known(tiny_family, CPUS, store) == 5
    known = known_here(tiny_family, CPUS, store)
    assert {pair: one.contention for pair, one in known.items()} == {("cpu0", "small"): 1.5, ("cpu1", "small"): 1.25}
    assert known_here(tiny_family, CPUS[:1], store).keys() == {("cpu0", "small"), ("cpu0", "large")}
    profile(again=True)
    assert together[-2:] == ["small", "large"]


def test_a_processor_that_is_alone_has_nobody_to_cost_it_anything(
    tiny_family: Family, tmp_path: Path, together: list[str]
):
    store = ProfileStore(tmp_path)

    found = profile_here(tiny_family, [CPUS[0], MISSING], store, effort=QUICK, variants=["small"])

    assert (found.measured["cpu0", "small"].contention, together) == (1.0, [])


def test_plans_are_made_with_what_calls_take_together(tiny_family: Family):
    alone = measurement(call_s={1: 0.010, 4: 0.020}, prepare_s=0.004)

    found = profiles(cpu=msgspec.structs.replace(alone, contention=1.5))
    profile = local_node(tiny_family, [CPU], found).processors[0].profiles[0]

    assert profile.latency_s == pytest.approx({1: 1.5 * 0.011, 4: 1.5 * 0.024})
    assert profile.latency_stddev_s == pytest.approx({1: 1.5 * 0.001, 4: 1.5 * 0.002})
    assert (profile.contention, profile.load_s) == (1.5, 0.2)
