"""A node as a service: what the installed unit runs, under a service manager that is played by the test."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from nodes import NodeProcess, RealCluster, real_cluster, wait_for
from unit_files import command_of, environment_of

from equipoise.core.family import Family
from equipoise.node.unit import UNIT_NAME

ITEMS = 20_000


@dataclass(frozen=True)
class Manager:
    """Starts units as systemd would, and hears what they tell it."""

    cluster: RealCluster
    address: str
    told: SimpleQueue[str]

    def start(self, name: str, *arguments: str) -> NodeProcess:
        """Install the service `equipoise node ARGUMENTS` in a folder, and run what its unit says."""
        folder = self.cluster.folder / f"units-{name}"
        code, _, said = self.cluster.run(
            "node", "--install-service", "--service-dir", str(folder), "--name", name, *arguments
        )
        assert code == 0, said
        assert f"wrote {folder / UNIT_NAME}" in said
        unit = (folder / UNIT_NAME).read_text()
        environment = self.cluster.environment | environment_of(unit) | {"NOTIFY_SOCKET": self.address}
        environment["WATCHDOG_USEC"] = "300000"
        node = NodeProcess(name, (), environment, self.cluster.folder, command_of(unit))
        self.cluster.nodes.append(node)
        return node

    def until(self, state: str) -> None:
        """Listen until this is told."""
        while state not in self.told.get(timeout=60).split("\n"):
            pass


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with real_cluster(tmp_path) as cluster, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        address, told = str(tmp_path / "notify"), SimpleQueue[str]()
        wire.bind(address)
        listening = threading.Thread(target=_listen, args=(wire, told))
        listening.start()
        yield Manager(cluster, address, told)
        wire.sendto(b"", address)  # nothing more will come
        listening.join()


def _listen(wire: socket.socket, told: SimpleQueue[str]) -> None:
    while message := wire.recv(4096):
        told.put(message.decode())


def test_the_manager_is_told_of_start_reload_life_and_end(manager: Manager, tiny_family: Family) -> None:
    node = manager.start("a service's 100 %", "--family", str(tiny_family.folder), "--processors", "cpu")

    manager.until("READY=1")
    node.until("profiled")
    manager.until("WATCHDOG=1")
    node.signal(signal.SIGHUP)
    manager.until("RELOADING=1")
    manager.until("READY=1")
    assert node.end() == 0
    manager.until("STOPPING=1")
    assert 'left node="a service\'s 100 %"' in node.log[-1]


def save_greys(path: Path, items: int) -> None:
    """Item i is of class i % 4."""
    np.save(path, np.stack([np.full((8, 8, 3), 32 + 64 * (item % 4), dtype=np.uint8) for item in range(items)]))


@pytest.mark.parametrize("signals", [1, 2])
def test_a_node_that_is_stopped_in_the_middle_of_a_request_finishes_or_hands_back_what_it_has(
    manager: Manager, tiny_family: Family, signals: int
) -> None:
    cluster, family = manager.cluster, str(tiny_family.folder)
    save_greys(cluster.folder / "grey.npy", ITEMS)
    leaving = manager.start("leaving", "--family", family, "--processors", "cpu")
    leaving.until("profiled")
    cluster.start("staying", "--family", family, "--processors", "cpu").until("profiled")
    request = cluster.command(
        "run", "grey.npy", "--family", family, "--cluster", "live", "--nodes", "2", "--deadline-s", "600",
        "--out", "p.jsonl", "--receipt", "r.json",
    )  # fmt: skip
    answers = cluster.folder / "p.jsonl"
    wait_for(lambda: answers.exists() and b'"leaving"' in answers.read_bytes(), request)
    for _ in range(signals - 1):
        leaving.signal(signal.SIGTERM)  # which one more makes it hurry
    code = leaving.end()
    _, complaints = request.communicate(timeout=120)

    assert (code, request.returncode, complaints) == (0, 0, "")
    assert any("draining" in line for line in leaving.log)
    assert signals > 1 or not any("handed back" in line for line in leaving.log)
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert len(rows) == ITEMS
    assert {row["item"]: row["class_index"] for row in rows} == {f"grey.npy#{i}": i % 4 for i in range(ITEMS)}
    receipt = json.loads((cluster.folder / "r.json").read_text())
    assert (receipt["answered"], receipt["unanswered"]) == (ITEMS, [])
    assert "leaving" in {lost["node"] for lost in receipt["lost"]}  # a busy machine may also be late beyond belief
    assert any(share["node"] == "leaving" and share["items"] for share in receipt["shares"])


def offered_by(cluster: RealCluster) -> list[str]:
    """The families of the one node."""
    code, printed, complaints = cluster.run("nodes", "--json")
    assert (code, complaints) == (0, "")
    (node,) = json.loads(printed)
    return [family["name"] for family in node["status"]["families"]]


def test_a_reload_takes_up_what_has_changed_and_keeps_what_can_not_be_read(tmp_path: Path, tiny_family: Family) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        shutil.copytree(tiny_family.folder, folder)
        rename(folder, to=folder.name)
    with real_cluster(tmp_path) as cluster:
        node = cluster.start("c", "--family", str(first), "--family", str(second), "--processors", "cpu")
        (first / "family.toml").write_text("no TOML at all")
        rename(second, to="renamed")
        node.signal(signal.SIGHUP)

        assert "first/family.toml" in node.until("reload failed")
        assert "families=renamed" in node.until("reloaded")
        assert offered_by(cluster) == ["first", "renamed"]


def rename(folder: Path, *, to: str) -> None:
    lines = (folder / "family.toml").read_text().splitlines()
    named = [f'name = "{to}"' if line.startswith("name = ") and n < 4 else line for n, line in enumerate(lines)]
    (folder / "family.toml").write_text("\n".join(named))
