"""Measures one variant in a fresh process, on one processor or on several together: `main` is what runs in it.

A process of its own shows what memory a model really takes, and survives a model that crashes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import EquipoiseError, ModelError, reason_of
from equipoise.families.manifest import sha256_of
from equipoise.profiling.contention import contention
from equipoise.profiling.machine import installed_runtime
from equipoise.profiling.measure import Effort, Measurement, measure


class _Job(msgspec.Struct, frozen=True, kw_only=True):
    """One processor, or several together, each with batches of so many items."""

    family: Family
    variant: str
    processors: tuple[LocalProcessor, ...]
    batches: dict[str, int] | None = None
    effort: Effort


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    measurement: Measurement | None = None
    contention: dict[str, float] = {}
    error: str | None = None


def measure_apart(family: Family, variant: str, processor: LocalProcessor, effort: Effort) -> Measurement:
    """Measure the pair in a process of its own. Raises ModelError if it cannot run, or its process dies."""
    found = _apart(_Job(family=family, variant=variant, processors=(processor,), effort=effort)).measurement
    assert found is not None
    return found


def contention_apart(
    family: Family, variant: str, processors: Sequence[LocalProcessor], batches: Mapping[str, int], effort: Effort
) -> dict[str, float]:
    """What these processors cost each other, see `contention`, in a process of its own. Raises ModelError likewise."""
    job = _Job(family=family, variant=variant, processors=tuple(processors), batches=dict(batches), effort=effort)
    return _apart(job).contention


def _apart(job: _Job) -> _Outcome:
    command = [sys.executable, "-m", "equipoise.profiling.probe"]
    ended = subprocess.run(command, input=msgspec.json.encode(job, enc_hook=str), capture_output=True, check=False)
    if ended.returncode != 0:
        path = job.family.path_of(job.family.model(job.variant))
        raise ModelError(
            f"measuring it ended the process ({_how(ended.returncode)}){_last_line(ended.stderr)}", path=path
        )
    outcome = msgspec.json.decode(ended.stdout.splitlines()[-1], type=_Outcome)
    if outcome.error is not None:
        raise ModelError(outcome.error)
    return outcome


def main() -> None:
    """Read a job from stdin, measure, and write the outcome to stdout as one line."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=_Job, dec_hook=_decoded)
    try:
        _refuse_exchanged(job.family, job.variant)
        path = job.family.path_of(job.family.model(job.variant))
        installed_runtime(path)  # imported before memory and loads are counted
        outcome = _measured(job)
    except EquipoiseError as error:
        outcome = _Outcome(error=str(error))
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")


def _measured(job: _Job) -> _Outcome:
    clock, effort = time.perf_counter, job.effort
    if job.batches is None:
        (processor,) = job.processors
        return _Outcome(measurement=measure(job.family, job.variant, processor, clock=clock, effort=effort))
    found = contention(job.family, job.variant, job.processors, job.batches, clock=clock, effort=effort)
    return _Outcome(contention=found)


def _refuse_exchanged(family: Family, variant: str) -> None:
    """What is measured is kept under the SHA-256 of the manifest: the file must still be that one."""
    model = family.model(variant)
    path = family.path_of(model)
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ModelError(f"cannot be read: {reason_of(error)}", path=path) from error
    if found != model.sha256:
        raise ModelError(f"has sha256 {found}, but its manifest said {model.sha256}", path=path)


def _decoded(wanted: type, value: Any) -> Any:
    return wanted(value) if issubclass(wanted, Path) else value


def _how(exit_code: int) -> str:
    return f"exit code {exit_code}" if exit_code > 0 else f"signal {-exit_code}; perhaps it was out of memory"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""


if __name__ == "__main__":
    main()
