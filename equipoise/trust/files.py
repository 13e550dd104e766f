"""Files of keys and certificates: written whole or not at all, and readable by their owner alone where they must be."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from equipoise.errors import TrustError, reason_of


def make_folder(folder: Path) -> None:
    """Make a folder that only its owner can look into. Raises TrustError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise TrustError(f"{folder}: cannot be made: {reason_of(error)}") from error


def write_private(path: Path, content: bytes) -> None:
    """Write a file that is never, not even for a moment, open to others (mode 0600). Raises TrustError."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise TrustError(f"{path}: cannot be written: {reason_of(error)}") from error


def read_private(path: Path) -> bytes:
    """What is in a file with a key. Raises TrustError if it cannot be read, or if others than its owner could."""
    try:
        if path.stat().st_mode & 0o077:
            raise TrustError(
                f"{path}: others can read this key; run `chmod 600 {path}`, or make a new one if they have"
            )
        return path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {reason_of(error)}") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time is in this context with this folder."""
    try:
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise TrustError(f"{folder}: cannot be written to: {reason_of(error)}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
