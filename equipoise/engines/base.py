"""The interface to what runs a model, and what the adapters behind it share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from equipoise.core.family import InputSpec
from equipoise.errors import ModelError

Floats = NDArray[np.float32]


class Engine(Protocol):
    """A loaded variant on one processor. One inference at a time; any thread may call."""

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size that the model file takes, or None; the engine loops over larger batches itself."""

    @property
    def runtime(self) -> str:
        """Library, version and provider, as in "onnxruntime 1.32.0 CPUExecutionProvider"."""

    def infer(self, batch: NDArray[Any]) -> Floats:
        """Scores of shape (n, columns) for a batch of shape (n, *item_shape) with n >= 1. Raises ModelError."""

    def close(self) -> None:
        """Free the model's memory; the engine cannot be used again."""


def in_batches_of(size: int, batch: NDArray[Any], run: Callable[[NDArray[Any]], Floats]) -> Floats:
    """`run` over `batch` in calls of exactly `size` items, the last one filled up by repeating its last item."""
    rows: list[Floats] = []
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        missing = size - len(part)
        filled = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
        rows.append(run(filled)[: len(part)])
    return np.concatenate(rows)


def refuse_misfit(path: Path, spec: InputSpec, dtype: str, item_shape: Sequence[int | None]) -> None:
    """Check a model's input against its manifest; a side that is None is free. Raises ModelError naming both."""
    sides_fit = len(item_shape) == len(spec.item_shape) and all(
        found in (None, wanted) for found, wanted in zip(item_shape, spec.item_shape, strict=True)
    )
    if dtype == spec.dtype and sides_fit:
        return
    shown = " x ".join("free" if side is None else str(side) for side in item_shape)
    wanted_shape = " x ".join(map(str, spec.item_shape))
    raise ModelError(
        f"input {spec.tensor!r} takes {dtype} items of {shown}, but the manifest says {spec.dtype} of {wanted_shape}; "
        "correct dtype, layout, size_px or shape under [input]",
        path=path,
    )
