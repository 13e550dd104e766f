"""A node's log: every line can be read by a program, and none does anything to a terminal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.node.log import NodeLog

VALUE = r'"(?:[^"\\]|\\.)*"|[^\s"]+'
LINE = re.compile(rf'\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ (?P<event>[^="]+?)(?P<facts>(?: \w+=(?:{VALUE}))*)')
FACT = re.compile(rf" (\w+)=({VALUE})")


def line_of(event: str, **facts: object) -> str:
    file = io.StringIO()
    NodeLog(file)(event, **facts)
    return file.getvalue()


def parsed(line: str) -> tuple[str, dict[str, str]]:
    """The event and the facts of a line."""
    found = LINE.fullmatch(line.removesuffix("\n"))
    assert found is not None, line
    values = {
        name: json.loads(value) if value.startswith('"') else value for name, value in FACT.findall(found["facts"])
    }
    return found["event"], values


@given(st.dictionaries(st.sampled_from(["node", "reason", "path"]), st.text()))
def test_whatever_is_told_is_one_line_that_reads_as_it_was_told(facts: dict[str, str]) -> None:
    line = line_of("reload failed", **facts)

    assert line.count("\n") == 1
    assert parsed(line) == ("reload failed", facts)


@given(st.text())
def test_nothing_that_cannot_be_printed_reaches_the_terminal(text: str) -> None:
    assert line_of("refused", reason=text).removesuffix("\n").isprintable()


def test_plain_values_stand_as_they_are_and_what_is_none_is_left_out() -> None:
    line = line_of("ready", node="pi", after_s=1.23456, insecure=None, processors="cpu0,cpu1")

    assert line.endswith("Z ready node=pi after_s=1.235 processors=cpu0,cpu1\n")


def test_a_full_disk_does_not_stop_the_node() -> None:
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - closing it is what fails

    NodeLog(full)("ready", node="pi")

    with pytest.raises(OSError, match="No space left"):
        full.close()
