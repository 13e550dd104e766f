from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from equipoise.core.family import Family
from equipoise.errors import ModelError, OutputError, UsageError
from equipoise.families.build import Built, Recipe, build_family, choose_calibration
from equipoise.families.demo import demo_folder
from equipoise.families.labels import load_labels
from equipoise.families.manifest import load_family
from equipoise.families.quantise import is_quantised
from equipoise.families.source import Source, kind_of, open_source, refuse_fixed_sides

DIGITS = tuple(str(digit) for digit in range(10))
MODEL = demo_folder() / "d3w16-28.onnx"


@pytest.fixture(scope="module")
def labels() -> dict[str, int]:
    return load_labels(demo_folder() / "digits-heldout-labels.csv", load_family(demo_folder()))


def digits_model(path: Path = MODEL, **settings: Any) -> Source:
    return open_source(path, DIGITS, input_settings=settings)


def build(
    out: Path, labels: Mapping[str, int], *, sizes_px: tuple[int, ...], int8: bool = False, source: Source | None = None
) -> Built:
    recipe = Recipe(source=source or digits_model(), name="digits", sizes_px=sizes_px, int8=int8)
    return build_family(recipe, labels, out, dataset="digits", measured_on="2026-01-01")


def few(labels: Mapping[str, int], items: int) -> dict[str, int]:
    return dict(list(labels.items())[:items])


def accuracy_of(family: Family, variant: str) -> float:
    accuracy = family.model(variant).accuracy
    assert accuracy is not None
    return accuracy.value


def with_fixed_sides(tmp_path: Path, sides: list[int | str]) -> Path:
    model = onnx.load(str(MODEL))
    for dim, side in zip(model.graph.input[0].type.tensor_type.shape.dim, sides, strict=True):
        if isinstance(side, int):
            dim.dim_value = side
        else:
            dim.dim_param = side
    path = tmp_path / "fixed.onnx"
    onnx.save(model, str(path))
    return path


def test_one_model_becomes_a_variant_per_size_with_measured_accuracy(tmp_path: Path, labels: dict[str, int]):
    built = build(tmp_path / "out", labels, sizes_px=(20, 28))

    family = load_family(tmp_path / "out")
    assert built.family == family
    assert [(model.name, model.size_px) for model in family.models] == [("d3w16-28-20", 20), ("d3w16-28-28", 28)]
    assert len({model.file for model in family.models}) == 1
    shipped = accuracy_of(load_family(demo_folder()), "d3w16-28")
    assert accuracy_of(family, "d3w16-28-28") == pytest.approx(shipped, abs=0.005)
    assert accuracy_of(family, "d3w16-28-20") < shipped


def test_what_the_model_file_says_need_not_be_said(labels: dict[str, int], tmp_path: Path):
    spec = build(tmp_path / "out", few(labels, 20), sizes_px=(28,)).family.models[0]

    assert (spec.input.tensor, spec.input.layout, spec.input.dtype, spec.input.color) == ("image", "NCHW", "uint8", "L")
    assert (spec.output.tensor, spec.output.kind) == ("logits", "logits")


def test_int8_variants_share_a_file_and_are_measured_without_the_items_they_were_calibrated_on(
    tmp_path: Path, labels: dict[str, int]
):
    built = build(tmp_path / "out", labels, sizes_px=(24, 28), int8=True)

    int8 = [model for model in built.family.models if model.precision == "int8"]
    assert [model.name for model in int8] == ["d3w16-28-int8-24", "d3w16-28-int8-28"]
    assert {is_quantised(built.family.path_of(model)) for model in int8} == {True}
    assert built.calibration is not None
    assert built.calibration.held_out
    for model in built.family.models:
        assert model.accuracy is not None
        assert model.accuracy.items == len(labels) - len(built.calibration.items)
        assert model.accuracy.dataset == "digits without 149 calibration items"
    assert accuracy_of(built.family, "d3w16-28-int8-28") == pytest.approx(
        accuracy_of(built.family, "d3w16-28-28"), abs=0.03
    )


def test_with_few_items_all_are_measured_and_it_is_said_that_some_are_favoured(tmp_path: Path, labels: dict[str, int]):
    built = build(tmp_path / "out", few(labels, 40), sizes_px=(28,), int8=True)

    assert built.calibration is not None
    assert not built.calibration.held_out
    assert len(built.calibration.items) == 10
    assert {model.accuracy.items for model in built.family.models if model.accuracy} == {40}


def test_calibration_items_depend_on_the_seed_and_not_on_the_order():
    items = [f"{number}.png" for number in range(2000)]

    chosen = choose_calibration(items, seed=1)

    assert chosen == choose_calibration(items[::-1], seed=1)
    assert chosen != choose_calibration(items, seed=2)
    assert len(set(chosen.items)) == 256


def test_a_model_that_is_int8_already_is_not_quantised_again(tmp_path: Path, labels: dict[str, int]):
    source = digits_model(demo_folder() / "d6w32-32-int8.onnx")

    with pytest.raises(UsageError, match="8 bits already"):
        build(tmp_path / "out", few(labels, 10), sizes_px=(32,), int8=True, source=source)


def test_an_int8_model_at_several_sizes_is_an_int8_ladder(tmp_path: Path, labels: dict[str, int]):
    source = digits_model(demo_folder() / "d6w32-32-int8.onnx")

    built = build(tmp_path / "out", few(labels, 50), sizes_px=(24, 32), source=source)

    assert [model.precision for model in built.family.models] == ["int8", "int8"]


def test_sizes_other_than_fixed_ones_are_refused_with_the_sides(tmp_path: Path):
    source = digits_model(with_fixed_sides(tmp_path, ["n", 1, 28, 28]))

    refuse_fixed_sides(source, (28,))
    with pytest.raises(UsageError, match=r"24 px.*fixed sides \(free x 1 x 28 x 28\)"):
        refuse_fixed_sides(source, (28, 24))


def test_a_size_at_which_the_model_fails_is_left_out_with_the_reason(tmp_path: Path, labels: dict[str, int]):
    source = digits_model(_with_flattened_head(tmp_path))

    built = build(tmp_path / "out", few(labels, 10), sizes_px=(7, 8), source=source)

    assert [model.size_px for model in built.family.models] == [8]
    assert built.skipped.keys() == {7}


def test_a_model_that_works_at_no_size_leaves_nothing_behind(tmp_path: Path, labels: dict[str, int]):
    source = digits_model(_with_flattened_head(tmp_path))

    with pytest.raises(ModelError, match="none of the sizes"):
        build(tmp_path / "new" / "out", few(labels, 10), sizes_px=(7, 9), source=source)

    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path: Path, labels: dict[str, int]):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")

    with pytest.raises(UsageError, match="new or empty"):
        build(tmp_path / "out", few(labels, 10), sizes_px=(28,))

    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_an_empty_folder_is_filled_and_readable_by_others(tmp_path: Path, labels: dict[str, int]):
    (tmp_path / "out").mkdir()

    build(tmp_path / "out", few(labels, 10), sizes_px=(28,))

    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_place_where_no_folder_can_be_is_named(tmp_path: Path, labels: dict[str, int]):
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="out"):
        build(tmp_path / "file" / "out", few(labels, 10), sizes_px=(28,))


def test_a_wrong_number_of_labels_is_an_error_that_has_both_numbers(tmp_path: Path, labels: dict[str, int]):
    source = open_source(MODEL, DIGITS[:7])

    with pytest.raises(ModelError, match=r"7 labels"):
        build(tmp_path / "out", few(labels, 10), sizes_px=(28,), source=source)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"mean": [1.0, 2.0, 3.0]}, "mean"),
        ({"color": "CMYK"}, "color"),
        ({"resize": "squash"}, "resize"),
        ({"std": 0.0}, "std"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any], complaint: str):
    with pytest.raises(UsageError, match=complaint):
        digits_model(**settings).spec(28)


def test_files_that_are_no_model_are_refused(tmp_path: Path):
    (tmp_path / "text.onnx").write_text("not a model")

    with pytest.raises(ModelError, match=r"text\.onnx"):
        digits_model(tmp_path / "text.onnx")
    with pytest.raises(UsageError, match="No such file"):
        digits_model(tmp_path / "missing.onnx")
    with pytest.raises(UsageError, match=r"\.onnx"):
        digits_model(tmp_path / "model.tflite")


def test_a_tensor_that_the_model_lacks_is_named_with_those_it_has():
    with pytest.raises(UsageError, match=r"no input 'pixels'; its inputs: 'image'"):
        digits_model(tensor="pixels")


def test_scores_that_add_up_to_one_are_probabilities():
    assert kind_of([np.array([0.2, 0.8], dtype=np.float32)]) == "probabilities"
    assert kind_of([np.array([0.2, 0.8], dtype=np.float32), np.array([-0.5, 1.5], dtype=np.float32)]) == "logits"
    assert kind_of([np.array([3.0, 4.0], dtype=np.float32)]) == "logits"


def _with_flattened_head(tmp_path: Path) -> Path:
    """A model of free height and width that in truth can only do 8 x 8: its head wants 64 pixels."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    weights = numpy_helper.from_array(np.ones((64, 10), dtype=np.float32), "weights")
    graph = helper.make_graph(
        nodes,
        "flattened",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "flattened.onnx"
    onnx.save(model, str(path))
    return path
