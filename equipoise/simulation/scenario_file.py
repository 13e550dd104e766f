"""Scenarios as TOML files. Whatever is wrong is told with file, line and field."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import msgspec

from equipoise.core.cluster import Cluster
from equipoise.core.request import Requirement
from equipoise.errors import ConfigError, reason_of
from equipoise.simulation.arrivals import Arrivals
from equipoise.simulation.events import Event, ScenarioError
from equipoise.simulation.scenario import Scenario

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_REQUIREMENT = frozenset(Requirement.__struct_fields__)
_KINDS = [kind.__struct_config__.tag for kind in get_args(Event)]
_ARRIVALS = [kind.__struct_config__.tag for kind in get_args(Arrivals)]
_HEADER = re.compile(r"\s*\[\s*([\w.-]+)\s*\]\s*(?:#.*)?$")
_ENTRY = re.compile(r"\s*\[\[\s*([\w.-]+)\s*\]\]\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_ODD_FIELD = re.compile(r"Object (contains unknown|missing required) field `(.+)`")  # as msgspec says it


def load_scenario(path: Path, cluster: Cluster) -> Scenario:
    """The scenario that a file describes, checked against the cluster that it is to happen to.

    A request's requirement stands beside its items: `deadline_s`, `min_accuracy`, ...; without a time, slack goes to
    latency. Raises ConfigError, which names file, line and field.
    """
    text = _text_of(path)
    try:
        scenario = msgspec.convert(_shaped(tomllib.loads(text), path.parent), Scenario)
        scenario.check(cluster)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is no TOML: {error}", path=path) from error
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise _located(problem, place.strip("`.").replace(".requirement", ""), text, path) from error
    except ScenarioError as error:
        raise _located(str(error), error.place, text, path) from error
    return scenario


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {reason_of(error)}", path=path) from error


def _shaped(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With each request's requirement in a table of its own, and recorded arrivals read from their files."""
    shaped = dict(data)
    if isinstance(requests := data.get("requests"), list):
        shaped["requests"] = [_shaped_request(r, n) if isinstance(r, dict) else r for n, r in enumerate(requests)]
    if isinstance(streams := data.get("streams"), list):
        shaped["streams"] = [_shaped_stream(s, n, folder) if isinstance(s, dict) else s for n, s in enumerate(streams)]
    return shaped


def _shaped_stream(flat: dict[str, Any], number: int, folder: Path) -> dict[str, Any]:
    arrivals = flat.get("arrivals")
    if not isinstance(arrivals, dict) or not isinstance(arrivals.get("file"), str):
        return flat
    place = f"streams[{number}].arrivals"
    if "times" in arrivals:
        raise ScenarioError("file and times: recorded arrivals need one of them, and not both", place)
    path = folder / arrivals["file"]
    try:
        times = [float(line) for line in path.read_text(encoding="utf-8").split()]
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {reason_of(error)}", place) from error
    except ValueError as error:
        raise ScenarioError(f"{path} must have a number of seconds in every line: {error}", place) from error
    return flat | {"arrivals": {k: v for k, v in arrivals.items() if k != "file"} | {"times": times}}


def _shaped_request(flat: dict[str, Any], number: int) -> dict[str, Any]:
    if "requirement" in flat:
        raise ScenarioError("a requirement's fields stand beside items", f"requests[{number}].requirement")
    required = {key: value for key, value in flat.items() if key in _REQUIREMENT}
    if "deadline_s" not in required and "throughput_per_s" not in required:
        required = {"prefer": "latency"} | required
    rest = {key: value for key, value in flat.items() if key not in _REQUIREMENT}
    return rest | {"requirement": required}


def _located(problem: str, place: str, text: str, path: Path) -> ConfigError:
    """The error at its place: of the field that the problem names or begins with, if any, or else of what it is in."""
    lines = _lines_of(text)
    if odd := _ODD_FIELD.match(problem):
        problem = f"unknown field {odd[2]!r}" if odd[1] == "contains unknown" else f"field {odd[2]!r} is missing"
        place = f"{place}.{odd[2]}".strip(".")
    elif place.endswith(".kind"):
        kinds = _ARRIVALS if place.endswith(".arrivals.kind") else _KINDS
        problem += f"; known: {', '.join(sorted(kinds))}"
    elif (field := f"{place}.{problem.split(' ')[0]}".strip(".")) in lines:
        place = field
    at = place
    while at and at not in lines:
        at = at[: max(at.rfind("."), at.rfind("["), 0)]
    return ConfigError(problem, path=path, place=", ".join(filter(None, (f"line {lines[at]}" if at else "", place))))


def _lines_of(text: str) -> dict[str, int]:
    """The line on which each entry and key stands, by its place: `events[2]`, `events[2].node`, `truth.lease_s`."""
    lines: dict[str, int] = {}
    entries: Counter[str] = Counter()
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if entry := _ENTRY.match(line):
            table = f"{entry[1]}[{entries[entry[1]]}]"
            entries[entry[1]] += 1
            lines[table] = number
        elif header := _HEADER.match(line):
            table = header[1]
            lines[table] = number
        elif key := _KEY.match(line):
            lines[f"{table}.{key[1]}".strip(".")] = number
    return lines
