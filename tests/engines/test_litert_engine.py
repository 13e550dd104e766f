"""The LiteRT adapter, with published .tflite files: nothing small writes that format."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from equipoise.core.family import Family, OutputSpec
from equipoise.engines.processors import LocalProcessor
from equipoise.engines.registry import load_engine
from equipoise.errors import ModelError
from equipoise.families.classify import best_classes
from equipoise.families.evaluate import evaluate
from equipoise.families.labels import load_labels
from equipoise.families.manifest import load_family, sha256_of
from equipoise.families.preprocess import prepare

SHARED = Path(__file__).parents[3] / "shared/data"
FILES = SHARED / "models/imagenet-mobilenet-tflite"
IMAGES = SHARED / "images/nips17-imagenet-750"

pytestmark = pytest.mark.skipif(not FILES.exists(), reason="the shared .tflite files are not here")
pytest.importorskip("ai_edge_litert")

CPU = LocalProcessor(name="cpu")

HEAD = """
name = "mobilenet-tflite"
task = "classification"
labels = "labels.txt"
first_class = -1
[input]
kind = "image"
tensor = "input"
dtype = "uint8"
[output]
tensor = "MobilenetV1/Predictions/Reshape_1"
kind = "probabilities"
"""
VARIANT = """
[[variants]]
name = "{name}"
file = "{name}.tflite"
sha256 = "{sha256}"
precision = "uint8"
size_px = {size_px}
output = {{ tensor = "{output}" }}
"""
V1_OUTPUT = "MobilenetV1/Predictions/Reshape_1"
LADDER = {  # size in pixels, output, published top-1
    "mobilenet_v1_0.25_128_quant": (128, V1_OUTPUT, 0.452),
    "mobilenet_v1_0.5_160_quant": (160, V1_OUTPUT, 0.671),
    "mobilenet_v1_0.75_192_quant": (192, V1_OUTPUT, 0.775),
    "mobilenet_v2_1.0_224_quant": (224, "MobilenetV2/Predictions/Softmax", 0.835),
}
LIGHTEST = "mobilenet_v1_0.25_128_quant"


def family_of(folder: Path, ladder: dict[str, tuple[int, str, float]], labels: str) -> Family:
    folder.mkdir()
    (folder / "labels.txt").write_text(labels)
    variants = []
    for name, (size_px, output, _) in ladder.items():
        file = shutil.copy(FILES / f"{name}.tflite", folder)
        variants.append(VARIANT.format(name=name, sha256=sha256_of(Path(file)), size_px=size_px, output=output))
    (folder / "family.toml").write_text(HEAD + "".join(variants))
    return load_family(folder)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family_of(tmp_path_factory.mktemp("tflite") / "family", LADDER, (FILES / "labels.txt").read_text())


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """The one file whose batch is free; its 1024 features stand in for classes."""
    ladder = {"mobilenet_v1_1.0_224_quant_embedding_extractor": (224, "MobilenetV1/Logits/AvgPool_1a/AvgPool", 0.0)}
    features = "\n".join(f"feature {number}" for number in range(1024))
    return family_of(tmp_path_factory.mktemp("extractor") / "family", ladder, features)


@pytest.mark.parametrize("variant", LADDER)
def test_every_file_recognises_a_panda(family: Family, variant: str):
    model = family.model(variant)
    panda = prepare((IMAGES / "images/000b7d55b6184b08.jpg").read_bytes(), model.input)

    scores = load_engine(family, variant, CPU).infer(np.stack([panda, panda, panda]))

    assert scores.shape == (3, 1001)
    assert [r.classes[0] for r in best_classes(scores, model.output, family.first_class)] == [388] * 3


def test_a_batch_that_is_fixed_inside_is_found_out_and_looped(family: Family):
    engine = load_engine(family, LIGHTEST, CPU)
    items = np.random.default_rng(1).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)

    together = engine.infer(items)

    assert engine.fixed_batch == 1
    assert engine.runtime.startswith("ai-edge-litert ")
    assert (together == np.concatenate([engine.infer(items[i : i + 1]) for i in range(3)])).all()


def test_a_batch_that_is_free_may_change_from_call_to_call(extractor: Family):
    engine = load_engine(extractor, extractor.models[0].name, CPU)
    items = np.random.default_rng(2).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)

    one, three = engine.infer(items[:1]), engine.infer(items)

    assert engine.fixed_batch is None
    assert three.shape == (3, 1024)
    assert (three[0] == one[0]).all()


def test_quantised_scores_come_out_as_probabilities(family: Family):
    panda = prepare((IMAGES / "images/000b7d55b6184b08.jpg").read_bytes(), family.model(LIGHTEST).input)

    scores = load_engine(family, LIGHTEST, CPU).infer(panda[np.newaxis])

    assert scores.dtype == np.float32
    assert (scores * 256 == np.round(scores * 256)).all()  # the file's scale
    assert scores.max() == pytest.approx(0.8, abs=0.1)


def test_a_processor_without_litert_is_refused(family: Family):
    with pytest.raises(ModelError, match="CPU only"):
        load_engine(family, LIGHTEST, LocalProcessor(name="cuda", provider="CUDAExecutionProvider"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dtype": "float32"}, "takes uint8 items"),
        ({"size_px": 96}, "128 x 128 x 3, but the manifest says uint8 of 96 x 96 x 3"),
        ({"tensor": "image"}, "no input 'image', which the manifest names; its inputs: 'input'"),
    ],
)
def test_an_input_that_is_not_as_the_manifest_says_is_refused(family: Family, changes: dict[str, object], says: str):
    model = family.model(LIGHTEST)
    other = msgspec.structs.replace(model, input=msgspec.structs.replace(model.input, **changes))

    with pytest.raises(ModelError, match=says):
        load_engine(msgspec.structs.replace(family, models=(other,)), LIGHTEST, CPU)


def test_an_output_that_is_not_as_the_manifest_says_is_refused(family: Family):
    model = msgspec.structs.replace(family.model(LIGHTEST), output=OutputSpec(tensor="prob", kind="logits"))

    with pytest.raises(ModelError, match="no output 'prob'"):
        load_engine(msgspec.structs.replace(family, models=(model,)), LIGHTEST, CPU)
    with pytest.raises(ModelError, match="2 labels"):
        load_engine(msgspec.structs.replace(family, labels=("a", "b")), LIGHTEST, CPU)


def test_a_damaged_file_is_refused_by_name(family: Family, tmp_path: Path):
    (tmp_path / f"{LIGHTEST}.tflite").write_bytes(b"no model at all")

    with pytest.raises(ModelError, match="cannot load it"):
        load_engine(msgspec.structs.replace(family, folder=tmp_path), LIGHTEST, CPU)


def test_a_published_file_has_its_published_accuracy(family: Family):
    labels = load_labels(IMAGES, family)

    evaluation = evaluate(family, labels, CPU, dataset="nips17", measured_on="2026-01-31", variants=[LIGHTEST])

    assert evaluation.accuracy[LIGHTEST].value == pytest.approx(LADDER[LIGHTEST][2], abs=0.005)
