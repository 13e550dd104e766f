"""Nodes and commands as processes of their own, which find each other on real Zenoh."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from nodes import RealCluster, real_cluster

from equipoise.core.cluster import Cluster
from equipoise.core.family import Family

ITEMS = 200


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, tiny_family: Family) -> Iterator[RealCluster]:
    """Nodes "a" and "b", both with the tiny family, profiled; and items to infer."""
    folder = tmp_path_factory.mktemp("cluster")
    save_greys(folder / "grey.npy", ITEMS)
    with real_cluster(folder) as cluster:
        for name in ("a", "b"):
            node = cluster.start(name, "--family", str(tiny_family.folder), "--processors", "cpu")
            node.until("profiled")
        yield cluster


def save_greys(path: Path, items: int) -> None:
    """Item i is of class i % 4."""
    np.save(path, np.stack([np.full((8, 8, 3), 32 + 64 * (item % 4), dtype=np.uint8) for item in range(items)]))


def request(family: Family, *more: str) -> list[str]:
    return ["run", "grey.npy", "--family", str(family.folder), "--cluster", "live", "--nodes", "2", *more]


def test_nodes_find_each_other_and_answer_every_item_once_and_rightly(cluster: RealCluster, tiny_family: Family):
    code, printed, complaints = cluster.run(
        *request(tiny_family, "--deadline-s", "60", "--out", "p.jsonl", "--receipt", "r.json")
    )

    assert (code, complaints) == (0, ""), printed
    rows = [json.loads(line) for line in (cluster.folder / "p.jsonl").read_text().splitlines()]
    assert {row["item"]: row["class_index"] for row in rows} == {f"grey.npy#{i}": i % 4 for i in range(ITEMS)}
    assert len(rows) == ITEMS
    receipt = json.loads((cluster.folder / "r.json").read_text())
    assert not receipt["emulated"]
    assert {share["node"] for share in receipt["plan"]["shares"]} == {"a", "b"}


def test_the_nodes_are_listed_with_what_they_are_and_have(cluster: RealCluster):
    code, printed, complaints = cluster.run("nodes", "--nodes", "2", "--json")

    assert (code, complaints) == (0, "")
    listed = {one["name"]: one for one in json.loads(printed)}
    assert set(listed) == {"a", "b"}
    for one in listed.values():
        assert one["answers"]
        assert one["link"]["bandwidth_bytes_per_s"] > 0
        (family,) = one["status"]["families"]
        assert (family["name"], family["missing"]) == ("tiny", 0)
        assert [profile["variant"] for profile in family["profiles"]["cpu"]] == ["small", "large"]
        assert one["status"]["processors"][0]["name"] == "cpu"
        assert not one["status"]["insecure"]


def test_the_listing_for_people_names_every_node_and_processor(cluster: RealCluster):
    code, printed, _ = cluster.run("nodes", "--nodes", "2")

    assert code == 0
    assert printed.count("tiny: 2 variants") == 2
    assert printed.count(" now") == 2


def test_a_live_cluster_is_exported_as_a_description_that_plans_are_made_for(cluster: RealCluster):
    code, _, complaints = cluster.run("nodes", "--nodes", "2", "--export", "c.json", "--item-bytes", "500")

    assert code == 0, complaints
    exported = msgspec.json.decode((cluster.folder / "c.json").read_bytes(), type=Cluster)
    assert [node.name for node in exported.nodes] == ["a", "b"]
    assert {variant.input_bytes for variant in exported.variants} == {500}
    assert all(node.memory_bytes and node.link.latency_s > 0 for node in exported.nodes)


def test_plans_are_made_for_the_live_cluster_itself(tiny_family: Family, tmp_path: Path):
    with real_cluster(tmp_path) as cluster:
        cluster.name = "default"  # which commands look into that are not told of another one
        cluster.start("c", "--family", str(tiny_family.folder), "--processors", "cpu").until("profiled")
        planned = cluster.run_alone("plan", "live", "--items", "100", "--json")
        compared = cluster.run_alone("lab", "compare", "live", "--items", "100", "--json")

    assert (planned[0], planned[2], compared[0], compared[2]) == (0, "", 0, "")
    assert {share["node"] for share in json.loads(planned[1])["shares"]} == {"c"}


def test_where_no_live_cluster_is_plans_say_so(tmp_path: Path):
    with real_cluster(tmp_path) as cluster:
        code, printed, complaints = cluster.run_alone("lab", "whatif", "live", "--items", "100")

    assert (code, printed) == (1, "")
    assert "Traceback" not in complaints and "equipoise node" in complaints


def test_a_family_that_no_node_has_or_fetches_is_refused_with_what_to_do(tmp_path: Path):
    save_greys(tmp_path / "grey.npy", 4)
    with real_cluster(tmp_path) as cluster:
        cluster.start("c", "--no-fetch")
        code, _, complaints = cluster.run("run", "grey.npy", "--family", "demo", "--cluster", "live")

    assert code == 1
    assert "node c: it does not have the family" in complaints
    assert "equipoise node --family" in complaints


def test_a_name_that_is_taken_is_refused(tmp_path: Path):
    with real_cluster(tmp_path) as cluster:
        cluster.start("c")
        code, _, complaints = cluster.run("node", "--name", "c")

    assert code == 1
    assert "node 'c': a node of this name is already there" in complaints


def test_where_nobody_is_that_is_said(tmp_path: Path, tiny_family: Family):
    save_greys(tmp_path / "grey.npy", 4)
    with real_cluster(tmp_path) as nobody:
        code, _, complaints = nobody.run(*request(tiny_family))

    assert code == 1
    assert "no node of cluster" in complaints
    assert "start one with `equipoise node`" in complaints


def test_a_node_that_is_told_to_go_leaves_nothing_behind(tmp_path: Path):
    with real_cluster(tmp_path) as cluster:
        node = cluster.start("c")
        before = psutil.Process(node.pid).children()

        assert node.end() == 0
        assert "left node=c" in node.log[-1]
        assert before == []


def test_a_reload_offers_what_has_come_into_the_folder(tmp_path: Path, tiny_family: Family):
    import shutil

    folder = tmp_path / "family"
    shutil.copytree(tiny_family.folder, folder)
    manifest = (folder / "family.toml").read_text()
    with real_cluster(tmp_path) as cluster:
        node = cluster.start("c", "--family", str(folder))
        node.until("profiled")
        (folder / "family.toml").write_text(manifest.replace('name = "tiny"', 'name = "renamed"', 1))
        node.signal(signal.SIGHUP)

        assert "families=renamed" in node.until("reloaded")
        (folder / "family.toml").write_text("no TOML at all")
        node.signal(signal.SIGHUP)
        assert "family.toml" in node.until("reload failed")


def test_an_open_cluster_beyond_this_machine_has_to_be_asked_for(tmp_path: Path):
    with real_cluster(tmp_path) as cluster:
        code, _, complaints = cluster.run("node", "--listen", "tcp/0.0.0.0:0")

    assert code == 2
    assert "--insecure" in complaints


def test_a_frozen_node_that_was_replaced_leaves_when_it_wakes_up(tmp_path: Path):
    with real_cluster(tmp_path) as cluster:
        old = cluster.start("c")
        old.signal(signal.SIGSTOP)
        cluster.start("c")  # waits until the frozen one is missed
        old.signal(signal.SIGCONT)

        _, complaints = old.process.communicate(timeout=60)
        assert old.process.returncode == 1
        assert "started anew elsewhere" in complaints
