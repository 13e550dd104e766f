"""Which engine runs a model: it follows from the ending of the model's file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from equipoise.core.family import Family, Model
from equipoise.engines.base import Engine
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import ModelError

Loader = Callable[[Path, Model, int, LocalProcessor], Engine]


def _load_onnx(path: Path, model: Model, columns: int, processor: LocalProcessor) -> Engine:
    from equipoise.engines.onnx import OnnxEngine  # noqa: PLC0415 - a 32-bit node has no onnxruntime

    return OnnxEngine(path, model, columns, processor)


def _load_litert(path: Path, model: Model, columns: int, processor: LocalProcessor) -> Engine:
    from equipoise.engines.litert import LiteRTEngine  # noqa: PLC0415 - an extra, not in the base install

    return LiteRTEngine(path, model, columns, processor)


ENGINES: dict[str, Loader] = {".onnx": _load_onnx, ".tflite": _load_litert}


def load_engine(family: Family, variant: str, processor: LocalProcessor) -> Engine:
    """The variant's model, loaded on `processor` and checked against the manifest.

    Raises KeyError if the family has no such variant, ModelError if its file cannot be loaded or does not fit.
    """
    model = family.model(variant)
    path = family.path_of(model)
    load = ENGINES.get(path.suffix.lower())
    if load is None:
        raise ModelError(f"no engine for the ending {path.suffix!r}; known: {', '.join(ENGINES)}", path=path)
    return load(path, model, len(family.labels), processor)
