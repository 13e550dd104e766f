"""Items for the tiny family, and a sink that tells whether each was answered once and rightly."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from equipoise.core.cluster import ProcessorId
from equipoise.errors import InputError
from equipoise.fabric.messages import Answer
from equipoise.families.preprocess import pack_array


class GreyItems:
    """Item i is of class i % 4; items in `broken` do not decode, those in `missing` cannot be read."""

    def __init__(self, items: int, *, broken: Collection[int] = (), missing: Collection[int] = ()) -> None:
        self._items, self._broken, self._missing = items, broken, missing

    def __len__(self) -> int:
        return self._items

    def name(self, index: int) -> str:
        return f"item {index}"

    def payload(self, index: int) -> bytes:
        if index in self._missing:
            raise InputError("is gone", source=self.name(index))
        if index in self._broken:
            return b"junk"
        return pack_array(np.full((12, 12, 3), 32 + 64 * (index % 4), dtype=np.uint8))


class Kept:
    """A sink that refuses a second answer to any item."""

    def __init__(self) -> None:
        self.answers: dict[int, Answer] = {}
        self.by: dict[int, ProcessorId] = {}

    def accept(self, answer: Answer, pid: ProcessorId, variant: str) -> None:
        assert answer.item not in self.answers, f"item {answer.item} is answered twice"
        self.answers[answer.item] = answer
        self.by[answer.item] = pid

    def assert_all_right(self, items: int) -> None:
        assert {item: answer.classes[0] for item, answer in self.answers.items()} == {i: i % 4 for i in range(items)}
