"""Measures one variant on one processor in a fresh process: `measure_apart` starts it, `main` is what runs in it.

A process of its own shows what memory a model really takes, and survives a model that crashes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import EquipoiseError, ModelError, reason_of
from equipoise.families.manifest import sha256_of
from equipoise.profiling.machine import installed_runtime
from equipoise.profiling.measure import Effort, Measurement, measure


class _Job(msgspec.Struct, frozen=True, kw_only=True):
    family: Family
    variant: str
    processor: LocalProcessor
    effort: Effort


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    measurement: Measurement | None = None
    error: str | None = None


def measure_apart(family: Family, variant: str, processor: LocalProcessor, effort: Effort) -> Measurement:
    """Measure the pair in a process of its own. Raises ModelError if it cannot run, or its process dies."""
    job = _Job(family=family, variant=variant, processor=processor, effort=effort)
    command = [sys.executable, "-m", "equipoise.profiling.probe"]
    ended = subprocess.run(command, input=msgspec.json.encode(job, enc_hook=str), capture_output=True, check=False)
    path = family.path_of(family.model(variant))
    if ended.returncode != 0:
        raise ModelError(
            f"measuring it ended the process ({_how(ended.returncode)}){_last_line(ended.stderr)}", path=path
        )
    outcome = msgspec.json.decode(ended.stdout.splitlines()[-1], type=_Outcome)
    if outcome.measurement is None:
        raise ModelError(outcome.error or "cannot be measured")
    return outcome.measurement


def main() -> None:
    """Read a job from stdin, measure, and write the outcome to stdout as one line."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=_Job, dec_hook=_decoded)
    try:
        _refuse_exchanged(job.family, job.variant)
        path = job.family.path_of(job.family.model(job.variant))
        installed_runtime(path)  # imported before memory and loads are counted
        found = measure(job.family, job.variant, job.processor, clock=time.perf_counter, effort=job.effort)
        outcome = _Outcome(measurement=found)
    except EquipoiseError as error:
        outcome = _Outcome(error=str(error))
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")


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
