"""What makes two families the same on two machines: the models and how they are fed, not where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from equipoise.core.family import Family, Model


@lru_cache(maxsize=64)  # with a thousand labels it takes as long as planning
def identity_of(family: Family) -> str:
    """The SHA-256, in hexadecimal, of everything that an answer depends on.

    That is the labels and each variant's model file, input and output. What was measured of the variants and what
    their files are called may differ from machine to machine.
    """
    told = (family.name, family.task, family.labels, family.first_class, list(_essentials(family.models)))
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()


def _essentials(models: Iterable[Model]) -> Iterable[tuple[object, ...]]:
    for model in models:
        yield model.name, model.sha256, model.precision, model.input, model.output
