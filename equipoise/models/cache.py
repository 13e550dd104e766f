"""Model files that were fetched, in a folder of bounded size; what was used longest ago leaves first.

A file is called by the SHA-256 of its content and is there whole or not at all; what is still on its way has the ending
`.part` and its whole length in its name. Locks (flock) say what is in use and by whom nothing may be removed: several
processes may share a folder, and a process that was killed leaves no lock behind.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from equipoise.errors import ModelError, NoRoomError, reason_of
from equipoise.families.manifest import sha256_of
from equipoise.models.description import ModelFile

_PART = ".part"


class Held:
    """A file that stays until this is closed."""

    def __init__(self, handle: int | None) -> None:
        self._handle = handle

    def close(self) -> None:
        """It may leave from now on."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class Part:
    """A file on its way, which nobody else writes to meanwhile. Any thread may call."""

    def __init__(self, path: Path, whole: Path, file: ModelFile, handle: int) -> None:
        self.file = file
        self._path = path
        self._whole = whole
        self._handle: int | None = handle
        self._lock = threading.Lock()  # whoever closes it must not do so under a thread that writes

    @property
    def size_bytes(self) -> int:
        """How much of it is here."""
        with self._lock:
            return os.fstat(self._open).st_size

    def append(self, data: bytes) -> None:
        """Keep what comes next. Raises ModelError if it cannot be kept."""
        with self._lock, _kept(self._path):
            os.lseek(self._open, 0, os.SEEK_END)
            left = memoryview(data)
            while left:
                left = left[os.write(self._open, left) :]

    def restart(self) -> None:
        """Throw away what is here of it."""
        with self._lock, _kept(self._path):
            os.ftruncate(self._open, 0)

    def finish(self) -> bool:
        """Make it a file of the cache if its SHA-256 is right; otherwise throw its content away, and return False."""
        with self._lock, _kept(self._path):
            if sha256_of(self._path) != self.file.sha256:
                os.ftruncate(self._open, 0)
                return False
            os.fsync(self._open)
            self._path.replace(self._whole)
            _sync_folder(self._whole.parent)
            return True

    def close(self) -> None:
        """Let go of it; what is here of it stays."""
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    @property
    def _open(self) -> int:
        if self._handle is None:
            raise ModelError("is no longer being fetched", path=self._path)
        return self._handle


class ModelCache:
    """Files in `folder`, at most `most_bytes` together, those on their way counted whole. Any thread may call."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self._checked: dict[str, tuple[int, int, int]] = {}  # which files have proved to be what they are called

    def prepare(self) -> None:
        """Make the folder, if need be. Raises ModelError if it cannot be made or written to."""
        with _kept(self.folder), self._locked():
            pass

    def path_of(self, file: ModelFile) -> Path:
        """Where it is, if it is here."""
        return self.folder / file.name

    def __contains__(self, file: ModelFile) -> bool:
        return self.path_of(file).exists()

    def here_bytes(self, file: ModelFile) -> int:
        """How much of it is here."""
        with suppress(OSError):
            return self.path_of(file).stat().st_size
        with suppress(OSError):
            return self._part_path(file).stat().st_size
        return 0

    def has_room_for(self, file: ModelFile) -> bool:
        """True if nothing would have to leave for it."""
        return self._used_bytes(besides=file) + file.size_bytes <= self.most_bytes

    def too_large(self, file: ModelFile) -> str:
        """What to say of a file that can never be here."""
        return (
            f"it has {file.size_bytes} bytes, more than the {self.most_bytes} that this machine keeps of files that it "
            "fetches; `equipoise node --cache-bytes` allows more"
        )

    def hold(self, file: ModelFile) -> Held | None:
        """Keep it from leaving, and count it as used now; None if it is not here, or not what it is called."""
        path = self.path_of(file)
        while True:
            try:
                handle = os.open(path, os.O_RDONLY)
            except OSError:
                return None
            fcntl.flock(handle, fcntl.LOCK_SH)  # waits at most for somebody who is removing it
            if not _is_at(path, handle):
                os.close(handle)
                continue  # it left in this moment
            if not self._is_itself(path, file):
                path.unlink(missing_ok=True)
                os.close(handle)
                return None
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
            return Held(handle)

    def begin(self, file: ModelFile) -> Part | None:
        """Go on with what is here of a file, or begin it; None if another process is at it.

        Others leave for it. Raises NoRoomError if there is no room for it all the same, ModelError if there never is,
        or the folder cannot be written to.
        """
        if file.size_bytes > self.most_bytes:
            raise ModelError(self.too_large(file), path=self.path_of(file))
        path = self._part_path(file)
        with _kept(path), self._locked():
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if not _locked_alone(handle) or not _is_at(path, handle):  # another process is at it, or has completed it
                os.close(handle)
                return None
            try:
                self._make_room(file)
            except BaseException:
                os.close(handle)
                raise
        return Part(path, self.path_of(file), file, handle)

    def _part_path(self, file: ModelFile) -> Path:
        return self.folder / f"{file.name}.{file.size_bytes}{_PART}"

    def _is_itself(self, path: Path, file: ModelFile) -> bool:
        found = path.stat()
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        if self._checked.get(file.name) != seen:
            if sha256_of(path) != file.sha256:
                return False
            self._checked[file.name] = seen
        return True

    def _entries(self, besides: ModelFile) -> Iterator[tuple[Path, int]]:
        """What is here, other than this file, with the bytes that each takes once it is whole."""
        part = self._part_path(besides)
        for path in self.folder.glob("*"):
            if path != part and not path.name.startswith("."):
                with suppress(OSError):  # it left meanwhile
                    yield path, _whole_bytes(path)

    def _used_bytes(self, besides: ModelFile) -> int:
        return sum(size_bytes for _, size_bytes in self._entries(besides))

    def _make_room(self, file: ModelFile) -> None:
        """Have as many others leave as it takes; nobody leaves in vain."""
        excess_bytes = self._used_bytes(file) + file.size_bytes - self.most_bytes
        leaving: list[tuple[Path, int]] = []
        try:
            for path, size_bytes in sorted(self._entries(file), key=lambda entry: _used_at(entry[0])):
                if excess_bytes <= 0:
                    break
                handle = _unused(path)
                if handle is not None:
                    leaving.append((path, handle))
                    excess_bytes -= size_bytes
            if excess_bytes > 0:
                raise NoRoomError(
                    f"has no room: {excess_bytes} of the {self.most_bytes} bytes for files that were fetched are "
                    "missing, and the rest is in use; `equipoise node --cache-bytes` allows more",
                    path=self.path_of(file),
                )
            for path, _ in leaving:
                path.unlink(missing_ok=True)
        finally:
            for _, handle in leaving:
                os.close(handle)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one process at a time makes room."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _whole_bytes(path: Path) -> int:
    if path.suffix == _PART:
        whole = path.name.split(".")[-2]
        return int(whole) if whole.isdigit() else path.stat().st_size
    return path.stat().st_size


def _used_at(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_atime_ns
    return 0


def _unused(path: Path) -> int | None:
    """A handle that nobody else can use the file beside; None if somebody does."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    if _locked_alone(handle):
        return handle
    os.close(handle)
    return None


def _locked_alone(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _kept(path: Path) -> Iterator[None]:
    """Raise ModelError for what the system refuses."""
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"cannot be kept: {reason_of(error)}; free some space, or name another folder with `equipoise node "
            "--cache DIR`",
            path=path,
        ) from error
