"""A node whose CPU is several processors: measured alone and together, listed, and used at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import psutil
import pytest
from nodes import real_cluster

from equipoise.core.family import Family
from equipoise.engines.processors import usable_cpus

ITEMS = 4000  # so many that loading the variant twice pays

pytestmark = pytest.mark.skipif(len(usable_cpus()) < 2, reason="a CPU with one core cannot be split")


def test_both_parts_of_a_node_are_measured_together_and_work_together(tmp_path: Path, tiny_family: Family) -> None:
    first, last = usable_cpus()[0], usable_cpus()[-1]
    pixels = [np.full((8, 8, 3), 32 + 64 * (item % 4), dtype=np.uint8) for item in range(ITEMS)]
    np.save(tmp_path / "grey.npy", np.stack(pixels))
    family = str(tiny_family.folder)
    with real_cluster(tmp_path) as cluster:
        node = cluster.start("c", "--family", family, "--split-cpu", f"{first},{last}")
        node.until("profiled")
        listed = json.loads(cluster.run("nodes", "--json")[1])
        code, _, complaints = cluster.run(
            "run", "grey.npy", "--family", family, "--cluster", "live", "--min-accuracy", "0.9", "--out", "p.jsonl"
        )
        assert code == 0, complaints
        threads = {thread.id for thread in psutil.Process(node.pid).threads()}
        pinned = {tuple(psutil.Process(thread).cpu_affinity() or ()) for thread in threads}

    (family_status,) = listed[0]["status"]["families"]
    assert family_status["profiles"].keys() == {"cpu0", "cpu1"}
    for profiles in family_status["profiles"].values():
        assert [profile["variant"] for profile in profiles] == ["small", "large"]
        assert all(profile["contention"] >= 1.0 for profile in profiles)
    assert len([file for file in (tmp_path / "data" / "profiles").iterdir() if '"together"' in file.read_text()]) == 2
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert {row["item"]: row["class_index"] for row in rows} == {f"grey.npy#{i}": i % 4 for i in range(ITEMS)}
    assert {row["processor"] for row in rows} == {"cpu0", "cpu1"}
    assert {(first,), (last,)} < pinned
