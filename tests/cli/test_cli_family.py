from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from equipoise.cli import main
from equipoise.cli.family import ladder
from equipoise.core.family import Family
from equipoise.engines.processors import whole_cpu
from equipoise.profiling.measure import Measurement
from equipoise.profiling.statistics import summarise
from equipoise.profiling.store import ProfileStore, subject_of


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory in which nothing was ever measured."""
    monkeypatch.setenv("EQUIPOISE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def keep(data_folder: Path, family: Family, variant: str, **call_s: float) -> None:
    """Keep a measurement on this machine's CPU: seconds per call by batch size, as in `batch_8=0.1`."""
    measurement = Measurement(
        runtime="",
        calls={int(batch.removeprefix("batch_")): summarise([s] * 10) for batch, s in call_s.items()},
        looped=False,
        load_s=0.1,
        memory_bytes=1,
        prepare_s=0.001,
    )
    ProfileStore(data_folder).save(subject_of(family, variant, whole_cpu()), measurement)


def test_the_ladder_is_printed_from_the_least_accurate_up(tiny_family: Family, capsys: pytest.CaptureFixture[str]):
    assert run("family", "show", tiny_family.folder) == 0

    printed = capsys.readouterr().out
    small, large = (line.split() for line in printed.splitlines() if line.strip().startswith(("small", "large")))
    assert small[:4] == ["small", "8", "px", "RGB"]
    assert "60.0 % (50.2-69.1)" in printed
    assert large[0] == "large"
    assert "equipoise profile" in printed  # nobody measured how fast it is here


def test_the_ladder_as_json(tiny_family: Family, capsys: pytest.CaptureFixture[str]):
    assert run("family", "show", tiny_family.folder, "--json") == 0

    shown = json.loads(capsys.readouterr().out)
    assert [v["variant"] for v in shown["variants"]] == ["small", "large"]
    assert shown["variants"][0]["accuracy"]["value"] == 0.6
    assert shown["variants"][0]["size_bytes"] == (tiny_family.folder / "tiny.onnx").stat().st_size


def test_what_was_measured_here_is_shown_per_item_with_the_front_marked(
    tiny_family: Family, data_folder: Path, capsys: pytest.CaptureFixture[str]
):
    keep(data_folder, tiny_family, "small", batch_1=0.004)
    keep(data_folder, tiny_family, "large", batch_1=0.005, batch_8=0.008)

    assert run("family", "show", tiny_family.folder) == 0

    printed = capsys.readouterr().out
    small, large = (line for line in printed.splitlines() if line.strip().startswith(("small", "large")))
    assert "4 ms *" in small
    assert large.rstrip().endswith("1 ms")
    assert "* off the front" in printed
    assert "equipoise profile" not in printed


def test_a_variant_is_off_the_front_only_if_it_is_on_every_processor(tiny_family: Family):
    small, large = ladder(tiny_family, {"cpu": {"small": 2.0, "large": 1.0}, "gpu": {"small": 1.0, "large": 2.0}})

    assert small.beaten_by == {"cpu": "large"}
    assert not small.is_off_the_front
    assert not large.is_off_the_front

    small, _ = ladder(tiny_family, {"cpu": {"small": 2.0, "large": 1.0}})

    assert small.is_off_the_front


def test_variants_that_were_never_evaluated_come_last_with_a_hint(
    tiny_family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = Path(shutil.copytree(tiny_family.folder, tmp_path / "family"))
    lines = (folder / "family.toml").read_text().splitlines()
    (folder / "family.toml").write_text("\n".join(line for line in lines if "value = 0.6" not in line))

    assert run("family", "show", folder) == 0

    printed = capsys.readouterr().out
    assert printed.index("large") < printed.index("small")
    assert "never evaluated: small; run `equipoise evaluate" in printed


def test_a_folder_that_is_no_family_is_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("family", "show", tmp_path) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert str(tmp_path / "family.toml") in printed.err
