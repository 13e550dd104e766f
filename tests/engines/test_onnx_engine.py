"""The onnxruntime adapter, with real models made on the spot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from equipoise.core.family import Family, InputSpec, Model, OutputSpec
from equipoise.engines.onnx import OnnxEngine, _works, working_accelerators
from equipoise.engines.processors import CPU_PROVIDER, LocalProcessor, usable_cpus
from equipoise.engines.registry import load_engine
from equipoise.errors import ModelError

CPU = LocalProcessor(name="cpu")


def greys(*levels: int, size_px: int = 8) -> np.ndarray:
    return np.stack([np.full((size_px, size_px, 3), level, np.uint8) for level in levels])


def changed(family: Family, **input_changes: Any) -> Family:
    """The family with another idea of its model's input."""
    models = tuple(
        msgspec.structs.replace(m, input=msgspec.structs.replace(m.input, **input_changes)) for m in family.models
    )
    return msgspec.structs.replace(family, models=models)


def save(path: Path, nodes: list[Any], inputs: Any, output: Any, constants: dict[str, np.ndarray]) -> Path:
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "test", [inputs], [output], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def tensor_model(columns: int) -> Model:
    return Model(
        name="m",
        file="m.onnx",
        sha256="",
        precision="int8",
        input=InputSpec(kind="tensor", tensor="x", dtype="float32", shape=(columns,)),
        output=OutputSpec(tensor="y", kind="logits"),
    )


def test_a_batch_gives_a_row_of_scores_per_item(tiny_family: Family):
    engine = load_engine(tiny_family, "small", CPU)

    scores = engine.infer(greys(40, 100, 220))

    assert (scores.shape, scores.dtype) == ((3, 4), np.float32)
    assert scores.argmax(axis=1).tolist() == [0, 1, 3]


def test_the_runtime_is_named_with_its_version_and_provider(tiny_family: Family):
    engine = load_engine(tiny_family, "small", CPU)

    assert engine.runtime.startswith("onnxruntime 1.")
    assert engine.runtime.endswith(" CPUExecutionProvider")
    assert engine.fixed_batch is None


def test_a_processor_pinned_to_a_cpu_leaves_the_callers_thread_free_again(tiny_family: Family):
    before = usable_cpus()
    engine = load_engine(tiny_family, "small", LocalProcessor(name="cpu0", cpus=before[:1]))

    engine.infer(greys(40))

    assert usable_cpus() == before


@pytest.mark.parametrize("items", [1, 2, 3, 7])
def test_a_model_with_a_fixed_batch_is_looped(tmp_path: Path, items: int):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "one"], ["y"])],
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 2]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 2]),
        {"one": np.ones(2, np.float32)},
    )
    engine = OnnxEngine(path, tensor_model(2), 2, CPU)
    batch = np.arange(2 * items, dtype=np.float32).reshape(items, 2)

    assert engine.fixed_batch == 3
    assert (engine.infer(batch) == batch + 1).all()


def test_8_bit_products_do_not_saturate(tmp_path: Path):
    # 255 * 127 twice is more than the 16 bits in which x86 CPUs without VNNI add two products by default.
    depth = 64
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero_u8"], ["x_u8"]),
            helper.make_node("DequantizeLinear", ["x_u8", "scale", "zero_u8"], ["x_again"]),
            helper.make_node("DequantizeLinear", ["w_s8", "scale", "zero_s8"], ["w"]),
            helper.make_node("MatMul", ["x_again", "w"], ["y"]),
        ],
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", depth]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", depth]),
        {
            "scale": np.array(1.0, np.float32),
            "zero_u8": np.array(0, np.uint8),
            "zero_s8": np.array(0, np.int8),
            "w_s8": np.full((depth, depth), 127, np.int8),
        },
    )
    engine = OnnxEngine(path, tensor_model(depth), depth, CPU)

    scores = engine.infer(np.full((4, depth), 255, np.float32))

    assert (scores == 255 * 127 * depth).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dtype": "float32"}, "takes uint8 items of free x free x 3, but the manifest says float32 of 8 x 8 x 3"),
        ({"color": "L"}, "8 x 8 x 1"),
        ({"layout": "NCHW"}, "3 x 8 x 8"),
        ({"tensor": "picture"}, "no input 'picture', which the manifest names; its inputs: 'image'"),
    ],
)
def test_an_input_that_is_not_as_the_manifest_says_is_refused(tiny_family: Family, changes: dict[str, Any], says: str):
    with pytest.raises(ModelError, match=says):
        load_engine(changed(tiny_family, **changes), "small", CPU)


def test_an_output_that_is_not_as_the_manifest_says_is_refused(tiny_family: Family):
    def with_output(name: str) -> Family:
        models = tuple(
            msgspec.structs.replace(m, output=OutputSpec(tensor=name, kind="logits")) for m in tiny_family.models
        )
        return msgspec.structs.replace(tiny_family, models=models)

    with pytest.raises(ModelError, match="no output 'y', which the manifest names; its outputs: 'prob'"):
        load_engine(with_output("y"), "small", CPU)


def test_a_family_with_another_number_of_labels_is_refused(tiny_family: Family):
    with pytest.raises(ModelError, match="3 labels"):
        load_engine(msgspec.structs.replace(tiny_family, labels=("a", "b", "c")), "small", CPU)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"no model at all"])
def test_a_damaged_file_is_refused_by_name(tiny_family: Family, tmp_path: Path, damage: Callable[[bytes], bytes]):
    folder = Path(shutil.copytree(tiny_family.folder, tmp_path / "family"))
    (folder / "tiny.onnx").write_bytes(damage((folder / "tiny.onnx").read_bytes()))

    with pytest.raises(ModelError, match=r"tiny\.onnx"):
        load_engine(msgspec.structs.replace(tiny_family, folder=folder), "small", CPU)


def test_a_batch_that_the_model_cannot_do_is_a_model_error(tiny_family: Family):
    engine = load_engine(tiny_family, "small", CPU)

    with pytest.raises(ModelError, match="cannot infer a batch of shape"):
        engine.infer(np.zeros((2, 8, 8, 4), np.uint8))


def test_a_provider_that_is_not_here_is_not_silently_the_cpu(tiny_family: Family):
    with pytest.raises(ModelError, match=r"'npu' needs NoSuchProvider; onnxruntime here has: .*CPUExecutionProvider"):
        load_engine(tiny_family, "small", LocalProcessor(name="npu", provider="NoSuchProvider"))


def test_accelerators_are_tried_with_a_sound_model_and_the_cpu_is_none_of_them():
    assert _works(CPU_PROVIDER)
    assert CPU_PROVIDER not in {provider for _, provider in working_accelerators()}
