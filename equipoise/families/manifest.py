"""Reads a family's manifest, `family.toml`, and writes measured accuracies back into it."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from equipoise.core.cluster import Name
from equipoise.core.family import Accuracy, Family, InputSpec, Model, OutputSpec, Sha256, Task
from equipoise.errors import ConfigError, OutputError, reason_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MANIFEST = "family.toml"

T = TypeVar("T", bound=msgspec.Struct)


class _Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    task: Name
    labels: Name  # file with one label per line, in the order of the output columns
    first_class: int = 0
    input: dict[str, Any]
    output: dict[str, Any]
    variants: list[dict[str, Any]]


class _Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    file: Name
    sha256: Sha256 | None = None
    precision: Name
    size_px: int | None = None
    input: dict[str, Any] = {}  # keys of [input] that differ for this variant
    output: dict[str, Any] = {}  # likewise
    accuracy: Accuracy | None = None


def load_family(folder: Path) -> Family:
    """The family that `folder/family.toml` describes, its files checked against their SHA-256.

    Raises ConfigError, naming the place in the manifest, if anything about it is wrong.
    """
    path = folder / MANIFEST
    manifest = _convert(_read_toml(path), _Manifest, path, "")
    if not manifest.variants:
        raise ConfigError("has no [[variants]]; a family needs at least one", path=path)
    models = tuple(_model(table, number, manifest, path) for number, table in enumerate(manifest.variants, start=1))
    _refuse_same_names(models, path)
    return Family(
        name=manifest.name,
        task=_checked_task(manifest.task, path),
        labels=_read_labels(folder / manifest.labels, path),
        first_class=manifest.first_class,
        models=models,
        folder=folder,
    )


def record_accuracy(folder: Path, measured: Mapping[str, Accuracy]) -> None:
    """Write each variant's accuracy into the manifest, leaving comments, order and all else as they are.

    Raises KeyError for a variant that the manifest lacks, and OutputError if it cannot be written; then the old
    manifest is untouched.
    """
    path = folder / MANIFEST
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise ConfigError(f"cannot be read: {reason_of(error)}", path=path) from error
    tables = {str(table["name"]): table for table in document["variants"]}
    for name, accuracy in measured.items():
        tables[name]["accuracy"] = _inline(accuracy)
    _replace(path, tomlkit.dumps(document))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        remedy = "a family is a folder with a manifest of that name, see `equipoise family build`"
        raise ConfigError(f"there is no such file; {remedy}", path=path) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot be read as TOML: {reason_of(error)}", path=path) from error
    return parsed


def _convert(data: Any, wanted: type[T], path: Path, place: str) -> T:
    try:
        return msgspec.convert(data, wanted)
    except msgspec.ValidationError as error:
        reason, _, inner = str(error).partition(" - at `$")
        if "unknown field" in reason and not inner:
            reason += f"; known: {', '.join(field.name for field in msgspec.structs.fields(wanted))}"
        where = " ".join(part for part in (place, inner.rstrip("`").lstrip(".")) if part)
        raise ConfigError(reason, path=path, place=where or None) from None


def _model(table: dict[str, Any], number: int, manifest: _Manifest, path: Path) -> Model:
    place = f"[[variants]] number {number}"
    variant = _convert(table, _Variant, path, f"{place} {table['name']!r}" if "name" in table else place)
    place = f"variant {variant.name!r}"
    settings = {**manifest.input, **variant.input}
    if variant.size_px is not None:
        settings["size_px"] = variant.size_px
    return Model(
        name=variant.name,
        file=variant.file,
        sha256=_checked_sha256(path.parent / variant.file, variant.sha256, path, place),
        precision=variant.precision,
        input=_convert(settings, InputSpec, path, f"[input] of {place}"),
        output=_convert({**manifest.output, **variant.output}, OutputSpec, path, f"[output] of {place}"),
        accuracy=variant.accuracy,
    )


def _checked_task(task: str, manifest: Path) -> Task:
    known: tuple[Task, ...] = get_args(Task)
    for one in known:
        if one == task:
            return one
    raise ConfigError(
        f"task {task!r} cannot be run; known: {', '.join(map(repr, known))}, with a class per output column",
        path=manifest,
        place="task",
    )


def _checked_sha256(file: Path, expected: str | None, manifest: Path, place: str) -> str:
    try:
        found = sha256_of(file)
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise ConfigError(f"model file {file} {reason}", path=manifest, place=place) from None
    if expected is None:
        raise ConfigError(f'sha256 is missing; that of {file.name} is "{found}"', path=manifest, place=place)
    if found != expected:
        raise ConfigError(
            f"model file {file.name} has sha256 {found}, but the manifest says {expected}: "
            "the file is damaged or another one; get the right file or correct the manifest",
            path=manifest,
            place=place,
        )
    return found


def _refuse_same_names(models: Iterable[Model], path: Path) -> None:
    seen: set[str] = set()
    for model in models:
        if model.name in seen:
            raise ConfigError(f"two variants are named {model.name!r}; names must differ", path=path)
        seen.add(model.name)


def _read_labels(path: Path, manifest: Path) -> tuple[str, ...]:
    try:
        labels = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"label file {path} cannot be read: {reason_of(error)}", path=manifest, place="labels"
        ) from None
    if not labels:
        raise ConfigError(f"label file {path} is empty", path=manifest, place="labels")
    return labels


def _inline(accuracy: Accuracy) -> tomlkit.items.InlineTable:
    table = tomlkit.inline_table()
    for name in accuracy.__struct_fields__:
        value = getattr(accuracy, name)
        if value is not None:
            table[name] = list(value) if isinstance(value, tuple) else value
    return table


def _replace(path: Path, text: str) -> None:
    path = path.resolve()  # a link stays one
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(path.stat().st_mode & 0o777)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", path=path) from error
