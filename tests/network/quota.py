"""Less processor for a process than the machine has: a cgroup with a quota, version 1 or 2, whichever is there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_V1 = Path("/sys/fs/cgroup/cpu")
_V2 = Path("/sys/fs/cgroup")
_PERIOD_US = 20_000  # short, or a slowed program would rather stutter than be slow


def missing() -> str | None:
    """Why processes cannot be slowed here; None if they can."""
    if os.geteuid() != 0:
        return "needs root: cgroups"
    if _is_v1() or _is_v2():
        return None
    return "needs the cpu controller of cgroups, version 1 or 2, mounted and writable"


class Quota:
    """A group of processes that get `fraction` of one core together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, fraction: float | None) -> None:
        """How much of one core they get from now on; None for no limit."""
        quota_us = None if fraction is None else max(1000, round(fraction * _PERIOD_US))
        if _is_v1():
            (self._folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (self._folder / "cpu.cfs_quota_us").write_text(str(-1 if quota_us is None else quota_us))
        else:
            (self._folder / "cpu.max").write_text(f"{'max' if quota_us is None else quota_us} {_PERIOD_US}")

    def add(self, pid: int) -> None:
        """From now on this process, and what it starts, are of the group."""
        (self._folder / "cgroup.procs").write_text(str(pid))


@contextmanager
def quota() -> Iterator[Quota]:
    """A group of its own; its processes are without limit again afterwards."""
    root = _V1 if _is_v1() else _V2
    if root is _V2:
        (_V2 / "cgroup.subtree_control").write_text("+cpu")
    folder = root / f"eqp{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    try:
        yield Quota(folder)
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError, OSError):
                (root / "cgroup.procs").write_text(pid)
        folder.rmdir()


def _is_v1() -> bool:
    return os.access(_V1 / "cgroup.procs", os.W_OK) and (_V1 / "cpu.shares").exists()


def _is_v2() -> bool:
    controllers = _V2 / "cgroup.controllers"
    return controllers.exists() and "cpu" in controllers.read_text().split() and os.access(_V2, os.W_OK)
