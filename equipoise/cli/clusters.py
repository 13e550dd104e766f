"""Cluster descriptions as files, and what else a person writes as JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import msgspec

from equipoise.core.cluster import Cluster
from equipoise.core.ranges import MOST_NODES, MOST_VARIANTS, refuse_more
from equipoise.errors import ConfigError

T = TypeVar("T")

_LIVE = Path("live")
_FAULT_AT = re.compile(r"\(byte (\d+)\)")
_LAST_KEY = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:[^"]*$')
_NO_JSON_NUMBER = re.compile(rb"-?(?:NaN|nan|Infinity|Inf|inf)\b")
_LOOK_BACK = 400  # bytes before a fault: its key stands in them


class _Sizes(msgspec.Struct, frozen=True):
    """How much there is, counted without looking at any of it."""

    variants: list[msgspec.Raw] = []
    nodes: list[msgspec.Raw] = []


def load_cluster(path: Path) -> Cluster:
    """The cluster that a JSON file describes, or the live one as it is now where the path is `live`.

    Raises ConfigError, which names the place in the file, and ClusterError if no live cluster can be described.
    """
    if path == _LIVE:
        from equipoise.cli.live_description import live_cluster  # noqa: PLC0415 - the network takes a while to import

        return live_cluster()
    written = read_bytes(path)
    sizes = decode_json(written, _Sizes, path)
    try:
        refuse_more("variants", len(sizes.variants), MOST_VARIANTS)
        refuse_more("nodes", len(sizes.nodes), MOST_NODES)
    except ValueError as e:
        raise ConfigError(str(e), path=path) from e
    return decode_json(written, Cluster, path)


def read_bytes(path: Path) -> bytes:
    """What a file holds. Raises ConfigError."""
    try:
        return path.read_bytes()
    except OSError as e:
        raise ConfigError(f"cannot be read: {e.strerror}", path=path) from e


def decode_json(written: bytes, wanted: type[T], path: Path) -> T:
    """What a JSON file says, checked. Raises ConfigError, which names the place in it."""
    try:
        return msgspec.json.decode(written, type=wanted)
    except msgspec.ValidationError as e:
        problem, _, place = str(e).partition(" - at `")
        raise ConfigError(problem, path=path, place=place.replace("`", "") or None) from e
    except msgspec.DecodeError as e:
        raise ConfigError(_what_is_no_json(written, str(e)), path=path) from e


def _what_is_no_json(written: bytes, complaint: str) -> str:
    """The complaint of the decoder with line and column, and the key where it is a number that JSON has not."""
    found = _FAULT_AT.search(complaint)
    if found is None:
        return f"is no JSON: {complaint}"
    at = int(found[1])
    line, column = written.count(b"\n", 0, at) + 1, at - written.rfind(b"\n", 0, at)
    number = _NO_JSON_NUMBER.match(written, at)
    key = _LAST_KEY.search(written[max(0, at - _LOOK_BACK) : at])
    if number is not None and key is not None:
        named = key[1].decode(errors="replace")
        return f"{named} must be a number, not {number[0].decode()} (at line {line}, column {column})"
    return f"is no JSON: {complaint.partition(' (byte')[0]} (at line {line}, column {column})"
