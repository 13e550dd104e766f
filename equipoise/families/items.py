"""Items by name: the path of an image file, or `<path>.npy#<row>` for one row of an array."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import InputError
from equipoise.families.preprocess import ONE_NPY_HEADER, pack_array

_ROW = re.compile(r"(?P<path>.*\.npy)#(?P<row>\d+)", re.IGNORECASE | re.DOTALL)


def item_key(name: str) -> str:
    """One spelling for each item: its absolute path, whatever folder it was named from.

    Links in the folder's path are followed; one that is the file itself stays an item of its own.
    """
    path, row = split_row(name)
    key = str(path.parent.resolve() / path.name)
    return key if row is None else f"{key}#{row}"


def split_row(name: str) -> tuple[Path, int | None]:
    """The file of an item and its row there, None for a file that is an item as a whole."""
    match = _ROW.fullmatch(name)
    return (Path(match["path"]), int(match["row"])) if match else (Path(name), None)


def read_item(name: str) -> bytes:
    """The item's payload, as `preprocess.prepare` takes it. Raises InputError if it cannot be read."""
    path, row = split_row(name)
    try:
        return path.read_bytes() if row is None else pack_array(open_rows(path)[row])
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error
    except IndexError:
        raise InputError(f"has no row {row}") from None


def open_rows(path: Path) -> NDArray[Any]:
    """The array of a `.npy` file, left on disk. Raises OSError, and InputError if it is none or has no rows."""
    try:
        with ONE_NPY_HEADER:
            rows: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"is no readable .npy array: {error}", source=str(path)) from error
    if rows.ndim < 2:
        raise InputError(f"has shape {rows.shape}; its first axis must count the items", source=str(path))
    return rows
