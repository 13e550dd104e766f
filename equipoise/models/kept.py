"""Descriptions of families that were heard of, in a folder, so that a node knows them again when it starts anew."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from equipoise.fabric.messages import FamilyDescription

MOST_FAMILIES = 64


class KeptFamilies:
    """A file per family, named after its identity."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, identity: str, description: FamilyDescription) -> None:
        """Remember a family; of more than `MOST_FAMILIES` those that were kept longest ago are forgotten.

        Raises OSError if that cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(description))
            Path(name).replace(self._folder / f"{identity}.json")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        for path in self._paths()[MOST_FAMILIES:]:
            path.unlink(missing_ok=True)

    def __iter__(self) -> Iterator[FamilyDescription]:
        """All that can be read, those that were kept last at the beginning."""
        for path in self._paths():
            with suppress(OSError, msgspec.DecodeError):
                yield msgspec.json.decode(path.read_bytes(), type=FamilyDescription)

    def _paths(self) -> list[Path]:
        found = []
        for path in self._folder.glob("*.json"):
            with suppress(OSError):
                found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found, reverse=True)]
