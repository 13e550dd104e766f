"""`equipoise run --split-cpu`: the parts of this machine's CPU work as processors of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from equipoise.cli import main
from equipoise.core.family import Family
from equipoise.engines.processors import usable_cpus

ITEMS = 4000  # so many that loading the variant twice pays


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Grey images, item i of class i % 4, in the working directory."""
    monkeypatch.setenv("EQUIPOISE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    pixels = [np.full((8, 8, 3), 32 + 64 * (item % 4), dtype=np.uint8) for item in range(ITEMS)]
    np.save(tmp_path / "grey.npy", np.stack(pixels))
    return tmp_path


@pytest.mark.skipif(len(usable_cpus()) < 2, reason="a CPU with one core cannot be split")
def test_both_parts_of_the_cpu_answer(folder: Path, tiny_family: Family):
    first, last = usable_cpus()[0], usable_cpus()[-1]

    code = run(
        "run", "grey.npy", "--family", tiny_family.folder, "--split-cpu", f"{first},{last}", "--prefer", "latency",
        "--min-accuracy", "0.9", "--out", "p.jsonl", "--receipt", "r.json",
    )  # fmt: skip

    assert code == 0
    rows = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    assert {row["item"]: row["class_index"] for row in rows} == {f"grey.npy#{i}": i % 4 for i in range(ITEMS)}
    receipt = json.loads((folder / "r.json").read_text())
    assert {share["processor"] for share in receipt["plan"]["shares"]} == {"cpu0", "cpu1"}
    assert {row["processor"] for row in rows} == {"cpu0", "cpu1"}


def test_a_split_that_makes_no_sense_is_refused_before_anything_is_measured(
    folder: Path, tiny_family: Family, capsys: pytest.CaptureFixture[str]
):
    asked = ("run", "grey.npy", "--family", tiny_family.folder)

    assert run(*asked, "--split-cpu", "half") == 2
    assert run(*asked, "--split-cpu", "99999") == 2
    assert run(*asked, "--split-cpu", "0", "--cluster", "live") == 2
    assert "nodes split theirs: `equipoise node --split-cpu`" in capsys.readouterr().err
    assert not (folder / "data").exists()
