"""Makes an int8 ONNX model out of a float one, with onnxruntime's static quantiser."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from equipoise.errors import ModelError, UsageError

_QUANTISED_OPS = (b"DequantizeLinear", b"QLinearConv", b"QLinearMatMul", b"ConvInteger", b"MatMulInteger")

_ERRORS_ONLY, _AS_IT_WAS = 3, 2  # severities of onnxruntime's log


def quantise(source: Path, target: Path, tensor: str, batches: Iterable[NDArray[Any]]) -> None:
    """Write the int8 model of `source` to `target`: QDQ, int8 weights per channel, uint8 activations.

    The range of each activation is the widest seen over `batches`, which `tensor` is fed with.
    Raises UsageError if the onnx package is missing, ModelError if the model cannot be quantised.
    """
    require_onnx()
    from onnxruntime.quantization import (  # noqa: PLC0415 - needs the onnx package, an extra
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415 - likewise

    with tempfile.TemporaryDirectory() as scratch, _quiet():
        prepared = Path(scratch) / "prepared.onnx"
        try:
            # Symbolic shapes need sympy, and give convolutional models nothing that the quantiser uses.
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(target),
                _Calibration(tensor, batches),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # the quantiser raises anything; the reason is passed on
            raise ModelError(f"cannot be quantised to int8: {error}", path=source) from error


def is_quantised(path: Path) -> bool:
    """True if the model already computes in 8 bits. Raises OSError."""
    # Operator names stand in the file as they are, so that asking needs no onnx package.
    content = path.read_bytes()
    return any(name in content for name in _QUANTISED_OPS)


def require_onnx() -> None:
    """Raises UsageError, with the remedy, if the onnx package is not installed."""
    try:
        import onnx  # noqa: F401, PLC0415 - only asked whether it is there
    except ImportError:
        raise UsageError("quantising to int8 needs the onnx package; `pip install 'equipoise[build]'`") from None


class _Calibration:
    """The batches in the form that onnxruntime's calibration reads them in."""

    def __init__(self, tensor: str, batches: Iterable[NDArray[Any]]) -> None:
        self._feeds = iter([{tensor: batch} for batch in batches])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back advice that a user of this program cannot act upon, of the quantiser and of onnxruntime."""
    import onnxruntime  # noqa: PLC0415 - loaded only where it is used

    before = logging.root.level
    logging.root.setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    try:
        yield
    finally:
        logging.root.setLevel(before)
        onnxruntime.set_default_logger_severity(_AS_IT_WAS)
