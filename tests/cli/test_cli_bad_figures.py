"""Figures that cannot be: every command names the field and the file, and plans nothing with them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from equipoise.cli import clusters, main
from equipoise.core.ranges import MOST_VARIANTS

Run = Callable[..., tuple[int, str]]

BOARDS: dict[str, Any] = {
    "family": "birds",
    "variants": [{"name": "big", "accuracy": 0.9, "input_bytes": 1000}, {"name": "small", "accuracy": 0.7}],
    "nodes": [
        {
            "name": "pi",
            "memory_bytes": 10**9,
            "link": {"latency_s": 0.001, "bandwidth_bytes_per_s": 1e6},
            "processors": [
                {
                    "name": "cpu",
                    "idle_w": 1,
                    "active_w": 3,
                    "profiles": [
                        {"variant": "big", "latency_s": {"1": 0.02, "4": 0.06}, "load_s": 0.1, "memory_bytes": 1000},
                        {"variant": "small", "latency_s": {"1": 0.01}},
                    ],
                }
            ],
        }
    ],
}
PROCESSOR = ("nodes", 0, "processors", 0)
PROFILE = (*PROCESSOR, "profiles", 0)
QUEUED = {"name": "feeder", "family": "birds", "items": 10, "requirement": {"deadline_s": 5}}
COMMANDS = [
    ("plan", "boards.json", "--items", "10", "--deadline-s", "1"),
    ("plan", "boards.json", "--items", "10", "--deadline-s", "1", "--explain"),
    ("stream", "boards.json", "--arrivals-per-s", "10", "--item-latency-s", "1"),
    ("frontier", "boards.json", "--items", "10"),
    ("admit", "queue.json"),
]


@pytest.fixture
def equipoise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line where whoever plans anything fails; returns exit code and what it said on stderr."""

    def planned(*_: object, **__: object) -> None:
        raise AssertionError("planned with figures that should have been refused")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "queue.json").write_text(json.dumps({"clusters": ["boards.json"], "requests": [QUEUED]}))
    for command in ("plan.plan_with", "plan.explain_plan", "stream.plan_stream", "frontier.Fleet.of"):
        monkeypatch.setattr(f"equipoise.cli.{command}", planned)
    monkeypatch.setattr("equipoise.cli.admit.admit_all", planned)

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        return int(left.value.code or 0), capsys.readouterr().err

    return run


def written(*place: str | int, value: object) -> None:
    """The boards with another value in one place, as boards.json."""
    boards = copy.deepcopy(BOARDS)
    *outer, last = place
    inner: Any = boards
    for key in outer:
        inner = inner[key]
    inner[last] = value
    Path("boards.json").write_text(json.dumps(boards))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((*PROFILE, "latency_s"), {"1": 0}, "latency_s of batch 1 must be from 1e-07 to 100000, not 0.0"),
        ((*PROFILE, "latency_s"), {"1": -1}, "latency_s of batch 1 must be from 1e-07 to 100000, not -1.0"),
        ((*PROFILE, "latency_s"), {"1": 1e300}, "latency_s of batch 1 must be from 1e-07 to 100000, not 1e+300"),
        ((*PROFILE, "latency_s"), {"1": NAN}, "1 must be a number, not NaN (at line 1, column "),
        ((*PROFILE, "latency_s"), {"1": INF}, "1 must be a number, not Infinity (at line 1, column "),
        ((*PROFILE, "latency_s"), {"0": 1}, "a batch size in latency_s must be from 1 to 4096, not 0"),
        ((*PROFILE, "latency_s"), {"1" + 40 * "0": 1}, "a batch size in latency_s must be from 1 to 4096, not 1000"),
        ((*PROFILE, "latency_s"), {}, "latency_s is empty"),
        ((*PROFILE, "load_s"), -0.1, "load_s must be from 0 to 100000, not -0.1"),
        ((*PROFILE, "memory_bytes"), 10**40, "memory_bytes must be from 0 to 1e+15, not 1000"),
        (("nodes", 0, "link", "latency_s"), 1e9, "latency_s of a link must be from 0 to 100000, not 1000000000.0"),
        (("nodes", 0, "link", "bandwidth_bytes_per_s"), 0, "bandwidth_bytes_per_s of a link must be from 1 to"),
        (("nodes", 0, "link", "bandwidth_bytes_per_s"), NAN, "bandwidth_bytes_per_s must be a number, not NaN"),
        (("nodes", 0, "memory_bytes"), -1, "node 'pi': memory_bytes must be from 0 to"),
        (("nodes", 0, "name"), "\x1b[31mpi", r"node '\x1b[31mpi' has characters in its name that cannot be printed"),
        (("uplink_bytes_per_s",), -5, "uplink_bytes_per_s must be from 1 to"),
        (("variants", 0, "accuracy"), 90, "accuracy of variant 'big' must be a fraction from 0 to 1, not 90.0"),
        (("variants", 0, "accuracy_items"), 0, "accuracy_items of variant 'big' must be from 1 to"),
        (("variants", 0, "input_bytes"), -1, "input_bytes of variant 'big' must be from 0 to"),
        ((*PROCESSOR, "active_w"), 0.5, "active_w 0.5 is below idle_w 1"),
        ((*PROCESSOR, "idle_w"), -2, "idle_w must be from 0 to 1000000, not -2.0"),
        ((*PROCESSOR, "profiles", 0, "input_bytes"), -1, "input_bytes must be from 0 to"),
        ((*PROCESSOR, "profiles"), [], "no processor of the cluster has a profile"),
        (("variants",), [], "the cluster has no variants"),
        (("nodes",), [], "the cluster has no nodes"),
        (("nodes",), BOARDS["nodes"] * 2, "duplicate node: 'pi'"),
        (("variants",), BOARDS["variants"] * 2, "duplicate variant: 'big'"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_by_its_name(
    equipoise: Run, arguments: tuple[str, ...], place: tuple[str | int, ...], value: object, message: str
):
    written(*place, value=value)

    code, said = equipoise(*arguments)

    assert (code, said.count("\n")) == (1, 1), said
    assert said.startswith("equipoise: error: boards.json: ")
    assert message in said


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_a_million_variants_are_counted_and_refused_before_any_is_looked_at(
    equipoise: Run, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    variants = ",".join(f'{{"name":"v{n}","accuracy":0.5}}' for n in range(1_000_000))
    Path("boards.json").write_text(f'{{"family":"birds","variants":[{variants}],"nodes":[]}}')
    decoded: list[object] = []

    def decode(written: bytes, *, type: type) -> object:  # noqa: A002
        decoded.append(type)
        return msgspec.json.Decoder(type).decode(written)

    monkeypatch.setattr(clusters.msgspec.json, "decode", decode)

    code, said = equipoise(*arguments)

    told = f"1000000 variants are too many to plan with; at most {MOST_VARIANTS} can be"
    assert (code, said) == (1, f"equipoise: error: boards.json: {told}\n")
    assert clusters.Cluster not in decoded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON: Input data was truncated"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "Object missing required field `family`"),
        ('{"family":\n  oops}', "is no JSON: JSON is malformed: invalid character (at line 2, column 3)"),
        ("[" * 100_000, "Expected `object`, got `array`"),
    ],
)
def test_what_is_no_description_is_refused(equipoise: Run, text: str, message: str):
    Path("boards.json").write_text(text)

    code, said = equipoise(*COMMANDS[0])

    assert (code, said) == (1, f"equipoise: error: boards.json: {message}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--items", "0", "--deadline-s", "1"], "--items must be from 1 to 1000000000, not 0"),
        (["--items", "1000000000000", "--deadline-s", "1"], "--items must be from 1 to 1000000000, not 1000000000000"),
        (["--items", "5", "--deadline-s", "1e300"], "--deadline-s must be from 1e-12 to 1e+30, not 1e+300"),
        (["--items", "5", "--deadline-s", "inf"], "--deadline-s must be a positive, finite number, not inf"),
        (["--items", "5", "--throughput-per-s", "0"], "--throughput-per-s must be a positive, finite number, not 0.0"),
        (["--items", "5", "--deadline-s", "1", "--min-accuracy", "1.1"], "--min-accuracy must be a fraction from 0 to"),
        (["--items", "5", "--deadline-s", "1", "--max-energy-j", "nan"], "--max-energy-j must be a positive, finite"),
        (["--items", "5", "--deadline-s", "1", "--max-power-w", "-1"], "--max-power-w must be a positive, finite"),
        (["--items", "5", "--deadline-s", "1", "--confidence", "1"], "--confidence must be at least 0.5 and below 1"),
        (["--items", "5", "--deadline-s", "1", "--confidence", "nan"], "--confidence must be at least 0.5 and below 1"),
        (["--items", "5", "--prefer", "accuracy"], "--prefer accuracy needs --deadline-s or --throughput-per-s"),
    ],
)
def test_a_requirement_that_cannot_be_is_a_usage_error(equipoise: Run, options: list[str], message: str):
    written("family", value="birds")

    code, said = equipoise("plan", "boards.json", *options)

    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith(f"equipoise: error: {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": 0}, "items of request 'feeder' must be from 1 to 1000000000, not 0 (at $.requests[0])"),
        ({"items": 10**20}, "items of request 'feeder' must be from 1 to 1000000000, not 100000000000000000000"),
        ({"requirement": {"deadline_s": 0}}, "deadline_s must be a positive, finite number, not 0.0"),
        ({"requirement": {"deadline_s": NAN}}, "deadline_s must be a number, not NaN (at line 1, column "),
        ({"requirement": {"deadline_s": 1, "min_accuracy": 2}}, "min_accuracy must be a fraction from 0 to 1, not 2.0"),
        ({"requirement": {"prefer": "latency"}}, "request 'feeder' needs a deadline_s or a throughput_per_s"),
        ({"family": "fish"}, "request 'feeder' is of family 'fish', which no cluster describes; described: birds"),
        ({"name": "a\nb"}, r"request 'a\nb' has characters in its name that cannot be printed"),
    ],
)
def test_a_request_of_a_queue_that_cannot_be_is_refused(equipoise: Run, changes: dict[str, object], message: str):
    written("family", value="birds")
    Path("queue.json").write_text(json.dumps({"clusters": ["boards.json"], "requests": [QUEUED | changes]}))

    code, said = equipoise("admit", "queue.json")

    assert (code, said.count("\n")) == (1, 1), said
    assert said.startswith("equipoise: error: queue.json: ")
    assert message in said
