"""A request on real nodes while things go wrong: every item has exactly one answer, and a right one."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from liar import ABSURD, LIES, lying
from nodes import NodeProcess, RealCluster, real_cluster, wait_for
from slow_family import build_slow_family
from test_live_cluster import save_greys

ITEMS = 240
MANY_ITEMS = 4000  # so many that one node is not done before another one has come in


class Scene:
    """Two nodes that take a while, and requests to them."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster
        self.nodes: dict[str, NodeProcess] = {}

    def enter(self, name: str) -> NodeProcess:
        """A node that is there and ready; what was measured once is known to all of them."""
        node = self.nodes[name] = self.cluster.start(name, "--family", "family", "--processors", "cpu")
        node.until("profiled")
        return node

    def request(self, folder: Path, *more: str, inputs: str = "grey.npy") -> subprocess.Popen[str]:
        files = ("--out", f"{folder}/p.jsonl", "--receipt", f"{folder}/r.json", "--log", f"{folder}/log.jsonl")
        family = ("--family", "family", "--deadline-s", "600", "--cluster", "live", "--nodes", "2")
        return self.cluster.command("run", inputs, *family, *files, *more)

    def listed(self) -> dict[str, Any]:
        code, printed, complaints = self.cluster.run("nodes", "--nodes", "2", "--json")
        assert code == 0, complaints
        return {one["name"]: one for one in json.loads(printed)}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("faults")
    build_slow_family(folder / "family")
    save_greys(folder / "grey.npy", ITEMS)
    save_greys(folder / "many.npy", MANY_ITEMS)
    with real_cluster(folder) as cluster:
        yield Scene(cluster)


@pytest.fixture
def both(scene: Scene) -> Scene:
    """Nodes "a" and "b" are there, whatever a test before did to them."""
    for name in ("a", "b"):
        if name not in scene.nodes or scene.nodes[name].process.poll() is not None:
            scene.enter(name)
    return scene


def answers(folder: Path) -> int:
    path = folder / "p.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def in_the_middle(folder: Path, request: subprocess.Popen[str]) -> None:
    """Once it has some answers, and is far from having all."""
    wait_for(lambda: answers(folder) > ITEMS // 10, request)
    assert request.poll() is None, "it ended before anything could happen to it"


def ended(request: subprocess.Popen[str]) -> str:
    printed, complaints = request.communicate(timeout=120)
    assert request.returncode == 0, printed + complaints
    return printed


def assert_answered_once_and_rightly(folder: Path, inputs: str = "grey.npy", items: int = ITEMS) -> None:
    rows = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    assert {row["item"]: row.get("class_index") for row in rows} == {f"{inputs}#{i}": i % 4 for i in range(items)}
    assert len(rows) == items
    receipt = receipt_in(folder)
    assert (receipt["outcome"], receipt["answered"], receipt["unanswered"]) == ("answered", items, [])


def receipt_in(folder: Path) -> dict[str, Any]:
    receipt: dict[str, Any] = json.loads((folder / "r.json").read_text())
    return receipt


def test_a_node_that_is_killed_costs_no_item(both: Scene, tmp_path: Path):
    request = both.request(tmp_path)
    in_the_middle(tmp_path, request)

    both.nodes["a"].kill()

    assert "node a lost after" in ended(request)
    assert_answered_once_and_rightly(tmp_path)


def test_a_node_that_freezes_costs_no_item_and_is_of_use_again_when_it_wakes_up(both: Scene, tmp_path: Path):
    request = both.request(tmp_path)
    in_the_middle(tmp_path, request)

    both.nodes["a"].signal(signal.SIGSTOP)
    ended(request)
    both.nodes["a"].signal(signal.SIGCONT)  # with tasks in its queue of a request that is long over

    assert_answered_once_and_rightly(tmp_path)
    assert set(both.listed()) == {"a", "b"}
    (tmp_path / "again").mkdir()
    ended(both.request(tmp_path / "again"))
    assert_answered_once_and_rightly(tmp_path / "again")
    assert {share["node"] for share in receipt_in(tmp_path / "again")["shares"] if share["items"]} == {"a", "b"}


def test_a_node_that_is_started_anew_in_the_middle_is_used_again(both: Scene, tmp_path: Path):
    request = both.request(tmp_path)
    in_the_middle(tmp_path, request)
    both.nodes["b"].signal(signal.SIGSTOP)  # so that the request cannot end before
    both.nodes["a"].kill()
    before = answers(tmp_path)

    both.enter("a")
    wait_for(lambda: answers(tmp_path) > before + ITEMS // 10, request)
    both.nodes["b"].signal(signal.SIGCONT)

    ended(request)
    assert_answered_once_and_rightly(tmp_path)
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (returned,) = (i for i, event in enumerate(events) if event["event"] == "returned" and event["node"] == "a")
    assert any(sent["node"] == "a" for event in events[returned:] for sent in event.get("sent", ()))


def test_a_node_that_joins_in_the_middle_is_used(both: Scene, tmp_path: Path):
    request = both.request(tmp_path, inputs="many.npy")
    in_the_middle(tmp_path, request)
    both.nodes["b"].signal(signal.SIGSTOP)  # so that the request cannot end before

    late = both.enter("late")
    wait_for(lambda: sent_to("late", tmp_path), request)
    both.nodes["b"].signal(signal.SIGCONT)

    ended(request)
    late.end()
    assert_answered_once_and_rightly(tmp_path, "many.npy", MANY_ITEMS)
    shares = {share["node"]: share for share in receipt_in(tmp_path)["shares"]}
    assert (shares["late"]["planned_items"], shares["late"]["items"] > 0) == (0, True)
    assert "late" not in {one["node"] for one in receipt_in(tmp_path)["lost"]}


def sent_to(node: str, folder: Path) -> bool:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return any(sent["node"] == node for line in lines for sent in json.loads(line).get("sent", ()))


def test_nodes_forget_the_work_of_a_coordinator_that_is_killed_and_another_one_goes_on(both: Scene, tmp_path: Path):
    request = both.request(tmp_path)
    in_the_middle(tmp_path, request)

    request.kill()
    request.communicate()

    queued = [one["status"]["processors"][0]["queue_tasks"] for one in both.listed().values()]
    while any(queued):
        queued = [one["status"]["processors"][0]["queue_tasks"] for one in both.listed().values()]
    left = receipt_in(tmp_path)
    assert (left["outcome"], left["origin"]["cluster"]) == ("running", "live")
    code, printed, complaints = both.cluster.run_alone("run", "--resume", f"{tmp_path}/r.json")
    assert (code, complaints) == (0, ""), printed
    assert_answered_once_and_rightly(tmp_path)


@pytest.mark.parametrize("lie", LIES)
def test_a_node_that_does_not_answer_as_it_should_costs_no_item(both: Scene, tmp_path: Path, lie: str):
    with lying(both.cluster.name, like="b", lie=lie, until=lambda: answers(tmp_path) > ITEMS // 2) as liar:
        request = both.request(tmp_path, "--nodes", "3")
        ended(request)

        assert liar.asked > 0
    assert_answered_once_and_rightly(tmp_path)


def test_a_node_that_tells_what_cannot_be_is_not_used(both: Scene, tmp_path: Path):
    with lying(both.cluster.name, like="b", lie=ABSURD, until=lambda: True) as liar:
        request = both.request(tmp_path, "--nodes", "3")
        printed, complaints = request.communicate(timeout=120)

        assert (request.returncode, liar.asked) == (0, 0), printed + complaints
    assert "Not used: node liar: what it tells of itself makes no sense: speed of a processor must be" in complaints
    assert_answered_once_and_rightly(tmp_path)
