"""The items of a request: what the user named, in a fixed order, read from disk only when they are sent.

An item is one image file, or one row of a `.npy` array. Its name is the path as the user wrote it, with
`#<row>` behind it for a row; it is what predictions, receipts and label files call the item.
"""

from __future__ import annotations

import glob
import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from equipoise.errors import InputError, UsageError
from equipoise.families.items import open_rows
from equipoise.families.preprocess import IMAGE_ENDINGS, pack_array


class Items(Protocol):
    """What is to be answered, by index."""

    def __len__(self) -> int:
        """How many items there are; at least one."""

    def name(self, index: int) -> str:
        """What the user calls the item."""

    def payload(self, index: int) -> bytes:
        """The item as it travels: the bytes of an image file or of a one-array `.npy`. Raises InputError."""


class _Source(Protocol):
    """Some consecutive items out of one file."""

    path: Path

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def payload(self, index: int) -> bytes: ...


class ImageFile:
    """One file, taken as an encoded image; whether it is one, the node finds out."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 1

    def name(self, _index: int) -> str:
        """The path as it was given."""
        return self.path.as_posix()

    def payload(self, _index: int) -> bytes:
        """The file's bytes. Raises InputError if it has become unreadable."""
        try:
            return self.path.read_bytes()
        except OSError as e:
            raise InputError(f"cannot be read: {e.strerror}") from e


class ArrayRows:
    """The rows of a `.npy` array: its first axis counts the items. The array stays on disk.

    Raises UsageError if the file has no rows to give.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._rows = open_rows(path)
        except OSError as e:
            raise UsageError(f"{path} cannot be read: {e.strerror}") from e
        except InputError as e:
            raise UsageError(str(e)) from e
        if len(self._rows) == 0:
            raise UsageError(f"{path} has no rows")

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, index: int) -> str:
        """`<path>#<row>`, counting from 0."""
        return f"{self.path.as_posix()}#{index}"

    def payload(self, index: int) -> bytes:
        """The row as a `.npy` of its own."""
        return pack_array(self._rows[index])


class ItemList:
    """Items from several sources, in the order given; `payload` may be called from several threads."""

    def __init__(self, sources: Sequence[_Source]) -> None:
        self._sources = tuple(sources)
        self._starts = [0]
        for source in self._sources:
            self._starts.append(self._starts[-1] + len(source))

    def __len__(self) -> int:
        return self._starts[-1]

    def name(self, index: int) -> str:
        """What the user calls the item."""
        source, row = self._find(index)
        return source.name(row)

    def payload(self, index: int) -> bytes:
        """The item as it travels. Raises InputError."""
        source, row = self._find(index)
        return source.payload(row)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of each source, in the order given."""
        return tuple(source.path for source in self._sources)

    def fingerprint(self) -> str:
        """The SHA-256 of which items these are: their names, and the size and time of change of each file."""
        told = hashlib.sha256()
        for source in self._sources:
            state = source.path.stat() if source.path.exists() else None
            changed = (state.st_size, state.st_mtime_ns) if state is not None else None
            told.update(repr((os.fsencode(source.path), len(source), changed)).encode())
        return told.hexdigest()

    def _find(self, index: int) -> tuple[_Source, int]:
        place = bisect_right(self._starts, index) - 1
        return self._sources[place], index - self._starts[place]


def find_items(inputs: Iterable[str]) -> ItemList:
    """The items that files, folders, glob patterns and `.npy` arrays name.

    A folder stands for the images in it and beneath it, sorted by path, hidden ones left out. A pattern stands
    for the files that match it (`**` crosses folders), a file for itself whatever its ending.
    Raises UsageError if an input names nothing, or an item would come twice.
    """
    taken: dict[str, str] = {}
    sources: list[_Source] = []
    for given in inputs:
        for path in _expand(given):
            _refuse_twice(path, given, taken)
            _refuse_endless(path)
            sources.append(ArrayRows(path) if path.suffix.lower() == ".npy" else ImageFile(path))
    if not sources:
        raise UsageError("no inputs given; name files, folders, patterns or .npy arrays")
    return ItemList(sources)


def _refuse_twice(path: Path, given: str, taken: dict[str, str]) -> None:
    key = os.path.normpath(path.absolute())
    if key in taken:
        raise UsageError(f"{path} comes twice, from {taken[key]!r} and from {given!r}; name every item once")
    taken[key] = given


def _refuse_endless(path: Path) -> None:
    """Pipes and devices may be waited for, or read, for ever; a file that has vanished is only an unreadable item."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no regular file (but a pipe, a device or a socket); copy what it gives to a file")


def _expand(given: str) -> Iterable[Path]:
    path = Path(given)
    if path.is_dir():
        return _images_in(path)
    if path.exists():
        return [path]
    if glob.has_magic(given):
        matches = sorted(Path(m) for m in glob.glob(given, recursive=True) if Path(m).is_file())  # noqa: PTH207
        if not matches:
            raise UsageError(f"no file matches {given!r}")
        return matches
    raise UsageError(f"there is no file or folder {given!r}")


def _images_in(folder: Path) -> list[Path]:
    images = sorted(_walk(folder))
    if not images:
        raise UsageError(f"folder {str(folder)!r} has no images (files that end in {', '.join(IMAGE_ENDINGS)})")
    return images


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UsageError(f"folder {error.filename!r} cannot be read: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(IMAGE_ENDINGS):
                yield Path(parent, name)
