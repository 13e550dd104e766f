from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from equipoise.cli import main
from equipoise.families.demo import demo_folder
from equipoise.families.manifest import load_family

SHARED = Path(__file__).parents[3] / "shared"
LADDER = SHARED / "data" / "models" / "imagenet-mobilenet-onnx"
PHOTOS = SHARED / "data" / "images" / "nips17-imagenet-750"

MODEL = demo_folder() / "d2w8-24.onnx"
LABELLED = ("--labelled", demo_folder() / "digits-heldout-labels.csv")
LABELS = ("--labels", demo_folder() / "labels.txt")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_a_ladder_is_built_and_printed_with_its_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "ladder"

    assert run("family", "build", MODEL, "--sizes", "24,32", "--int8", *LABELS, *LABELLED, "--out", out) == 0

    printed = capsys.readouterr()
    names = [model.name for model in load_family(out).models]
    assert names == ["d2w8-24-24", "d2w8-24-32", "d2w8-24-int8-24", "d2w8-24-int8-32"]
    assert all(name in printed.out for name in names)
    assert "accuracy is measured on the others" in printed.err


def test_a_family_like_another_takes_its_labels_and_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "ladder"
    like = ("--like", demo_folder() / "family.toml")

    assert run("family", "build", MODEL, "--sizes", "24", *like, *LABELLED, "--out", out, "--json") == 0

    (variant,) = json.loads(capsys.readouterr().out)["variants"]
    shipped = load_family(demo_folder()).model("d2w8-24")
    assert shipped.accuracy is not None
    assert variant["accuracy"]["value"] == pytest.approx(shipped.accuracy.value, abs=0.005)
    (model,) = load_family(out).models
    assert model.input == shipped.input
    assert model.output == shipped.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--sizes", "24"], "--labels FILE, or --like FAMILY"),
        (["--sizes", "24x24", *LABELS], "whole numbers of pixels"),
        (["--sizes", "0", *LABELS], "1 to 8192"),
        (["--sizes", "24", *LABELS, "--mean", "a,b"], "--mean 'a,b'"),
        (["--sizes", "24", *LABELS, "--mean", "0.5,0.5,0.5"], "mean"),
        (["--sizes", "24", *LABELS, "--resize", "squash"], "resize"),
        (["--sizes", "24", "--labels", "nowhere.txt"], "nowhere.txt"),
        (["--sizes", "24", *LABELS, "--first-class", "5"], "no class 3"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[object], complaint: str
):
    code = run("family", "build", MODEL, *arguments, *LABELLED, "--out", tmp_path / "out")

    error = capsys.readouterr().err
    assert code in (1, 2)
    assert complaint in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_int8_without_the_onnx_package_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "onnx", None)

    code = run("family", "build", MODEL, "--sizes", "24", "--int8", *LABELS, *LABELLED, "--out", tmp_path / "out")

    assert code == 2
    assert "pip install 'equipoise[build]'" in capsys.readouterr().err


@pytest.mark.skipif(
    any(name.startswith("sympy") for name in requires("onnxruntime") or ()),
    reason="this onnxruntime brings sympy along itself",
)
def test_quantising_needs_nothing_but_the_onnx_package(tmp_path: Path):
    build = ["family", "build", MODEL, "--sizes", "24", "--int8", *LABELS, *LABELLED, "--out", tmp_path / "out"]
    code = f"import sys; sys.modules['sympy'] = None; from equipoise.cli import main; main({list(map(str, build))})"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("\n") == 1  # onnxruntime's advice is kept back


@pytest.mark.skipif(not LADDER.exists(), reason="needs the shared models and images beside the repository")
def test_one_real_model_at_two_sizes_is_as_accurate_as_was_measured_elsewhere(tmp_path: Path):
    out = tmp_path / "ladder"
    model = LADDER / "mobilenet_v2_100_224.int8.onnx"

    assert run("family", "build", model, "--sizes", "96,128", "--like", LADDER, "--labelled", PHOTOS, "--out", out) == 0

    accuracies = [model.accuracy.value for model in load_family(out).models if model.accuracy is not None]
    assert accuracies == pytest.approx([0.289, 0.535], abs=0.01)
