from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

from equipoise.core.cluster import Cluster
from equipoise.core.family import Accuracy, Family
from equipoise.engines.processors import whole_cpu
from equipoise.families.demo import demo_folder
from equipoise.families.evaluate import evaluate
from equipoise.families.labels import load_labels
from equipoise.families.manifest import load_family

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def demo() -> Family:
    return load_family(demo_folder())


@pytest.fixture(scope="module")
def boards() -> Cluster:
    return msgspec.json.decode((demo_folder() / "boards.json").read_bytes(), type=Cluster)


def accuracies(family: Family) -> dict[str, Accuracy]:
    return {model.name: model.accuracy for model in family.models if model.accuracy is not None}


def test_accuracies_in_the_manifest_are_what_the_models_do_on_the_held_out_digits(demo: Family):
    labels = load_labels(demo_folder() / "digits-heldout-labels.csv", demo)

    found = evaluate(demo, labels, whole_cpu(), dataset="digits held-out", measured_on="2026-01-01")

    assert found.unreadable == {}
    for name, stated in accuracies(demo).items():
        # Another CPU rounds sums differently, which may turn a digit or two that the model is in two minds about.
        assert found.accuracy[name].value == pytest.approx(stated.value, abs=2.5 / stated.items)
        assert found.accuracy[name].items == stated.items == 599


def test_the_ladder_is_long_and_its_rungs_are_apart(demo: Family):
    values = sorted(accuracy.value for accuracy in accuracies(demo).values())

    assert len(demo.models) == len(values) >= 5
    assert values[-1] - values[0] >= 0.10
    assert values[0] < 0.88
    assert values[-1] > 0.98
    assert len({model.input.size_px for model in demo.models}) > 1
    assert {model.precision for model in demo.models} == {"fp32", "int8"}


def test_the_held_out_digits_are_of_every_class_in_equal_parts(demo: Family):
    digits = np.load(demo_folder() / "digits-heldout.npy")
    counts = Counter(load_labels(demo_folder() / "digits-heldout-labels.csv", demo).values())

    assert (digits.shape, digits.dtype) == ((599, 32, 32), np.uint8)
    assert counts.keys() == set(range(10))
    assert max(counts.values()) - min(counts.values()) <= 4


def test_it_is_small_enough_to_be_shipped():
    assert sum(file.stat().st_size for file in demo_folder().iterdir() if file.is_file()) < 5_000_000


def test_the_boards_know_the_variants_and_their_accuracy(demo: Family, boards: Cluster):
    assert [node.name for node in boards.nodes] == ["odroid-xu4", "raspberry-pi-4", "jetson-nano"]
    assert [len(node.processors) for node in boards.nodes] == [1, 1, 2]
    stated = {name: (accuracy.value, accuracy.items) for name, accuracy in accuracies(demo).items()}
    assert {v.name: (v.accuracy, v.accuracy_items) for v in boards.variants} == stated


def test_the_boards_are_slow_enough_to_be_emulated_and_quick_enough_to_watch(boards: Cluster):
    for _, processor in boards.processors():
        for profile in processor.profiles:
            assert 0.002 <= profile.item_s <= 0.070


def test_the_gpu_runs_no_int8_and_every_cpu_does(demo: Family, boards: Cluster):
    int8 = {model.name for model in demo.models if model.precision == "int8"}
    for pid, processor in boards.processors():
        variants = {profile.variant for profile in processor.profiles}
        assert int8.isdisjoint(variants) if pid.processor == "gpu" else int8 <= variants


def test_the_shipped_boards_are_what_their_script_makes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.setattr("sys.argv", ["make_demo_boards.py", "--check"])
    import make_demo_boards

    make_demo_boards.main()


def test_every_design_of_the_training_script_is_shipped(demo: Family):
    tree = ast.parse((TOOLS / "train_demo_family.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Design"]
    designs = [{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords} for call in calls]

    expected = {f"d{d['depth']}w{d['width']}-{d['size_px']}" for d in designs}
    assert {model.name.removesuffix("-int8") for model in demo.models} == expected
