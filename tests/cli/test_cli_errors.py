"""Bad input: one line on stderr that names value, place and remedy; the right exit code; nothing run, nothing lost."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equipoise.cli import main
from equipoise.core.family import Family

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photo and an empty one, as the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.full((8, 8, 3), 200, dtype=np.uint8)).save(tmp_path / "photos" / "bright.png")
    return tmp_path


@pytest.fixture
def equipoise(photos: Path, tiny_family: Family, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line; returns exit code and what it said on stderr."""

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main([argument.replace("FAMILY", str(tiny_family.folder)) for argument in arguments])
        code = left.value.code
        return (code if isinstance(code, int) else 0), capsys.readouterr().err

    return run


def boards(path: Path, **changes: object) -> Path:
    """A valid description of one board, with changes."""
    profile = {"variant": "small", "latency_s": {"1": 0.05}}
    description = {
        "family": "tiny",
        "variants": [{"name": "small", "accuracy": 0.6}],
        "nodes": [{"name": "pi", "processors": [{"name": "cpu", "profiles": [profile]}]}],
    }
    path.write_text(json.dumps(description | changes))
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--deadline-s", "0"], "--deadline-s must be a positive, finite number, not 0.0"),
        (["--deadline-s", "-3"], "--deadline-s must be a positive, finite number, not -3.0"),
        (["--deadline-s", "nan"], "--deadline-s must be a positive, finite number, not nan"),
        (["--deadline-s", "inf"], "--deadline-s must be a positive, finite number, not inf"),
        (["--throughput-per-s", "nan"], "--throughput-per-s must be a positive, finite number, not nan"),
        (["--min-accuracy", "80"], "--min-accuracy must be a fraction from 0 to 1, not 80.0"),
        (["--min-accuracy", "nan"], "--min-accuracy must be a fraction from 0 to 1, not nan"),
        (["--min-accuracy", "-0.1"], "--min-accuracy must be a fraction from 0 to 1, not -0.1"),
        (["--prefer", "accuracy"], "--prefer accuracy needs --deadline-s or --throughput-per-s"),
        (["--strategy", "magic"], "unknown strategy 'magic'; known: equipoise"),
        (["--emulate"], "--emulate needs --cluster"),
        (["--out", "p.txt"], "predictions are written as .jsonl or .csv, not as 'p.txt'"),
        (["--out", "r.csv", "--receipt", "r.csv"], "--out and --receipt both name r.csv"),
        (["--receipt", "r.json", "--log", "r.json"], "--receipt and --log both name r.json"),
    ],
)
def test_options_that_make_no_sense_are_named_with_their_value(equipoise: Run, options: list[str], message: str):
    code, said = equipoise("run", "photos", "--family", "FAMILY", *options)

    assert code == 2
    assert said.startswith(f"equipoise: error: {message}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["empty"], "folder 'empty' has no images"),
        (["nowhere"], "there is no file or folder 'nowhere'"),
        (["photos/*.gif"], "no file matches 'photos/*.gif'"),
        (["photos", "photos/bright.png"], "photos/bright.png comes twice"),
    ],
)
def test_inputs_that_name_nothing_are_usage_errors(equipoise: Run, inputs: list[str], message: str):
    code, said = equipoise("run", *inputs, "--family", "FAMILY", "--deadline-s", "1")

    assert (code, said.startswith(f"equipoise: error: {message}")) == (2, True)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--out", "precious.csv"], 2, "precious.csv exists; pass --force to replace it"),
        (["--receipt", "empty"], 1, "empty: is a folder; name a file"),
        (["--out", "nowhere/p.csv"], 1, "nowhere/p.csv: folder 'nowhere' does not exist"),
        (["--receipt", "/proc/self/r.json"], 1, "/proc/self/r.json: cannot be written: permission denied or read-only"),
    ],
)
def test_output_paths_are_checked_before_anything_is_run(
    equipoise: Run, photos: Path, options: list[str], code: int, message: str
):
    (photos / "precious.csv").write_text("precious")

    left, said = equipoise("run", "photos", "--family", "FAMILY", "--deadline-s", "1", *options)

    assert (left, said.startswith(f"equipoise: error: {message}")) == (code, True)
    assert (photos / "precious.csv").read_text() == "precious"


NODE = {"name": "pi", "processors": [{"name": "cpu", "profiles": [{"variant": "small", "latency_s": {"1": 0.05}}]}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "boards.json: Object contains unknown field `colour`"),
        ({"nodes": [NODE, NODE]}, "boards.json: duplicate node: 'pi'"),
        ({"variants": [{"name": "big", "accuracy": 0.6}]}, "boards.json: processor pi/cpu has a profile of unknown"),
        ({"variants": [{"name": "small", "accuracy": 60}]}, "boards.json: accuracy of variant 'small' must be"),
        ({"nodes": []}, "boards.json: the cluster has no nodes"),
        (
            {
                "nodes": [
                    NODE | {"processors": [{"name": "cpu", "profiles": [{"variant": "small", "latency_s": {"x": 1}}]}]}
                ]
            },
            "boards.json: Expected `int`, got `str` (at key in $.nodes[0].processors[0].profiles[0].latency_s)",
        ),
        ({"nodes": "none"}, "boards.json: Expected `array`, got `str` (at $.nodes)"),
    ],
)
def test_a_wrong_cluster_description_is_named_with_the_place(
    equipoise: Run, photos: Path, changes: dict[str, object], message: str
):
    boards(photos / "boards.json", **changes)

    code, said = equipoise(
        "run", "photos", "--family", "FAMILY", "--deadline-s", "1", "--cluster", "boards.json", "--emulate"
    )

    assert (code, said.startswith(f"equipoise: error: {message}")) == (1, True), said


def test_boards_are_not_run_on_as_if_they_were_there(equipoise: Run, photos: Path):
    boards(photos / "boards.json")

    code, said = equipoise("run", "photos", "--family", "FAMILY", "--deadline-s", "1", "--cluster", "boards.json")

    assert (code, "add --emulate to play them here" in said) == (2, True)


def test_boards_with_a_variant_that_the_family_lacks_are_refused(equipoise: Run, photos: Path, tiny_family: Family):
    profile = {"variant": "huge", "latency_s": {"1": 0.05}}
    node = {"name": "pi", "processors": [{"name": "cpu", "profiles": [profile]}]}
    boards(photos / "boards.json", variants=[{"name": "huge", "accuracy": 0.9}], nodes=[node])

    code, said = equipoise(
        "run", "photos", "--family", "FAMILY", "--deadline-s", "1", "--cluster", "boards.json", "--emulate"
    )

    assert (code, "variant 'huge', which family 'tiny' lacks; it has large, small" in said) == (1, True), said


def test_boards_that_are_described_for_another_family_are_refused(equipoise: Run, photos: Path, tiny_family: Family):
    boards(photos / "boards.json", family="imagenet")

    code, said = equipoise(
        "run", "photos", "--family", "FAMILY", "--deadline-s", "1", "--cluster", "boards.json", "--emulate"
    )

    assert code == 1
    assert said == (
        "equipoise: error: boards.json: describes what family 'imagenet' costs, but what is to be run is family 'tiny' "
        f"({tiny_family.folder}); give the description of 'tiny', or run 'imagenet' (at family)\n"
    )


def test_a_family_whose_task_cannot_be_run_is_refused(equipoise: Run, photos: Path, tiny_family: Family):
    shutil.copytree(tiny_family.folder, photos / "family")
    manifest = photos / "family" / "family.toml"
    manifest.write_text(manifest.read_text().replace('task = "classification"', 'task = "detection"'))

    code, said = equipoise("run", "photos", "--family", "family", "--deadline-s", "1")

    assert (code, said.count("\n")) == (1, 1)
    assert "family.toml: task 'detection' cannot be run; known: 'classification'" in said


def test_a_family_without_manifest_or_with_a_changed_model_is_refused(
    equipoise: Run, photos: Path, tiny_family: Family
):
    (photos / "family").mkdir()
    code, said = equipoise("run", "photos", "--family", "family", "--deadline-s", "1")
    assert (code, "family/family.toml" in said) == (1, True), said

    for file in tiny_family.folder.iterdir():
        (photos / "family" / file.name).write_bytes(file.read_bytes())
    with (photos / "family" / "tiny.onnx").open("ab") as model:
        model.write(b"changed")
    code, said = equipoise("run", "photos", "--family", "family", "--deadline-s", "1")
    assert (code, "sha256" in said) == (1, True), said


def test_an_unexpected_error_is_called_a_bug_and_says_how_to_see_more(equipoise: Run, monkeypatch: pytest.MonkeyPatch):
    def fail(_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("equipoise.cli.run.find_items", fail)

    code, said = equipoise("run", "photos", "--family", "FAMILY", "--deadline-s", "1")

    assert code == 1
    assert said == (
        "equipoise: error: this is a bug in Equipoise (RuntimeError: boom); "
        "run again with EQUIPOISE_DEBUG=1 for the traceback to report\n"
    )


def test_ctrl_c_before_anything_runs_leaves_as_shells_expect(equipoise: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("equipoise.cli.run.find_items", interrupt)

    code, said = equipoise("run", "photos", "--family", "FAMILY", "--deadline-s", "1")

    assert (code, said) == (130, "equipoise: interrupted\n")


def test_an_unknown_command_and_a_missing_option_are_usage_errors(equipoise: Run):
    assert equipoise("rum")[0] == 2
    code, said = equipoise("run", "photos")
    assert (code, "--family" in said) == (2, True)


def test_help_and_version_need_nothing_else(equipoise: Run, capsys: pytest.CaptureFixture[str]):
    assert equipoise("--version") == (0, "")
    assert equipoise("run", "--help") == (0, "")


def test_profiles_that_cannot_be_kept_are_told_once_and_the_request_goes_on(
    equipoise: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    (photos / "taken").write_text("a file where the data folder should be")
    monkeypatch.setenv("EQUIPOISE_DATA_DIR", str(photos / "taken"))

    code, said = equipoise("run", "photos", "--family", "FAMILY", "--deadline-s", "60")

    assert (code, said.count("warning: ")) == (0, 1), said
    assert "the profile cannot be kept" in said
    assert "EQUIPOISE_DATA_DIR" in said


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(
    ("stdout", "message"),
    [
        (">/dev/full", "standard output cannot be written: No space left on device"),
        (">&-", "standard output is closed; to discard what is printed, send it to /dev/null"),
    ],
)
def test_output_that_nobody_takes_is_one_line_and_no_bug(stdout: str, message: str, options: list[str]):
    command = shlex.join([sys.executable, "-m", "equipoise", "family", "show", "demo", *options])

    done = subprocess.run(f"{command} {stdout}", shell=True, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, f"equipoise: error: {message}\n")


def test_what_cannot_be_read_is_named_once(equipoise: Run):
    _, said = equipoise(
        "family", "build", "m.onnx", "--sizes", "8", "--labels", "no", "--labelled", "photos", "--out", "o"
    )

    assert said == "equipoise: error: --labels no cannot be read: No such file or directory\n"
