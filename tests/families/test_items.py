from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from equipoise.errors import InputError
from equipoise.families.items import item_key, read_item, split_row
from equipoise.families.preprocess import pack_array, unpack_array


@pytest.mark.parametrize(
    ("name", "path", "row"),
    [
        ("a/digits.npy#12", "a/digits.npy", 12),
        ("a/digits.NPY#0", "a/digits.NPY", 0),
        ("photo#1.jpg", "photo#1.jpg", None),
        ("photo.jpg#1", "photo.jpg#1", None),
        ("digits.npy#x", "digits.npy#x", None),
        ("odd.npy#1/digits.npy#2", "odd.npy#1/digits.npy", 2),
    ],
)
def test_only_rows_of_arrays_are_split(name: str, path: str, row: int | None):
    assert split_row(name) == (Path(path), row)


def test_a_row_travels_as_an_array_of_its_own(tmp_path: Path):
    rows = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.save(tmp_path / "rows.npy", rows)

    assert (unpack_array(read_item(item_key(f"{tmp_path}/rows.npy#1"))) == rows[1]).all()


def test_a_file_travels_as_it_is(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"bytes")

    assert read_item(f"{tmp_path}/a.jpg") == b"bytes"


@pytest.mark.parametrize("name", ["gone.jpg", "gone.npy#0", "rows.npy#2", "flat.npy#0", "broken.npy#0", "."])
def test_an_item_that_cannot_be_read_says_why(tmp_path: Path, name: str):
    np.save(tmp_path / "rows.npy", np.zeros((2, 3)))
    np.save(tmp_path / "flat.npy", np.zeros(2))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")

    with pytest.raises(InputError):
        read_item(f"{tmp_path}/{name}")


def test_headers_are_read_from_many_threads_at_once_without_harm():
    """Without the lock this fails on CPython 3.11, nearly always: see ONE_NPY_HEADER."""
    payload = pack_array(np.zeros((3, 3), np.uint8))

    def read_many(_: int) -> bool:
        return all(unpack_array(payload).shape == (3, 3) for _ in range(400))

    with changing_threads_often(), ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read_many, range(4)))


@contextmanager
def changing_threads_often() -> Iterator[None]:
    def give_way(phase: str, info: dict[str, int]) -> None:
        time.sleep(0)

    thresholds, interval_s = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(give_way)
    gc.set_threshold(5)
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s)
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(give_way)
