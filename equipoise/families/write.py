"""Writes the manifest of a family that was just made; `manifest` reads it back, with every check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from equipoise.families.manifest import MANIFEST, sha256_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A variant that has no measured accuracy yet; `file` is relative to the family's folder."""

    name: str
    file: str
    precision: str
    size_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What all variants of a family share; `input` and `output` are the manifest's tables of these names."""

    name: str
    labels: str
    first_class: int
    input: Mapping[str, Any]
    output: Mapping[str, Any]


def write_manifest(folder: Path, header: Header, variants: Sequence[Draft], *, comment: str) -> None:
    """Write `folder/family.toml` for model files that are there already. Raises OSError."""
    document = tomlkit.document()
    document.add(tomlkit.comment(comment))
    document.update({"name": header.name, "task": "classification", "labels": header.labels})
    document["first_class"] = header.first_class
    document["input"] = _table(header.input)
    document["output"] = _table(header.output)
    document["variants"] = tomlkit.aot()
    for variant in variants:
        document["variants"].append(_table(_fields(folder, variant)))
    (folder / MANIFEST).write_text(tomlkit.dumps(document), encoding="utf-8")


def _fields(folder: Path, variant: Draft) -> dict[str, Any]:
    return {
        "name": variant.name,
        "file": variant.file,
        "sha256": sha256_of(folder / variant.file),
        "precision": variant.precision,
        "size_px": variant.size_px,
    }


def _table(fields: Mapping[str, Any]) -> tomlkit.items.Table:
    table = tomlkit.table()
    table.trivia.indent = "\n"  # a blank line before it
    for name, value in fields.items():
        table[name] = list(value) if isinstance(value, tuple) else value
    return table
