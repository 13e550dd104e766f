"""The ONNX model that a family is built from, and how an image is fed to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from equipoise.core.family import Family, InputSpec, Model, OutputSpec
from equipoise.engines.base import Floats
from equipoise.engines.ports import Tensor
from equipoise.engines.processors import whole_cpu
from equipoise.engines.registry import load_engine
from equipoise.errors import ModelError, UsageError
from equipoise.families.preprocess import pack_array, prepare
from equipoise.families.quantise import is_quantised

_SUM_TOLERANCE = 0.02  # probabilities add up to 1; those of 8-bit models only nearly


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model file with the labels of its columns; `input` and `output` are tables of a manifest, without size_px."""

    path: Path
    precision: str
    labels: tuple[str, ...]
    first_class: int
    input: Mapping[str, Any]
    output: Mapping[str, Any]

    def spec(self, size_px: int) -> InputSpec:
        """How items go in at this size. Raises UsageError if the settings make no sense."""
        try:
            return msgspec.convert({**self.input, "size_px": size_px}, InputSpec)
        except msgspec.ValidationError as error:
            raise UsageError(f"the input of {self.path.name} cannot be that: {error}") from None

    def answer(self, size_px: int) -> Floats:
        """The scores, one per label, of a made-up image. Raises ModelError if there are none at this size."""
        model = Model(
            name=self.path.stem,
            file=self.path.name,
            sha256="",
            precision=self.precision,
            input=self.spec(size_px),
            output=OutputSpec(tensor=self.output["tensor"], kind="logits"),
        )
        family = Family(
            name=self.path.stem,
            task="classification",
            labels=self.labels,
            first_class=self.first_class,
            models=(model,),
            folder=self.path.parent,
        )
        with closing(load_engine(family, model.name, whole_cpu())) as engine:
            row: Floats = engine.infer(_made_up_item(model.input)[np.newaxis])[0]
        if row.shape != (len(self.labels),):
            columns = f"answers with {row.size} columns at {size_px} px, but there are {len(self.labels)} labels"
            raise ModelError(columns, path=self.path)
        return row


def open_source(
    path: Path,
    labels: Sequence[str],
    *,
    first_class: int = 0,
    input_settings: Mapping[str, Any] | None = None,
    output_settings: Mapping[str, Any] | None = None,
) -> Source:
    """The model at `path`, with what the settings leave out taken from the file itself.

    The settings are keys of the manifest's [input] and [output]; without a kind of output, `kind_of` tells it.
    Raises UsageError if the file cannot be read or the settings do not suit it, ModelError if it is no ONNX model
    of one image.
    """
    from equipoise.engines.onnx import ports_of  # noqa: PLC0415 - loads onnxruntime

    if path.suffix.lower() != ".onnx":
        raise UsageError(f"{path} does not end in .onnx; a family is built from an ONNX model")
    try:
        quantised = is_quantised(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    ports = ports_of(path)
    given = dict(input_settings or {})
    tensor = _named(ports.inputs, given.get("tensor"), path, "input")
    settings = {"kind": "image", **_told_by(tensor, path), "resize": "stretch", **given}
    if "layout" not in settings:
        raise UsageError(f"input {tensor.name!r} of {path} does not tell where its channels are; give --layout")
    wanted = dict(output_settings or {})
    return Source(
        path=path,
        precision="int8" if quantised else "fp16" if tensor.dtype == "float16" else "fp32",
        labels=tuple(labels),
        first_class=first_class,
        input=settings,
        output={**wanted, "tensor": _named(ports.outputs, wanted.get("tensor"), path, "output").name},
    )


def refuse_fixed_sides(source: Source, sizes_px: Sequence[int]) -> None:
    """Raises UsageError, naming the sides, if the model's height or width is fixed to another size."""
    from equipoise.engines.onnx import ports_of  # noqa: PLC0415 - loads onnxruntime

    tensor = _named(ports_of(source.path).inputs, source.input["tensor"], source.path, "input")
    height, width = tensor.sides[2:4] if source.input["layout"] == "NCHW" else tensor.sides[1:3]
    for size_px in sizes_px:
        if any(side not in (None, size_px) for side in (height, width)):
            shape = " x ".join("free" if side is None else str(side) for side in tensor.sides)
            raise UsageError(
                f"{source.path} cannot run at {size_px} px: its input {tensor.name!r} has fixed sides ({shape}); "
                "give that size alone, or export the model with free height and width"
            )


def kind_of(rows: Sequence[Floats]) -> str:
    """What the scores are: "probabilities" if every row has none below 0 and adds up to 1, otherwise "logits"."""
    like_probabilities = all(row.min() >= 0 and abs(row.sum() - 1) <= _SUM_TOLERANCE for row in rows)
    return "probabilities" if like_probabilities else "logits"


def _made_up_item(spec: InputSpec) -> NDArray[Any]:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return prepare(pack_array(pixels), spec)


def _named(tensors: tuple[Tensor, ...], wanted: str | None, path: Path, what: str) -> Tensor:
    names = ", ".join(repr(tensor.name) for tensor in tensors)
    found = [tensor for tensor in tensors if wanted in (None, tensor.name)]
    if not found:
        raise UsageError(f"{path} has no {what} {wanted!r}; its {what}s: {names}")
    if what == "input" and len(tensors) > 1:
        raise ModelError(f"takes {len(tensors)} inputs ({names}); a variant takes one image", path=path)
    return found[0]


def _told_by(tensor: Tensor, path: Path) -> dict[str, str]:
    """What the file says of the input; a side of 1 or 3 where channels may be tells which layout it is."""
    if len(tensor.sides) != 4:
        raise ModelError(f"input {tensor.name!r} has {len(tensor.sides)} axes, but batches of images have 4", path=path)
    told = {"tensor": tensor.name, "dtype": tensor.dtype}
    for layout, channels in (("NCHW", tensor.sides[1]), ("NHWC", tensor.sides[3])):
        if channels in (1, 3):
            told |= {"layout": layout, "color": "L" if channels == 1 else "RGB"}
    return told
