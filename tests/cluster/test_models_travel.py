"""A node without model files gets them from whoever has them: real processes on real Zenoh over loopback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nodes import NodeProcess, RealCluster, real_cluster
from test_live_cluster import save_greys

from equipoise.core.family import Family
from tests.models.families import bulky_family

ITEMS = 4000  # so many that fetching the quicker variant is worth it on a busy machine, too
RIGHT = {f"grey.npy#{i}": i % 4 for i in range(ITEMS)}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    with real_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory, tiny_family: Family) -> Family:
    return bulky_family(tiny_family, tmp_path_factory.mktemp("bulky") / "family")


def holder(cluster: RealCluster, family: Family, name: str = "a") -> NodeProcess:
    """A node that has the family. Not profiled yet: nothing waits for that."""
    return cluster.start(name, "--family", str(family.folder), "--processors", "cpu", data="holders")


def lacking(cluster: RealCluster, *arguments: str) -> NodeProcess:
    """Node "b", which has nothing."""
    return cluster.start("b", "--processors", "cpu", *arguments, data="b")


@contextmanager
def odd_holder(cluster: RealCluster, family: Family, how: str) -> Iterator[subprocess.Popen[str]]:
    """One whose name comes before all others, so that it is asked first."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "odd_holder.py"), cluster.name, "0", str(family.folder), how],
        env=cluster.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "serving\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def files_of(cluster: RealCluster) -> set[str]:
    return {path.name for path in (cluster.folder / "b" / "cache" / "files").glob("[0-9a-f]*")}


def name_of(family: Family, variant: str) -> str:
    return f"{family.model(variant).sha256}.onnx"


def run(cluster: RealCluster, family: Family, *more: str, deadline: bool = True) -> tuple[int, str, str]:
    save_greys(cluster.folder / "grey.npy", ITEMS)
    live = ("--cluster", "live", "--out", "p.jsonl", "--receipt", "r.json", *(("--deadline-s", "60") * deadline))
    return cluster.run("run", "grey.npy", "--family", str(family.folder), *live, *more)


def answers(cluster: RealCluster) -> dict[str, int]:
    rows = [json.loads(line) for line in (cluster.folder / "p.jsonl").read_text().splitlines()]
    return {row["item"]: row["class_index"] for row in rows}


def profiles_of(cluster: RealCluster, node: str) -> list[dict[str, Any]]:
    """What the node's CPU is offered with."""
    _, printed, _ = cluster.run("nodes", "--json")
    (told,) = (one["status"]["families"][0]["profiles"]["cpu"] for one in json.loads(printed) if one["name"] == node)
    return list(told)


def measured(cluster: RealCluster) -> dict[str, Any]:
    """By SHA-256, what was measured on node "b"."""
    records = [json.loads(path.read_text()) for path in (cluster.folder / "b" / "profiles").glob("*.json")]
    return {record["subject"]["model_sha256"]: record["measurement"] for record in records}


def planned(cluster: RealCluster) -> set[str]:
    """The variants of a plan for the cluster as it is, for so many items that loading does not count."""
    cluster.run("nodes", "--export", "c.json")
    environment = cluster.environment
    command = [sys.executable, "-m", "equipoise", "plan", "c.json", "--items", "100000", "--min-accuracy", "0.75"]
    printed = subprocess.run([*command, "--json"], env=environment, cwd=cluster.folder, capture_output=True, check=True)
    return {share["variant"] for share in json.loads(printed.stdout)["shares"]}


def test_a_node_without_the_family_fetches_it_and_works_with_those_who_have_it(cluster: RealCluster, family: Family):
    a, b = holder(cluster, family), lacking(cluster)
    assert "source=a" in b.until("adopted")
    b.until("profiled")
    a.until("profiled")

    code, printed, complaints = run(cluster, family, "--nodes", "2", "--strategy", "uniform")

    assert (code, complaints) == (0, ""), printed
    assert answers(cluster) == RIGHT
    receipt = json.loads((cluster.folder / "r.json").read_text())
    assert {share["node"] for share in receipt["plan"]["shares"]} == {"a", "b"}
    assert files_of(cluster) == {name_of(family, "small"), name_of(family, "large")}


def test_who_runs_a_request_hands_the_files_out_and_waits_for_nodes_that_fetch_them(
    cluster: RealCluster, family: Family
):
    b = lacking(cluster)

    code, printed, complaints = run(cluster, family)

    assert (code, complaints) == (0, ""), printed
    assert answers(cluster) == RIGHT
    assert "source=client-" in b.until("adopted")
    assert "source=client-" in b.until("fetched")


def test_what_was_fetched_is_there_after_a_restart_and_is_handed_out_in_turn(cluster: RealCluster, family: Family):
    a, b = holder(cluster, family), lacking(cluster)
    b.until("profiled")
    b.end()
    a.end()
    b = lacking(cluster)
    assert 'source="the cache"' in b.until("adopted")
    b.until("profiled")
    c = cluster.start("c", "--processors", "cpu", data="c")
    assert "source=b" in c.until("fetched")
    assert not any("Z fetched" in line for line in b.log)

    code, printed, complaints = run(cluster, family)

    assert (code, complaints.count("b:")) == (0, 0), printed + complaints
    assert answers(cluster) == RIGHT


def test_another_holder_goes_on_when_one_is_killed_in_the_middle_of_a_file(cluster: RealCluster, family: Family):
    with odd_holder(cluster, family, "dies") as killed:
        holder(cluster, family)
        b = lacking(cluster)
        assert "source=0,a" in b.until("fetched")
        assert killed.wait(timeout=60) == 1


def test_a_node_that_was_killed_in_the_middle_of_a_file_goes_on_when_it_is_started_again(
    cluster: RealCluster, family: Family
):
    with odd_holder(cluster, family, "stalls") as stalled:
        b = lacking(cluster)
        assert stalled.stdout is not None
        assert stalled.stdout.readline() == "stalled\n"
        b.signal(signal.SIGKILL)
        b.process.communicate()
    (part,) = files_of(cluster)
    assert part.endswith(".part")
    holder(cluster, family)

    b = lacking(cluster)

    assert "resumed_bytes=65536" in b.until("fetched")


def test_who_sends_something_else_is_logged_and_another_is_asked(cluster: RealCluster, family: Family):
    with odd_holder(cluster, family, "lies"):
        holder(cluster, family)
        b = lacking(cluster)
        assert "source=0" in b.until("thrown away")
        assert "source=a" in b.until("fetched")


def test_a_file_that_had_to_leave_is_offered_with_the_time_to_fetch_it_and_is_fetched_when_needed(
    cluster: RealCluster, family: Family
):
    with odd_holder(cluster, family, "never"):
        b = lacking(cluster, "--cache-bytes", "1000000")
        b.until("profiled")
        assert files_of(cluster) == {name_of(family, "large")}

        offered = {profile["variant"]: profile["load_s"] for profile in profiles_of(cluster, "b")}
        alone = {variant: measured(cluster)[family.model(variant).sha256]["load_s"] for variant in offered}
        assert offered["small"] > alone["small"]
        assert offered["large"] == alone["large"]

        code, printed, complaints = run(cluster, family, deadline=False)  # as fast as can be: all with "small"

        assert (code, complaints) == (0, ""), printed
        assert answers(cluster) == RIGHT
        assert "variant=small" in b.until("fetched")


def test_a_node_that_starts_anew_with_a_full_cache_learns_how_long_the_rest_would_take(
    cluster: RealCluster, family: Family
):
    with odd_holder(cluster, family, "never"):
        lacking(cluster, "--cache-bytes", "1000000").until("profiled")
        cluster.close()
        lacking(cluster, "--cache-bytes", "1000000")

        wait_until(lambda: [one["variant"] for one in profiles_of(cluster, "b")] == ["small", "large"])


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again and again; the test's own limit ends what never comes."""
    while not condition():
        pass


def test_a_node_whose_memory_cannot_hold_two_variants_is_not_asked_to(cluster: RealCluster, family: Family):
    ample = lacking(cluster, "--family", str(family.folder))
    ample.until("profiled")
    assert planned(cluster) == {"small", "large"}  # as fast as can be, and just accurate enough
    ample.end()
    needed_bytes = max(one["memory_bytes"] for one in measured(cluster).values())
    assert needed_bytes > 0

    lacking(cluster, "--family", str(family.folder), "--memory-bytes", str(needed_bytes)).until("profiled")

    assert planned(cluster) == {"large"}
    code, printed, complaints = run(cluster, family, "--min-accuracy", "0.75", deadline=False)
    assert (code, complaints) == (0, ""), printed
    assert answers(cluster) == RIGHT


def test_what_the_cache_can_never_hold_is_refused_clearly_and_the_rest_is_offered(cluster: RealCluster, family: Family):
    holder(cluster, family)
    b = lacking(cluster, "--cache-bytes", "500000")
    assert "more than the 500000" in b.until("not fetched")
    b.until("profiled")

    assert files_of(cluster) == {name_of(family, "small")}


def test_a_node_that_is_told_not_to_fetches_nothing(cluster: RealCluster, family: Family):
    a = holder(cluster, family)
    a.until("profiled")
    b = lacking(cluster, "--no-fetch")

    code, _, complaints = run(cluster, family, "--nodes", "2")

    assert code == 0
    assert "node b: it does not have the family" in complaints
    b.end()
    assert not any("adopted" in line for line in b.log)
