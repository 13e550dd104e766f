"""The first examples of the README do what it says that they do."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_EXAMPLE = re.compile(r"```console\n\$ equipoise (?P<arguments>.*)\n(?P<output>(?:.*\n)*?)```")


def examples() -> list[tuple[list[str], list[str]]]:
    """Arguments and output of every example, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [(shlex.split(m["arguments"]), significant(m["output"])) for m in _EXAMPLE.finditer(text)]


def significant(output: str) -> list[str]:
    """Lines without padding, without empty ones and without what differs from run to run."""
    lines = (re.sub(r"planned in [^,]*", "planned in no time", line).strip() for line in output.splitlines())
    return [line for line in lines if line]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "equipoise", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_the_first_example_plans_as_the_readme_shows_and_answers_every_item():
    arguments, shown = examples()[0]

    done = run(arguments)

    assert done.returncode in (0, 4), done.stderr  # a busy machine may be late, and then says so
    receipt = next(number for number, line in enumerate(shown) if line.startswith("Receipt"))
    assert significant(done.stdout)[:receipt] == shown[:receipt]
    assert any(re.match(r"items +599 +599 +599 answered", line) for line in significant(done.stdout))


def test_the_second_example_is_declined_as_the_readme_shows():
    arguments, shown = examples()[1]

    done = run(arguments)

    assert (done.returncode, significant(done.stdout)) == (3, shown)


def test_the_line_that_builds_a_family_names_every_option_that_it_needs():
    (line,) = re.findall(r"`equipoise (family build .*?)`", (ROOT / "README.md").read_text(encoding="utf-8"))

    arguments = ["32" if word == "..." else word for word in shlex.split(line)]
    assert "--labels LABELS.txt cannot be read" in run(arguments).stderr
