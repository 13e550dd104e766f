"""What goes into a model and what comes out, as its file itself says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output; a side that is None is free. `dtype` is numpy's name for it."""

    name: str
    dtype: str
    sides: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """A model's inputs and outputs, in the order of the file."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
