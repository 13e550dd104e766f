"""What tests of several packages share: a family so small that it can be built and run in milliseconds."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import settings

from equipoise.core.family import Family
from equipoise.families.manifest import load_family

# Machines that run tests are shared and noisy: no test may depend on how long something takes.
settings.register_profile("untimed", deadline=None, max_examples=60)
settings.load_profile("untimed")

_TINY_MANIFEST = """
name = "tiny"
task = "classification"
labels = "labels.txt"

[input]
kind = "image"
tensor = "image"
layout = "NHWC"
dtype = "uint8"

[output]
tensor = "prob"
kind = "probabilities"
"""
_TINY_VARIANT = """
[[variants]]
name = "{name}"
file = "tiny.onnx"
sha256 = "{sha256}"
precision = "fp32"
size_px = {size_px}
accuracy = {{ metric = "top1", value = {accuracy}, items = 100, dataset = "brightness" }}
"""


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Variants "small" (8 px) and "large" (64 px) of one model that tells four grey levels apart.

    An image of brightness 0..255 is of class brightness // 64.
    """
    folder = tmp_path_factory.mktemp("tiny-family")
    (folder / "labels.txt").write_text("black\ndark\nbright\nwhite\n")
    model = _tiny_model()
    (folder / "tiny.onnx").write_bytes(model)
    sha256 = hashlib.sha256(model).hexdigest()
    variants = [
        _TINY_VARIANT.format(name=name, sha256=sha256, size_px=size_px, accuracy=accuracy)
        for name, size_px, accuracy in (("small", 8, 0.6), ("large", 64, 0.9))
    ]
    (folder / "family.toml").write_text(_TINY_MANIFEST + "".join(variants))
    return load_family(folder)


def _tiny_model() -> bytes:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "axis"], ["brightness"]),
        helper.make_node("Sub", ["brightness", "centres"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("Neg", ["distance"], ["closeness"]),
        helper.make_node("Softmax", ["closeness"], ["prob"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"),
        numpy_helper.from_array(np.array([[32, 96, 160, 224]], dtype=np.float32), "centres"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["n", 4])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized
