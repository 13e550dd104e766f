from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equipoise.core.accuracy import wilson_interval
from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import InputError
from equipoise.families.evaluate import BATCH_ITEMS, Evaluation, evaluate
from equipoise.families.items import item_key
from equipoise.families.labels import load_labels
from equipoise.families.manifest import load_family

SHARED = Path(__file__).parents[3] / "shared/data"
IMAGES = SHARED / "images/nips17-imagenet-750"

CPU = LocalProcessor(name="cpu")


def measure(family: Family, labels: dict[str, int], **options: object) -> Evaluation:
    return evaluate(family, labels, CPU, dataset="grey", measured_on="2026-01-31", **options)  # type: ignore[arg-type]


@pytest.fixture
def greys(tmp_path: Path) -> list[str]:
    """Nineteen images; number i has grey level 32 + 64 * (i % 4), which the tiny family calls class i % 4."""
    names = []
    for number in range(2 * BATCH_ITEMS + 3):
        Image.new("L", (10, 12), 32 + 64 * (number % 4)).save(tmp_path / f"{number:02}.png")
        names.append(item_key(str(tmp_path / f"{number:02}.png")))
    return names


def test_a_model_that_is_always_right_has_accuracy_1(tiny_family: Family, greys: list[str]):
    evaluation = measure(tiny_family, {name: number % 4 for number, name in enumerate(greys)})

    assert not evaluation.unreadable
    for variant in ("small", "large"):
        accuracy = evaluation.accuracy[variant]
        assert (accuracy.value, accuracy.top5, accuracy.items) == (1.0, 1.0, 19)
        assert (accuracy.dataset, accuracy.measured_on) == ("grey", "2026-01-31")
        assert accuracy.interval == pytest.approx(wilson_interval(19, 19), abs=1e-6)


def test_wrong_answers_count_and_top_5_of_four_classes_has_them_all(tiny_family: Family, greys: list[str]):
    evaluation = measure(tiny_family, dict.fromkeys(greys, 0))  # right for 0, 4, 8, 12 and 16

    accuracy = evaluation.accuracy["small"]
    assert accuracy.value == pytest.approx(5 / 19, abs=1e-6)
    assert accuracy.top5 == 1.0


def test_only_the_named_variants_are_measured(tiny_family: Family, greys: list[str]):
    assert list(measure(tiny_family, dict.fromkeys(greys, 0), variants=["large"]).accuracy) == ["large"]


def test_items_that_cannot_be_read_are_left_out_and_named(tiny_family: Family, greys: list[str]):
    Path(greys[3]).write_bytes(b"rubbish")
    Path(greys[5]).unlink()

    evaluation = measure(tiny_family, {name: number % 4 for number, name in enumerate(greys)})

    assert set(evaluation.unreadable) == {greys[3], greys[5]}
    assert {(a.items, a.value) for a in evaluation.accuracy.values()} == {(17, 1.0)}


def test_data_of_which_nothing_can_be_read_measures_nothing(tiny_family: Family, greys: list[str]):
    for name in greys:
        Path(name).write_bytes(b"rubbish")

    with pytest.raises(InputError, match="none of the 19"):
        measure(tiny_family, dict.fromkeys(greys, 0))


def test_progress_adds_up_to_every_item_by_every_variant(tiny_family: Family, greys: list[str]):
    Path(greys[0]).write_bytes(b"rubbish")
    steps: list[int] = []

    measure(tiny_family, dict.fromkeys(greys, 0), on_progress=steps.append)

    assert sum(steps) == 2 * len(greys)


def test_rows_of_an_array_are_evaluated(tiny_family: Family, tmp_path: Path):
    greys = np.array([32, 96, 160, 224], np.uint8)
    np.save(tmp_path / "rows.npy", np.broadcast_to(greys[:, np.newaxis, np.newaxis], (4, 6, 6)))

    evaluation = measure(tiny_family, {item_key(f"{tmp_path}/rows.npy#{row}"): row for row in range(4)})

    assert evaluation.accuracy["large"].value == 1.0


@pytest.mark.skipif(not IMAGES.exists(), reason="the shared labelled images are not here")
@pytest.mark.parametrize("variant", ["mobilenet_v1_025_128.fp32", "mobilenet_v1_050_160.int8"])
def test_a_published_model_has_the_accuracy_that_its_manifest_says(variant: str):
    family = load_family(SHARED / "models/imagenet-mobilenet-onnx")

    accuracy = measure(family, load_labels(IMAGES, family), variants=[variant]).accuracy[variant]

    published = family.model(variant).accuracy
    assert published is not None
    assert accuracy.items == 750
    assert accuracy.value == pytest.approx(published.value, abs=0.005)
