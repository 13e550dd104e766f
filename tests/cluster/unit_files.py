"""Reads unit files by the rules of systemd.syntax(7), as far as ours use them."""

from __future__ import annotations

import re

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def settings_of(text: str) -> dict[str, str]:
    """By name; of a name that stands several times, the last."""
    return dict(line.split("=", 1) for line in text.split("\n") if "=" in line)  # type: ignore[misc]


def words_of(value: str) -> list[str]:
    """The words of a value: quotes and escapes undone, "%%" is a per cent sign."""
    found = (re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2] for match in _WORD.finditer(value))
    return [word.replace("%%", "%") for word in found]


def command_of(text: str) -> list[str]:
    """What ExecStart runs."""
    return [word.replace("$$", "$") for word in words_of(settings_of(text)["ExecStart"])]


def environment_of(text: str) -> dict[str, str]:
    """What Environment= sets."""
    lines = (line.removeprefix("Environment=") for line in text.split("\n") if line.startswith("Environment="))
    return dict(word.split("=", 1) for line in lines for word in words_of(line))  # type: ignore[misc]
