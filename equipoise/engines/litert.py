"""Runs .tflite models with LiteRT, or with tflite-runtime where LiteRT has no wheel; the only importer of both."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.family import Model
from equipoise.engines.base import Floats, in_batches_of, refuse_misfit
from equipoise.engines.processors import CPU_PROVIDER, LocalProcessor, pinned
from equipoise.errors import ModelError

_RUNTIMES = (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime"))  # module, distribution

_ERRORS = (RuntimeError, ValueError)  # what the interpreter raises for files and shapes that it cannot do


class LiteRTEngine:
    """A model in a LiteRT interpreter; see `Engine`.

    Many .tflite files hold a fixed batch somewhere inside without declaring it, so a batch of 2 is tried at
    loading; where that fails, `fixed_batch` is the file's own and larger batches are looped.
    """

    def __init__(self, path: Path, model: Model, columns: int, processor: LocalProcessor) -> None:
        if processor.provider != CPU_PROVIDER:
            raise ModelError(f"LiteRT runs on the CPU only, not on processor {processor.name!r}", path=path)
        self._path, self._model, self._processor = path, model, processor
        self._interpreter_class, self.runtime = _import_runtime(path)
        with pinned(processor.cpus):
            own_batch = self._open()
            self._check_input()
            self.fixed_batch = None if self._takes_two() else own_batch
            if self.fixed_batch is not None:
                self._open()  # a failed resize leaves the interpreter unusable
                self._resize(own_batch)
        self._check_output(columns)

    def infer(self, batch: NDArray[Any]) -> Floats:
        """Scores of shape (n, columns); see `Engine.infer`."""
        with pinned(self._processor.cpus):
            try:
                if self.fixed_batch is None:
                    return self._run(batch)
                return in_batches_of(self.fixed_batch, batch, self._run)
            except _ERRORS as error:
                raise ModelError(f"cannot infer a batch of shape {batch.shape}: {error}", path=self._path) from error

    def close(self) -> None:
        """Free the interpreter."""
        del self._interpreter

    def _open(self) -> int:
        try:
            self._interpreter = self._interpreter_class(model_path=str(self._path), num_threads=self._processor.threads)
        except _ERRORS as error:
            raise ModelError(f"LiteRT cannot load it: {error}", path=self._path) from error
        self._allocated_batch = 0  # nothing allocated yet
        self._input = self._named(self._interpreter.get_input_details(), self._model.input.tensor, "input")
        return int(self._input["shape"][0])

    def _resize(self, batch: int) -> None:
        if batch == self._allocated_batch:
            return
        self._interpreter.resize_tensor_input(self._input["index"], (batch, *self._model.input.item_shape))
        self._interpreter.allocate_tensors()
        self._allocated_batch = batch

    def _run(self, batch: NDArray[Any]) -> Floats:
        self._resize(len(batch))
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        output = self._output()
        return _dequantised(self._interpreter.get_tensor(output["index"]), output).reshape(len(batch), -1)

    def _takes_two(self) -> bool:
        trial = np.zeros((2, *self._model.input.item_shape), dtype=self._model.input.dtype)
        try:
            self._run(trial)
        except _ERRORS:
            return False
        return int(self._output()["shape"][0]) == 2

    def _output(self) -> dict[str, Any]:
        return self._named(self._interpreter.get_output_details(), self._model.output.tensor, "output")

    def _named(self, tensors: list[dict[str, Any]], wanted: str, what: str) -> dict[str, Any]:
        for tensor in tensors:
            if tensor["name"] == wanted:
                return tensor
        names = ", ".join(repr(tensor["name"]) for tensor in tensors)
        raise ModelError(f"has no {what} {wanted!r}, which the manifest names; its {what}s: {names}", path=self._path)

    def _check_input(self) -> None:
        sides = [int(side) if side > 0 else None for side in self._input["shape_signature"][1:]]
        refuse_misfit(self._path, self._model.input, np.dtype(self._input["dtype"]).name, sides)

    def _check_output(self, columns: int) -> None:
        shape = [int(side) for side in self._output()["shape"]]
        if int(np.prod(shape[1:])) != columns:
            raise ModelError(
                f"output {self._model.output.tensor!r} has shape {shape}, but the family has {columns} labels",
                path=self._path,
            )


def _import_runtime(path: Path) -> tuple[Any, str]:
    for module, distribution in _RUNTIMES:
        try:
            interpreter = importlib.import_module(f"{module}.interpreter")
        except ImportError:
            continue
        return interpreter.Interpreter, f"{distribution} {version(distribution)}"
    raise ModelError("needs LiteRT, which is not installed: pip install 'equipoise[litert]'", path=path)


def _dequantised(values: NDArray[Any], output: dict[str, Any]) -> Floats:
    scale, zero_point = output["quantization"]
    if scale == 0:  # how TFLite says that a tensor is not quantised
        return np.asarray(values, dtype=np.float32)
    return np.asarray((values.astype(np.float32) - zero_point) * scale, dtype=np.float32)
