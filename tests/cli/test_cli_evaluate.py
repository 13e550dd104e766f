from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from equipoise.cli import main
from equipoise.core.family import Family
from equipoise.families.manifest import load_family


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture
def folder(tiny_family: Family, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_family.folder, tmp_path / "family"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images per class of the tiny family; one of the white ones is black."""
    for number, label in enumerate(["black", "dark", "bright", "white"]):
        (tmp_path / "greys" / label).mkdir(parents=True)
        for copy in range(2):
            level = 0 if (label, copy) == ("white", 1) else 32 + 64 * number
            Image.new("L", (9, 9), level).save(tmp_path / "greys" / label / f"{copy}.png")
    return tmp_path / "greys"


def test_measured_accuracy_is_printed_and_written_into_the_manifest(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("evaluate", folder, "--labelled", data) == 0

    printed = capsys.readouterr()
    assert "87.5 % (52.9-97.8)" in printed.out
    assert printed.err == ""  # no progress bar where there is no terminal
    for model in load_family(folder).models:
        assert model.accuracy is not None
        assert (model.accuracy.value, model.accuracy.items, model.accuracy.dataset) == (0.875, 8, "greys")


def test_only_the_chosen_variant_is_touched(folder: Path, data: Path):
    assert run("evaluate", folder, "--labelled", data, "--variant", "large", "--variant", "large") == 0

    small, large = load_family(folder).models
    assert small.accuracy is not None
    assert small.accuracy.dataset == "brightness"
    assert large.accuracy is not None
    assert (large.accuracy.dataset, large.accuracy.items) == ("greys", 8)


def test_unreadable_items_are_named_and_the_rest_goes_on(folder: Path, data: Path, capsys: pytest.CaptureFixture[str]):
    (data / "white/1.png").write_bytes(b"rubbish")

    assert run("evaluate", folder, "--labelled", data, "--json") == 0

    printed = capsys.readouterr()
    evaluation = json.loads(printed.out)
    assert evaluation["accuracy"]["small"]["value"] == 1.0
    assert evaluation["accuracy"]["small"]["items"] == 7
    assert [Path(name).name for name in evaluation["unreadable"]] == ["1.png"]
    assert "1 items cannot be read" in printed.err


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["--variant", "huge"], (2, "no variant 'huge'; it has: small, large")),
        (["--labelled", "gone.csv"], (1, "gone.csv")),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_measured(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], refusal: tuple[int, str]
):
    before = (folder / "family.toml").read_text()
    exit_code, reason = refusal

    assert run("evaluate", folder, "--labelled", data, *arguments) == exit_code

    assert reason in capsys.readouterr().err
    assert (folder / "family.toml").read_text() == before
