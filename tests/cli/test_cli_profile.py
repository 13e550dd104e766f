from __future__ import annotations

import json
from pathlib import Path

import pytest

from equipoise.cli import main
from equipoise.cli.options import parse_split
from equipoise.core.family import Family
from equipoise.engines.processors import processors_named, usable_cpus
from equipoise.errors import ModelError, UsageError
from equipoise.profiling import local
from equipoise.profiling.machine import installed_runtime
from equipoise.profiling.measure import Effort, Measurement
from equipoise.profiling.statistics import summarise


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQUIPOISE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Variants in the order in which they were measured; the figures are made up."""
    variants: list[str] = []

    def made_up(_family: Family, variant: str, _processor: object, _effort: Effort) -> Measurement:
        variants.append(variant)
        return Measurement(
            runtime="made up",
            calls={1: summarise([0.004, 0.004]), 2: summarise([0.005, 0.005])},
            looped=variant == "large",
            load_s=0.1,
            memory_bytes=7_000_000,
            prepare_s=0.0003,
        )

    monkeypatch.setattr(local, "measure_apart", made_up)
    return variants


def test_every_variant_is_measured_for_real_and_kept(
    tiny_family: Family, data_folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("profile", tiny_family.folder, "--processors", "cpu", "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    assert [(found["processor"], found["variant"]) for found in printed["profiles"]] == [
        ("cpu", "small"),
        ("cpu", "large"),
    ]
    assert all(found["calls"]["1"]["median_s"] > 0 for found in printed["profiles"])
    assert all("onnxruntime" in found["runtime"] for found in printed["profiles"])
    assert len(list((data_folder / "profiles").iterdir())) == 2


def test_what_was_measured_before_is_measured_again_only_when_asked(tiny_family: Family, measured: list[str]):
    run("profile", tiny_family.folder)
    run("profile", tiny_family.folder)
    assert measured == ["small", "large"]

    run("profile", tiny_family.folder, "--again")
    assert measured == ["small", "large"] * 2


def test_the_table_has_a_row_per_batch_size_and_marks_the_best(
    tiny_family: Family, measured: list[str], capsys: pytest.CaptureFixture[str]
):
    assert run("profile", tiny_family.folder) == 0

    printed = capsys.readouterr()
    rows = [" ".join(line.split()) for line in printed.out.splitlines()]
    assert "cpu small 1 4 ms ± 0 us 4 ms 250/s 100 ms 7 MB 300 us" in rows
    assert "* 2 5 ms ± 0 us 5 ms 400/s" in rows
    assert "loop: the model file takes one batch size only" in printed.out
    assert printed.err == ""  # no progress bar where there is no terminal


def test_a_split_cpu_is_several_processors(
    tiny_family: Family, measured: list[str], capsys: pytest.CaptureFixture[str]
):
    cpu = usable_cpus()[0]

    assert run("profile", tiny_family.folder, "--split-cpu", cpu, "--processors", "cpu0", "--json") == 0

    assert {found["processor"] for found in json.loads(capsys.readouterr().out)["profiles"]} == {"cpu0"}


@pytest.mark.skipif(len(usable_cpus()) < 2, reason="a CPU with one core cannot be split")
def test_the_table_says_what_processors_cost_each_other(
    tiny_family: Family, measured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("equipoise.profiling.together.contention_apart", lambda *_: {"cpu0": 1.5, "cpu1": 1.0})
    first, last = usable_cpus()[0], usable_cpus()[-1]

    assert run("profile", tiny_family.folder, "--split-cpu", f"{first},{last}", "--processors", "cpu0,cpu1") == 0

    printed = capsys.readouterr().out
    rows = [" ".join(line.split()) for line in printed.splitlines()]
    assert "cpu0 small 1 4 ms ± 0 us 4 ms 250/s 100 ms 7 MB 300 us x 1.50" in rows
    assert "cpu1 large loop 1 4 ms ± 0 us 4 ms 250/s 100 ms 7 MB 300 us x 1.00" in rows
    assert "times as long while all of these processors are at work" in printed


def test_a_processor_that_is_not_here_is_refused_with_those_that_are(
    tiny_family: Family, capsys: pytest.CaptureFixture[str]
):
    assert run("profile", tiny_family.folder, "--processors", "cpu,npu") == 2

    assert "no processor 'npu'; it has: cpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "groups"),
    [("0-1,2-3", ((0, 1), (2, 3))), ("0,1-3/5", ((0,), (1, 2, 3, 5))), ("4", ((4,),)), (None, None)],
)
def test_a_split_is_read_as_groups_of_cpus(text: str | None, groups: tuple[tuple[int, ...], ...] | None):
    assert parse_split(text) == groups


@pytest.mark.parametrize("text", ["", "a", "3-1", "0,,1", "-1", "0-"])
def test_a_split_that_cannot_be_read_is_refused(text: str):
    with pytest.raises(UsageError, match="--split-cpu"):
        parse_split(text)


@pytest.mark.parametrize(("kinds", "groups"), [(((2, 3), (0, 1)), ((2, 3), (0, 1))), (((0, 1),), None)])
def test_the_cpu_is_split_by_kinds_of_cores_if_there_are_several(
    kinds: tuple[tuple[int, ...], ...], groups: object, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("equipoise.cli.options.core_kinds", lambda: kinds)

    assert parse_split("auto") == groups


def test_processors_come_in_the_order_asked_for_and_once_each():
    assert [processor.name for processor in processors_named("cpu, cpu", None)] == ["cpu"]


def test_a_data_folder_that_cannot_be_written_is_one_line_with_a_remedy(
    tiny_family: Family, measured: list[str], data_folder: Path, capsys: pytest.CaptureFixture[str]
):
    data_folder.write_text("a file where the folder should be")

    assert run("profile", tiny_family.folder) == 1

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "EQUIPOISE_DATA_DIR" in error


@pytest.mark.parametrize("command", ["profile", "show"])
def test_nothing_is_cut_on_a_narrow_terminal(
    command: str,
    tiny_family: Family,
    measured: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("equipoise.cli.console._PIPE_COLUMNS", 60)

    assert run(*{"profile": ["profile"], "show": ["family", "show"]}[command], tiny_family.folder) == 0

    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) > 40


def test_a_missing_library_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("equipoise.profiling.machine.importlib.import_module", missing)

    with pytest.raises(ModelError, match=r"it needs LiteRT: pip install 'equipoise\[litert\]'"):
        installed_runtime(Path("model.tflite"))
