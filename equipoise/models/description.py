"""A family as it travels, and as it is once its files lie in a cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from equipoise.core.family import Family, Model
from equipoise.fabric.messages import FamilyDescription, ModelDescription


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file as everybody knows it: by its content. `suffix` is the ending, which tells the engine."""

    sha256: str
    suffix: str
    size_bytes: int

    @property
    def name(self) -> str:
        """What it is called in a cache."""
        return self.sha256 + self.suffix


def describe(family: Family) -> FamilyDescription:
    """The family as others are told of it.

    Raises OSError if a model file is not there, ValueError if it cannot travel.
    """
    return FamilyDescription(
        name=family.name,
        task=family.task,
        labels=family.labels,
        first_class=family.first_class,
        models=tuple(_describe(model, family.path_of(model)) for model in family.models),
    )


def _describe(model: Model, path: Path) -> ModelDescription:
    suffix = path.suffix.lower()
    if suffix not in (".onnx", ".tflite"):
        raise ValueError(f"model file {path.name} has an ending that does not travel")
    return ModelDescription(
        name=model.name,
        sha256=model.sha256,
        suffix=suffix,  # type: ignore[arg-type]  # one of the two, as was just seen
        size_bytes=path.stat().st_size,
        precision=model.precision,
        input=model.input,
        output=model.output,
        accuracy=model.accuracy,
    )


def file_of(model: ModelDescription) -> ModelFile:
    """The file of a variant."""
    return ModelFile(model.sha256, model.suffix, model.size_bytes)


def family_in(folder: Path, description: FamilyDescription) -> Family:
    """The family with its files in this folder, under the names of their content; whatever others call them."""
    return Family(
        name=description.name,
        task=description.task,
        labels=description.labels,
        first_class=description.first_class,
        models=tuple(
            Model(
                name=model.name,
                file=file_of(model).name,
                sha256=model.sha256,
                precision=model.precision,
                input=model.input,
                output=model.output,
                accuracy=model.accuracy,
            )
            for model in description.models
        ),
        folder=folder,
    )
