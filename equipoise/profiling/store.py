"""Keeps measurements in the user's data directory, and forgets those that no longer hold."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs

from equipoise.core.family import Family, InputSpec, OutputSpec
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import OutputError
from equipoise.profiling.machine import installed_runtime, machine_fingerprint
from equipoise.profiling.measure import Measurement

DATA_FOLDER_VARIABLE = "EQUIPOISE_DATA_DIR"


def default_data_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's data is kept: what EQUIPOISE_DATA_DIR says, otherwise what the system recommends."""
    given = environment.get(DATA_FOLDER_VARIABLE)
    return Path(given) if given else Path(platformdirs.user_data_dir("equipoise", appauthor=False))


def default_cache_folder(environment: Mapping[str, str]) -> Path:
    """Where what can be had again is kept: beneath what EQUIPOISE_DATA_DIR says, or where the system recommends."""
    given = environment.get(DATA_FOLDER_VARIABLE)
    return Path(given) / "cache" if given else Path(platformdirs.user_cache_dir("equipoise", appauthor=False))


class Subject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured: a model file fed in one way, on one processor, by one runtime on one machine.

    `output` and `labels`, how many there are, because a measurement also says that the model fits them.
    """

    model_sha256: str
    input: InputSpec
    output: OutputSpec
    labels: int
    processor: str
    provider: str
    threads: int
    cpus: tuple[int, ...] | None
    runtime: str
    machine: str


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    subject: Subject
    measurement: Measurement


def subject_of(family: Family, variant: str, processor: LocalProcessor) -> Subject:
    """What measuring this pair here and now would measure. Raises KeyError, and ModelError without a runtime."""
    model = family.model(variant)
    return Subject(
        model_sha256=model.sha256,
        input=model.input,
        output=model.output,
        labels=len(family.labels),
        processor=processor.name,
        provider=processor.provider,
        threads=processor.threads,
        cpus=processor.cpus,
        runtime=installed_runtime(family.path_of(model)),
        machine=machine_fingerprint(),
    )


class _TogetherRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    together: tuple[Subject, ...]
    contention: dict[str, float]


Record = _Record | _TogetherRecord


class ProfileStore:
    """Measurements as JSON files in `folder`: one per model and processor, and one per model that several run."""

    def __init__(self, data_folder: Path) -> None:
        self.folder = data_folder / "profiles"

    def load(self, subject: Subject) -> Measurement | None:
        """The measurement of exactly this, or None: never measured, stale, or the file is damaged."""
        try:
            record = msgspec.json.decode(self._path(subject).read_bytes(), type=_Record)
        except (OSError, msgspec.DecodeError):
            return None
        return record.measurement if record.subject == subject else None

    def save(self, subject: Subject, measurement: Measurement) -> None:
        """Keep it, in place of what an older runtime or another machine has left. Raises OutputError."""
        self._save(self._path(subject), _Record(subject=subject, measurement=measurement))

    def load_contention(self, together: tuple[Subject, ...]) -> dict[str, float] | None:
        """By processor, how many times longer calls take while all of these are at work; None as in `load`."""
        try:
            record = msgspec.json.decode(self._path(*together).read_bytes(), type=_TogetherRecord)
        except (OSError, msgspec.DecodeError):
            return None
        return record.contention if record.together == together else None

    def save_contention(self, together: tuple[Subject, ...], contention: Mapping[str, float]) -> None:
        """Keep it, as `save` does. Raises OutputError."""
        self._save(self._path(*together), _TogetherRecord(together=together, contention=dict(contention)))

    def _save(self, path: Path, record: Record) -> None:
        encoded = msgspec.json.format(msgspec.json.encode(record), indent=1)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(path, encoded)
        except OSError as error:
            remedy = f"free some space, or name another folder in {DATA_FOLDER_VARIABLE}"
            raise OutputError(f"the profile cannot be kept: {error.strerror or error}; {remedy}", path=path) from error

    def _path(self, *subjects: Subject) -> Path:
        # Without runtime and machine, so that an upgrade replaces a record rather than leaving it behind.
        lasting = b"".join(msgspec.json.encode(msgspec.structs.replace(s, runtime="", machine="")) for s in subjects)
        return self.folder / f"{hashlib.sha256(lasting).hexdigest()}.json"


def _replace(path: Path, content: bytes) -> None:
    """Write the file whole or not at all, whoever reads or writes it meanwhile."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".profile-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
