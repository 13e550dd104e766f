"""Scenario files: what is wrong with one is told with file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest
from boards import THREE

from equipoise.cli.clusters import load_cluster
from equipoise.core.request import Prefer
from equipoise.errors import ConfigError
from equipoise.families.demo import demo_folder
from equipoise.simulation import Recorded
from equipoise.simulation.scenario_file import load_scenario

REQUEST = "[[requests]]\nitems = 10\ndeadline_s = 5\n"
STREAM = "[[streams]]\nfor_s = 10\narrivals_per_s = 5\n"
ARRIVE = "line 5, streams[0].arrivals"


def event(**fields: object) -> str:
    lines = (f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}" for name, value in fields.items())
    return "\n".join(["[[events]]", *lines, ""])


def load(folder: Path, text: str):
    path = folder / "scenario.toml"
    path.write_text(text)
    return load_scenario(path, THREE)


def test_a_file_says_what_the_nouns_say(tmp_path: Path):
    scenario = load(
        tmp_path, REQUEST + event(at_s=1, kind="load", node="a", speed=0.5) + "[truth]\nspeed_error = 0.2\n"
    )

    assert (scenario.requests[0].items, scenario.requests[0].requirement.deadline_s) == (10, 5.0)
    assert scenario.events[0].node == "a"
    assert scenario.truth.speed_error == 0.2


def test_without_a_time_slack_goes_to_latency(tmp_path: Path):
    assert load(tmp_path, "[[requests]]\nitems = 3\n").requests[0].requirement.prefer is Prefer.LATENCY


@pytest.mark.parametrize("name", ["drift", "streams"])
def test_the_scenarios_of_the_docs_fit_the_boards_of_the_demo(name: str):
    path = Path(__file__).parents[2] / "docs" / "scenarios" / f"{name}.toml"

    assert load_scenario(path, load_cluster(demo_folder() / "boards.json")).events


def test_recorded_arrivals_are_read_from_the_file_beside_the_scenario(tmp_path: Path):
    (tmp_path / "monday.txt").write_text("0.5\n0.75\n\n3\n")

    scenario = load(tmp_path, STREAM + "item_latency_s = 1\narrivals = {kind = 'recorded', file = 'monday.txt'}\n")

    assert scenario.streams[0].arrivals == Recorded(times=(0.5, 0.75, 3.0))


def test_a_recording_that_has_no_numbers_is_refused(tmp_path: Path):
    (tmp_path / "monday.txt").write_text("0.5\nnoon\n")

    with pytest.raises(ConfigError, match=r"a number of seconds in every line.*noon"):
        load(tmp_path, STREAM + "item_latency_s = 1\narrivals = {kind = 'recorded', file = 'monday.txt'}\n")


@pytest.mark.parametrize(
    ("text", "problem", "place"),
    [
        ("[[requests]]\nitems = 0\n", "items must be at least 1", "line 2, requests[0].items"),
        (REQUEST + "foo = 1\n", "unknown field 'foo'", "line 4, requests[0].foo"),
        (REQUEST + "requirement = {}\n", "stand beside items", "line 4, requests[0].requirement"),
        (REQUEST + "name = 'a/b'\n", "must be made of", "line 4, requests[0].name"),
        (REQUEST + "min_accuracy = 1.5\n", "fraction from 0 to 1", "line 4, requests[0].min_accuracy"),
        (REQUEST + "confidence = 0.1\n", "at least 0.5", "line 4, requests[0].confidence"),
        ("[[requests]]\nitems = 1\nthroughput_per_s = 0\n", "positive", "line 3, requests[0].throughput_per_s"),
        ("[[requests]]\nitems = 1\nprefer = 'accuracy'\n", "needs a deadline_s", "line 3, requests[0].prefer"),
        ("[[requests]]\nitems = 1\nprefer = 'fast'\n", "fast", "line 3, requests[0].prefer"),
        ("requests = [{items = 5, at_s = -2}]\n", "at_s must be 0 or more", "line 1, requests[0]"),
        ("requests = 3\n", "Expected `array`", "line 1, requests"),
        ("", "neither requests nor streams", ""),
        (STREAM + "item_latency_s = 0\n", "positive", "line 4, streams[0].item_latency_s"),
        (STREAM + "item_latency_s = 1\nprefer = 'energy'\n", "not energy", "line 5, streams[0].prefer"),
        (STREAM + "item_latency_s = 1\nitems = 5\n", "unknown field 'items'", "line 5, streams[0].items"),
        (
            STREAM + "item_latency_s = 1\narrivals = {kind = 'x'}\n",
            "known: bursty, diurnal, poisson, recorded",
            ARRIVE + ".kind",
        ),
        (
            STREAM + "item_latency_s = 1\narrivals = {kind = 'diurnal', swing = 2, period_s = 1}\n",
            "from 0 to 1",
            ARRIVE,
        ),
        (
            STREAM + "item_latency_s = 1\narrivals = {kind = 'bursty', peak = 4, burst_s = 1, calm_s = 1}\n",
            "peak must lie between 1 and 2",
            ARRIVE,
        ),
        (STREAM + "item_latency_s = 1\narrivals = {kind = 'recorded', times = [2, 1]}\n", "run backwards", ARRIVE),
        (STREAM + "item_latency_s = 1\narrivals = {kind = 'recorded', file = 'no.txt'}\n", "cannot be read", ARRIVE),
        (
            REQUEST + "name = 'x'\n" + STREAM + "item_latency_s = 1\nname = 'x'\n",
            "two requests are called 'x'",
            "line 9, streams[0].name",
        ),
        (REQUEST + "at_s = 4\n" + REQUEST + "at_s = 3\n", "time runs backwards", "line 8, requests[1].at_s"),
        (
            REQUEST + "name = 'x'\n" + REQUEST + "name = 'x'\n",
            "two requests are called 'x'",
            "line 8, requests[1].name",
        ),
        (REQUEST + event(at_s=1, kind="leaves", node="z"), "no node 'z'; known: a, b, c", "line 7, events[0].node"),
        (
            REQUEST + event(at_s=1, kind="boom", node="a"),
            "known: heat, leaves, link, load, returns, uplink",
            "line 6, events[0].kind",
        ),
        (REQUEST + event(at_s=1, node="a"), "field 'kind' is missing", "line 4, events[0].kind"),
        (REQUEST + event(at_s=1, kind="leaves"), "one of them", "line 4, events[0]"),
        (REQUEST + event(at_s=1, kind="leaves", node="a", fraction=0.5), "not both", "line 7, events[0].node"),
        (REQUEST + event(at_s=1, kind="leaves", fraction=1.5), "at most 1", "line 7, events[0].fraction"),
        (REQUEST + event(at_s=1, kind="load", node="a", speed=0), "positive", "line 8, events[0].speed"),
        (REQUEST + event(at_s=1, kind="load", node="a", speed="x"), "Expected `float`", "line 8, events[0].speed"),
        (
            REQUEST + event(at_s=1, kind="load", node="a", speed=1, processor="npu"),
            "no processor 'npu' there; known: cpu",
            "line 9, events[0].processor",
        ),
        (
            REQUEST + event(at_s=1, kind="heat", node="a", speed=2, time_constant_s=1),
            "at most 1",
            "line 8, events[0].speed",
        ),
        (REQUEST + event(at_s=1, kind="uplink"), "is missing", "line 4, events[0].bandwidth_bytes_per_s"),
        (
            REQUEST + event(at_s=1, kind="uplink", bandwidth_bytes_per_s=-1),
            "must be positive",
            "line 7, events[0].bandwidth_bytes_per_s",
        ),
        (
            REQUEST + event(at_s=1, kind="uplink", node="a", bandwidth_bytes_per_s=1e6),
            "unknown field 'node'",
            "line 7, events[0].node",
        ),
        (REQUEST + event(at_s=1, kind="link", node="a"), "one of them", "line 4, events[0]"),
        (
            REQUEST + event(at_s=1, kind="link", node="a", bandwidth_bytes_per_s=0),
            "positive",
            "line 8, events[0].bandwidth_bytes_per_s",
        ),
        (REQUEST + event(at_s=1, kind="returns", node="a"), "it has not left", "line 7, events[0].node"),
        (REQUEST + event(at_s=1, kind="returns", node="a", for_s=1), "makes no sense", "line 8, events[0].for_s"),
        (
            REQUEST + event(at_s=1, kind="leaves", node="a") + event(at_s=2, kind="leaves", node="a"),
            "it has left already",
            "line 11, events[1].node",
        ),
        (
            REQUEST + event(at_s=2, kind="leaves", node="a") + event(at_s=1, kind="leaves", node="b"),
            "1.0 s comes after 2.0 s",
            "line 9, events[1].at_s",
        ),
        (REQUEST + "[truth]\nspeed_error = 1.0\n", "below 1", "line 5, truth.speed_error"),
        (REQUEST + "[truth]\nlease = 1.0\n", "unknown field 'lease'", "line 5, truth.lease"),
        (REQUEST + "[truth.stragglers]\nprobability = 0\n", "above 0", "line 5, truth.stragglers.probability"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_field(tmp_path: Path, text: str, problem: str, place: str):
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)

    assert problem in str(raised.value)
    assert str(tmp_path / "scenario.toml") in str(raised.value)
    assert raised.value.place == place


def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"is no TOML: .*line 2"):
        load(tmp_path, "[[requests]]\nitems =\n")
