"""A family: models that do the same task with the same labels, one of them per variant.

These nouns are what a family manifest says once it has been read and checked; `families.manifest` reads it.
Of the labels, line i names output column i; a class index is a column plus `first_class`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from equipoise.core.accuracy import wilson_interval
from equipoise.core.cluster import Cluster, Name, Variant
from equipoise.errors import ConfigError

PerChannel = float | tuple[float, ...]
IsoDate = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Task = Literal["classification"]  # what answers can be
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one item looks like when it enters a model, and how an image becomes that.

    An image is decoded, resized to `size_px` x `size_px` and turned into (pixel * scale - mean) / std, where a
    pixel is 0 to 255; mean and std are one number or one per channel, in the order of `color`. `tensor` is the
    model's name for the input. `shape` is that of an item without the batch axis; tensors must give it, and
    of images it follows from the rest.
    """

    kind: Literal["image", "tensor"]
    tensor: Name
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    dtype: Literal["uint8", "int8", "float16", "float32"]
    color: Literal["RGB", "BGR", "L"] = "RGB"
    resize: Literal["stretch", "shorter-side", "letterbox"] = "stretch"
    size_px: Annotated[int, Meta(ge=1, le=8192)] | None = None
    shape: tuple[int, ...] | None = None
    mean: PerChannel = 0.0
    std: PerChannel = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind == "tensor":
            self._check_tensor()
        else:
            self._check_image()

    def _check_tensor(self) -> None:
        if self.shape is None or any(side < 1 for side in self.shape):
            raise ValueError("an input of kind 'tensor' needs shape, the sides of one item without the batch axis")
        if self.size_px is not None or self.normalises:
            raise ValueError("size_px, mean, std and scale are for kind 'image'; a tensor is passed on as it is")

    def _check_image(self) -> None:
        if self.size_px is None:
            raise ValueError("an input of kind 'image' needs size_px")
        if self.shape is not None:
            raise ValueError("shape is for kind 'tensor'; that of an image follows from size_px, color and layout")
        for name, value in (("mean", self.mean), ("std", self.std), ("scale", (self.scale,))):
            numbers = value if isinstance(value, tuple) else (value,)
            if len(numbers) not in (1, self.channels):
                raise ValueError(f"{name} must have one number or {self.channels} (for {self.color}), not {value}")
            if not all(map(math.isfinite, numbers)) or (name == "std" and 0 in numbers):
                raise ValueError(f"{name} must be finite{' and not 0' if name == 'std' else ''}, not {value}")

    @property
    def normalises(self) -> bool:
        """True if pixels are changed by scale, mean or std."""
        return (self.mean, self.std, self.scale) != (0.0, 1.0, 1.0)

    @property
    def channels(self) -> int:
        """Colour channels of an image."""
        return 1 if self.color == "L" else 3

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one item without the batch axis."""
        if self.shape is not None:
            return self.shape
        side = self.size_px or 0
        return (side, side, self.channels) if self.layout == "NHWC" else (self.channels, side, side)


class OutputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model answers: one row per item with one column per label."""

    tensor: Name
    kind: Literal["probabilities", "logits"]


Fraction = Annotated[float, Meta(ge=0, le=1)]


class Accuracy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A measured accuracy: `value` of `items` labelled items of `dataset` came out right."""

    metric: Literal["top1"] = "top1"
    value: Fraction
    items: Annotated[int, Meta(ge=1)]
    dataset: Name
    top5: Fraction | None = None
    interval: tuple[Fraction, Fraction] | None = None
    measured_on: IsoDate | None = None

    def __post_init__(self) -> None:
        if self.interval is not None and not self.interval[0] <= self.value <= self.interval[1]:
            raise ValueError(f"interval {list(self.interval)} must contain the value {self.value}")

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval: as the manifest gives it, otherwise Wilson's."""
        return self.interval or wilson_interval(self.value * self.items, self.items)


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A variant and the file that implements it; `file` is relative to the family's folder."""

    name: str
    file: str
    sha256: str
    precision: str
    input: InputSpec
    output: OutputSpec
    accuracy: Accuracy | None = None

    @property
    def size_px(self) -> int | None:
        """Height and width of the input image; None for tensors."""
        return self.input.size_px


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Models for one task, in the order of the manifest, with the labels that they share."""

    name: str
    task: Task
    labels: tuple[str, ...]
    first_class: int
    models: tuple[Model, ...]
    folder: Path

    def model(self, name: str) -> Model:
        """The model of the variant of that name. Raises KeyError."""
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)

    def path_of(self, model: Model) -> Path:
        """Where the model's file is."""
        return self.folder / model.file

    @property
    def classes(self) -> range:
        """The indices of its classes; a column before class 0 stands for none."""
        return range(max(0, self.first_class), self.first_class + len(self.labels))

    def label(self, class_index: int) -> str:
        """The label of a class. Raises IndexError."""
        column = class_index - self.first_class
        if column < 0:
            raise IndexError(f"class {class_index} is before the first class of family {self.name!r}")
        return self.labels[column]

    def refuse_description(self, cluster: Cluster, *, path: Path | None = None) -> None:
        """Raise ConfigError unless a cluster is described for this family, and for no variant that it lacks.

        `path` is where the description was read.
        """
        if cluster.family != self.name:
            raise ConfigError(
                f"describes what family {cluster.family!r} costs, but what is to be run is family {self.name!r} "
                f"({self.folder}); give the description of {self.name!r}, or run {cluster.family!r}",
                path=path,
                place="family",
            )
        known = sorted(model.name for model in self.models)
        for variant in cluster.variants:
            if variant.name not in known:
                raise ConfigError(
                    f"the cluster description has variant {variant.name!r}, which family {self.name!r} lacks; "
                    f"it has {', '.join(known)}",
                    path=path,
                )

    def described_variants(self) -> tuple[Variant, ...]:
        """The evaluated variants as a cluster description has them.

        Raises ConfigError if no variant was ever evaluated.
        """
        described = tuple(
            Variant(name=model.name, accuracy=model.accuracy.value, accuracy_items=model.accuracy.items)
            for model in self.models
            if model.accuracy is not None
        )
        if not described:
            raise ConfigError(
                "no variant has a measured accuracy; measure with `equipoise evaluate FAMILY --labelled DATA`",
                path=self.folder,
            )
        return described
