"""A family whose one variant takes a while, so that a request is long enough for things to happen to it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIDE = 480  # the product of two such matrices takes some 5 ms of one core

_MANIFEST = """
name = "slow"
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

[[variants]]
name = "slow"
file = "slow.onnx"
sha256 = "{sha256}"
precision = "fp32"
size_px = {size_px}
accuracy = {{ metric = "top1", value = 0.9, items = 100, dataset = "brightness" }}
"""


def build_slow_family(folder: Path, size_px: int = 8) -> Path:
    """Tells four grey levels apart, as the tiny family, and multiplies matrices for nothing."""
    folder.mkdir()
    model = _model()
    (folder / "slow.onnx").write_bytes(model)
    (folder / "labels.txt").write_text("black\ndark\nbright\nwhite\n")
    sha256 = hashlib.sha256(model).hexdigest()
    (folder / "family.toml").write_text(_MANIFEST.format(sha256=sha256, size_px=size_px))
    return folder


def _model() -> bytes:
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["brightness"]),
        helper.make_node("Unsqueeze", ["brightness", "two"], ["factor"]),  # (n, 1, 1)
        helper.make_node("Mul", ["factor", "matrix"], ["left"]),
        helper.make_node("MatMul", ["left", "matrix"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["waste"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["waste", "nothing"], ["wasted"]),
        helper.make_node("Unsqueeze", ["wasted", "one"], ["offset"]),
        helper.make_node("Sub", ["brightness", "centres"], ["difference"]),
        helper.make_node("Add", ["difference", "offset"], ["moved"]),
        helper.make_node("Abs", ["moved"], ["distance"]),
        helper.make_node("Neg", ["distance"], ["closeness"]),
        helper.make_node("Softmax", ["closeness"], ["prob"], axis=1),
    ]
    matrix = np.random.default_rng(0).random((SIDE, SIDE), dtype=np.float32)
    constants = [
        numpy_helper.from_array(matrix, "matrix"),
        numpy_helper.from_array(np.array(1e-12, dtype=np.float32), "nothing"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
        numpy_helper.from_array(np.array([2], dtype=np.int64), "two"),
        numpy_helper.from_array(np.array([[32, 96, 160, 224]], dtype=np.float32), "centres"),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["n", 4])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized
