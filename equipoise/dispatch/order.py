"""The random order in which the items of a request are given out, as a function of the seed and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

_ROUNDS = 6
_BLOCK = 4096  # numbers that are permuted at once

Words = npt.NDArray[np.uint64]


class Shuffled(Sequence[int]):
    """The numbers 0 to `items` - 1, in an order that `seed` decides. Takes no memory, however many there are.

    A Feistel network permutes the numbers of the least even count of bits that has room for them all; what comes out
    too large is permuted again until it is not (cycle walking: Black & Rogaway, Ciphers with Arbitrary Finite Domains,
    CT-RSA 2002).
    """

    def __init__(self, items: int, seed: int) -> None:
        self._items = items
        self._seed = seed
        self._half_bits = np.uint64(max(1, ((items - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half_bits)) - 1)

    @cached_property
    def _keys(self) -> Words:
        first = np.uint64(self._seed & 0xFFFF_FFFF_FFFF_FFFF)
        return _mixed(np.arange(1, _ROUNDS + 1, dtype=np.uint64) + _mixed(first.reshape(1)))

    def __len__(self) -> int:
        return self._items

    def __iter__(self) -> Iterator[int]:
        if self._items == 1:  # who asks for one item is in a hurry, and there is nothing to decide
            yield 0
            return
        for start in range(0, self._items, _BLOCK):
            yield from self._block(start, min(start + _BLOCK, self._items))

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        """The number at a place. Raises IndexError."""
        if isinstance(index, slice):
            return self._block(*index.indices(self._items))
        place = range(self._items)[index]
        return self._block(place, place + 1)[0]

    def _block(self, start: int, stop: int, step: int = 1) -> list[int]:
        numbers = self._permuted(np.arange(start, stop, step).astype(np.uint64))
        while (outside := np.flatnonzero(numbers >= self._items)).size:
            numbers[outside] = self._permuted(numbers[outside])
        found: list[int] = numbers.tolist()
        return found

    def _permuted(self, numbers: Words) -> Words:
        left, right = numbers >> self._half_bits, numbers & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right + key) & self._mask)
        permuted: Words = (left << self._half_bits) | right
        return permuted


def _mixed(words: Words) -> Words:
    """A hash of each word: the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = words ^ (words >> np.uint64(31))
    return mixed
