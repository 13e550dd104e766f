from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.engines.registry import load_engine
from equipoise.errors import ModelError


def test_an_unknown_ending_lists_the_known_ones(tiny_family: Family):
    models = tuple(msgspec.structs.replace(m, file="tiny.pt") for m in tiny_family.models)

    with pytest.raises(ModelError, match=r"tiny\.pt: no engine for the ending '\.pt'; known: \.onnx, \.tflite"):
        load_engine(msgspec.structs.replace(tiny_family, models=models), "small", LocalProcessor(name="cpu"))


def test_neither_runtime_is_imported_before_a_model_is_loaded():
    program = (
        "import sys, equipoise.engines.registry, equipoise.families.manifest, equipoise.families.evaluate\n"
        "print([m for m in ('onnxruntime', 'ai_edge_litert', 'tflite_runtime') if m in sys.modules])"
    )

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"
