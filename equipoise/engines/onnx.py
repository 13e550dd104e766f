"""Runs .onnx models with onnxruntime. The only module that imports it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from equipoise.core.family import InputSpec, Model
from equipoise.engines.base import Floats, in_batches_of, refuse_misfit
from equipoise.engines.ports import Ports, Tensor
from equipoise.engines.processors import CPU_PROVIDER, LocalProcessor, pinned, whole_cpu
from equipoise.errors import ModelError

# Name, provider and options, for each device the provider to prefer first: TensorRT compiles for minutes per input
# shape, so CUDA comes before it; OpenVINO would by default be the CPU once more.
_ACCELERATORS: tuple[tuple[tuple[str, str, dict[str, str]], ...], ...] = (
    (("cuda", "CUDAExecutionProvider", {}), ("tensorrt", "TensorrtExecutionProvider", {})),
    (("migraphx", "MIGraphXExecutionProvider", {}),),
    (("openvino", "OpenVINOExecutionProvider", {"device_type": "GPU"}),),
    (("coreml", "CoreMLExecutionProvider", {}),),
    (("dml", "DmlExecutionProvider", {}),),
    (("qnn", "QNNExecutionProvider", {"backend_type": "htp"}),),
    (("rknpu", "RknpuExecutionProvider", {}),),
)
_OPTIONS = {provider: options for device in _ACCELERATORS for _, provider, options in device}

# onnxruntime's exceptions have no common base of their own.
_ORT_ERRORS = tuple(
    error for error in vars(ort_state).values() if isinstance(error, type) and issubclass(error, Exception)
)

# A model of one Identity node, 1 float to 1 float (ONNX IR 7, opset 13), serialised with the onnx package.
_IDENTITY_MODEL = (
    b'\x08\x07:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)

_QUIET = 4  # fatal only: what goes wrong is raised, and said once

_NUMPY_DTYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
}


class OnnxEngine:
    """A model in an onnxruntime session; see `Engine`."""

    def __init__(self, path: Path, model: Model, columns: int, processor: LocalProcessor) -> None:
        self._path = path
        self._cpus = processor.cpus
        self._input_name, self._output_name = model.input.tensor, model.output.tensor
        self._session = _open_session(path, processor)
        self.fixed_batch = self._check_input(model.input)
        self._check_output(columns)
        self.runtime = f"onnxruntime {ort.__version__} {processor.provider}"

    def infer(self, batch: NDArray[Any]) -> Floats:
        """Scores of shape (n, columns); see `Engine.infer`."""
        with pinned(self._cpus):
            if self.fixed_batch is None or self.fixed_batch == len(batch):
                return self._run(batch)
            return in_batches_of(self.fixed_batch, batch, self._run)

    def close(self) -> None:
        """Free the session."""
        del self._session

    def _run(self, batch: NDArray[Any]) -> Floats:
        try:
            (scores,) = self._session.run([self._output_name], {self._input_name: batch})
        except _ORT_ERRORS as error:
            raise ModelError(f"cannot infer a batch of shape {batch.shape}: {error}", path=self._path) from error
        return np.asarray(scores, dtype=np.float32).reshape(len(batch), -1)

    def _check_input(self, inputs: InputSpec) -> int | None:
        found = self._tensor(self._session.get_inputs(), self._input_name, "input")
        dtype = _NUMPY_DTYPES.get(found.type, found.type)
        batch, *item = [side if isinstance(side, int) else None for side in found.shape] or [None]
        refuse_misfit(self._path, inputs, dtype, item)
        return batch

    def _check_output(self, columns: int) -> None:
        found = self._tensor(self._session.get_outputs(), self._output_name, "output")
        sides = [side for side in found.shape[1:] if side != 1]
        if any(isinstance(side, int) for side in sides) and sides != [columns]:
            raise ModelError(
                f"output {found.name!r} has shape {found.shape}, but the family has {columns} labels", path=self._path
            )

    def _tensor(self, tensors: list[Any], wanted: str, what: str) -> Any:
        for tensor in tensors:
            if tensor.name == wanted:
                return tensor
        names = ", ".join(repr(tensor.name) for tensor in tensors)
        raise ModelError(f"has no {what} {wanted!r}, which the manifest names; its {what}s: {names}", path=self._path)


def ports_of(path: Path) -> Ports:
    """The inputs and outputs of a model. Raises ModelError if it cannot be loaded."""
    session = _open_session(path, whole_cpu())
    return Ports(inputs=_tensors(session.get_inputs()), outputs=_tensors(session.get_outputs()))


def _tensors(nodes: list[Any]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            name=node.name,
            dtype=_NUMPY_DTYPES.get(node.type, node.type),
            sides=tuple(side if isinstance(side, int) else None for side in node.shape),
        )
        for node in nodes
    )


def working_accelerators() -> list[tuple[str, str]]:
    """Name and provider of each accelerator that is really there; one provider per device.

    onnxruntime lists the providers that it was built with, present or not, so each is asked to run a model.
    """
    offered = set(ort.get_available_providers())
    found = []
    for device in _ACCELERATORS:
        for name, provider, _ in device:
            if provider in offered and _works(provider):
                found.append((name, provider))
                break
    return found


def _open_session(path: Path, processor: LocalProcessor) -> ort.InferenceSession:
    offered = ort.get_available_providers()
    if processor.provider not in offered:
        raise ModelError(
            f"processor {processor.name!r} needs {processor.provider}; onnxruntime here has: {', '.join(offered)}",
            path=path,
        )
    try:
        with pinned(processor.cpus):
            session = ort.InferenceSession(
                str(path), _session_options(processor.threads), providers=_providers(processor.provider)
            )
    except _ORT_ERRORS as error:
        raise ModelError(f"onnxruntime cannot load it: {error}", path=path) from error
    _refuse_fallback(session, processor, path)
    return session


def _refuse_fallback(session: ort.InferenceSession, processor: LocalProcessor, path: Path) -> None:
    # onnxruntime replaces a provider that does not start by the CPU; a profile would then describe the wrong thing.
    if processor.provider not in session.get_providers():
        raise ModelError(f"{processor.provider} does not start for processor {processor.name!r}", path=path)


def _session_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    # Threads spin between the operators of one call, which saves a wake-up each, but not between calls: there the
    # cores are for what prepares the next batch.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # x86 CPUs without VNNI saturate 8-bit products unless told not to, which costs int8 variants 5 to 15 points of
    # accuracy; an accuracy measured on one board has to hold on the others.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _providers(provider: str) -> list[tuple[str, dict[str, str]]]:
    chosen = [(provider, _OPTIONS.get(provider, {}))]
    return chosen if provider == CPU_PROVIDER else [*chosen, (CPU_PROVIDER, {})]


def _works(provider: str) -> bool:
    try:
        session = ort.InferenceSession(_IDENTITY_MODEL, _session_options(1), providers=_providers(provider))
    except _ORT_ERRORS:
        return False
    return provider in session.get_providers()
