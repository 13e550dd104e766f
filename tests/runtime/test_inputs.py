from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest

from equipoise.errors import InputError, UsageError
from equipoise.runtime.inputs import ItemList, find_items


def names(items: ItemList) -> list[str]:
    return [items.name(index) for index in range(len(items))]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.png", "photos/a.JPG", "photos/deep/c.webp", "photos/notes.txt", "photos/.hidden.png"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return Path("photos")


def test_a_folder_stands_for_its_images_sorted_and_without_hidden_ones(photos: Path):
    assert names(find_items([str(photos)])) == ["photos/a.JPG", "photos/b.png", "photos/deep/c.webp"]


def test_a_pattern_stands_for_every_file_that_matches(photos: Path):
    assert names(find_items(["photos/**/*.webp", "photos/b.*"])) == ["photos/deep/c.webp", "photos/b.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(photos: Path):
    (photos / "x[1].png").write_bytes(b"one")

    assert names(find_items(["photos/x[1].png"])) == ["photos/x[1].png"]


def test_a_file_stands_for_itself_whatever_its_ending(photos: Path):
    items = find_items(["photos/notes.txt"])

    assert items.payload(0) == b"photos/notes.txt"


def test_rows_of_an_array_are_items_that_travel_as_arrays_of_their_own(photos: Path):
    rows = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    np.save(photos / "rows.npy", rows)

    items = find_items(["photos/b.png", "photos/rows.npy"])

    assert names(items) == ["photos/b.png", "photos/rows.npy#0", "photos/rows.npy#1", "photos/rows.npy#2"]
    assert np.array_equal(np.load(io.BytesIO(items.payload(2))), rows[1])


def test_an_array_in_fortran_order_gives_the_same_rows(photos: Path):
    rows = np.asfortranarray(np.arange(24).reshape(3, 2, 4))
    np.save(photos / "rows.npy", rows)

    items = find_items(["photos/rows.npy"])

    assert np.array_equal(np.load(io.BytesIO(items.payload(1))), rows[1])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "no inputs given"),
        (["nowhere"], "no file or folder 'nowhere'"),
        (["photos/*.bmp"], "no file matches 'photos/*.bmp'"),
        (["photos/b.png", "photos"], r"photos/b.png comes twice, from 'photos/b.png' and from 'photos'"),
        (["photos/b.png", "./photos/../photos/b.png"], "comes twice"),
        (["empty"], "folder 'empty' has no images"),
    ],
)
def test_inputs_that_name_nothing_or_the_same_twice_are_refused(photos: Path, inputs: list[str], message: str):
    Path("empty").mkdir()

    with pytest.raises(UsageError) as refusal:
        find_items(inputs)

    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 4, 4)), "has no rows"),
        (np.zeros(4), "its first axis must count the items"),
        (np.array([{"a": 1}], dtype=object), "no readable .npy array"),
    ],
)
def test_arrays_without_rows_are_refused(tmp_path: Path, array: np.ndarray, message: str):
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)

    with pytest.raises(UsageError, match=message):
        find_items([str(tmp_path / "bad.npy")])


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_files_that_are_no_arrays_are_refused(tmp_path: Path, content: bytes):
    (tmp_path / "bad.npy").write_bytes(content)

    with pytest.raises(UsageError, match=r"bad\.npy: is no readable \.npy array"):
        find_items([str(tmp_path / "bad.npy")])


def test_a_file_that_vanishes_is_an_error_of_that_item_alone(photos: Path):
    items = find_items(["photos"])
    (photos / "b.png").unlink()

    assert items.payload(0) == b"photos/a.JPG"
    with pytest.raises(InputError, match=r"^cannot be read"):
        items.payload(1)


def test_pipes_and_devices_are_refused_before_anything_is_read(photos: Path):
    os.mkfifo(photos / "pipe.jpg")

    for given in ("photos/pipe.jpg", "photos", "/dev/zero"):
        with pytest.raises(UsageError, match="is no regular file"):
            find_items([given])
