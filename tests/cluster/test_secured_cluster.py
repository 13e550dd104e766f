"""Nodes and commands as processes of their own in a cluster that nobody else gets into: TLS, over loopback."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import NodeProcess, RealCluster, real_cluster
from test_live_cluster import save_greys

from equipoise.core.family import Family
from equipoise.trust.authority import Authority
from equipoise.trust.membership import Membership
from tests.trust.clusters import authority_in, member_of_cluster

ITEMS = 40


class Secured:
    """A cluster whose authority is here, with "laptop" as the member that runs commands."""

    def __init__(self, cluster: RealCluster, family: Family) -> None:
        self.cluster = cluster
        self.family = family
        self.authority = authority_in(cluster.folder)
        self.endpoint = f"tls/127.0.0.1:{free_port()}"
        self.admit("laptop", data="data")

    def admit(self, name: str, *, data: str, authority: Authority | None = None) -> Membership:
        """A membership in a data folder, as joining would have put it there."""
        now = dt.datetime.now(dt.timezone.utc)
        membership = member_of_cluster(authority or self.authority, self.cluster.folder, name, now)
        shutil.copytree(membership.folder, self.cluster.folder / data / "member")
        return membership

    def node(self, name: str, *arguments: str) -> NodeProcess:
        """A member that is a node; the first is dialled by the others."""
        self.admit(name, data=name)
        first = not self.cluster.nodes
        way = ("--listen", self.endpoint) if first else ("--connect", self.endpoint)
        return self.cluster.start(name, "--processors", "cpu", *way, *arguments, data=name)

    def learn(self, signed: bytes) -> None:
        """Tell the laptop of a decision of the authority; whoever it meets hears it from there."""
        folder = self.cluster.folder / "data" / "member"
        assert Membership.load(folder, dt.datetime.now(dt.timezone.utc)).learn(signed)

    def nodes(self) -> dict[str, bool]:
        """Whom the laptop sees, and whether the listing says that they are in a secured cluster."""
        code, printed, complaints = self.cluster.run("nodes", "--json", "--connect", self.endpoint)
        assert (code, complaints) == (0, "")
        return {one["name"]: one["secured"] for one in json.loads(printed)}

    def run(self, *more: str) -> tuple[int, str, str]:
        save_greys(self.cluster.folder / "grey.npy", ITEMS)
        family = str(self.family.folder)
        live = ("--cluster", "live", "--connect", self.endpoint)
        return self.cluster.run("run", "grey.npy", "--family", family, *live, "--deadline-s", "60", *more)


@pytest.fixture
def secured(tmp_path: Path, tiny_family: Family) -> Iterator[Secured]:
    with real_cluster(tmp_path) as cluster:
        yield Secured(cluster, tiny_family)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_members_serve_a_request_of_a_member(secured: Secured):
    secured.learn(secured.authority.sign_family(secured.family))
    for name in ("a", "b"):
        node = secured.node(name, "--family", str(secured.family.folder))
        secured.nodes()  # which tells the first what is signed, and it the other
        node.until("profiled")

    code, printed, complaints = secured.run("--nodes", "2", "--out", "p.jsonl", "--receipt", "r.json")

    assert (code, complaints) == (0, ""), printed
    assert "(secured)" in printed
    rows = [json.loads(line) for line in (secured.cluster.folder / "p.jsonl").read_text().splitlines()]
    assert {row["item"]: row["class_index"] for row in rows} == {f"grey.npy#{i}": i % 4 for i in range(ITEMS)}
    assert secured.nodes() == {"a": True, "b": True}
    _, listing, _ = secured.cluster.run("nodes", "--connect", secured.endpoint)
    assert "Secured cluster home-" in listing


def test_who_is_no_member_is_not_seen_and_sees_nothing(secured: Secured):
    pi = secured.node("pi")
    foreign = authority_in(secured.cluster.folder, "foreign")
    secured.admit("mallory", data="mallory", authority=foreign)
    secured.cluster.start("mallory", "--connect", secured.endpoint, data="mallory")
    secured.cluster.start("passer-by", data="passer-by")

    pi.until("refused")
    assert secured.nodes() == {"pi": True}
    secured.cluster.environment["EQUIPOISE_DATA_DIR"] = str(secured.cluster.folder / "mallory")
    code, _, complaints = secured.cluster.run("nodes", "--connect", secured.endpoint)

    assert code == 1
    assert f"{secured.endpoint}: it is of another cluster" in complaints


def test_what_the_cluster_has_not_signed_is_not_loaded_until_it_has(secured: Secured):
    pi = secured.node("pi", "--family", str(secured.family.folder))
    assert "equipoise cluster sign" in pi.until("not loaded")
    pi.until("profiled")

    code, _, complaints = secured.run()
    assert code == 1
    assert "node pi: none of the variants runs there" in complaints

    secured.learn(secured.authority.sign_family(secured.family))
    secured.nodes()
    assert "families=tiny" in pi.until("signed families")
    pi.until("profiled")
    code, printed, complaints = secured.run()
    assert (code, complaints) == (0, ""), printed


def test_a_node_that_was_put_out_is_seen_by_nobody_any_more(secured: Secured):
    pi = secured.node("pi")
    secured.node("mallory")
    assert secured.nodes() == {"pi": True, "mallory": True}

    secured.learn(secured.authority.revoke("mallory", dt.datetime.now(dt.timezone.utc)))
    secured.nodes()
    assert "mallory" in pi.until("reconnecting")
    pi.until("reconnected")

    assert secured.nodes() == {"pi": True}


def test_one_command_makes_an_invited_machine_a_node(tmp_path: Path):
    with real_cluster(tmp_path) as cluster:
        inviting = subprocess.Popen(
            [
                *(sys.executable, "-m", "equipoise", "cluster", "init", "--node-name", "laptop"),
                *("--address", f"127.0.0.1:{free_port()}"),
            ],
            env=cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert inviting.stdout is not None
            invitation = inviting.stdout.readline().strip()
            endpoint = f"tls/127.0.0.1:{free_port()}"
            pi = cluster.start("pi", "--join", invitation, "--listen", endpoint, data="pi")
            _, told = inviting.communicate(timeout=60)
        finally:
            inviting.kill()
        code, printed, _ = cluster.run("nodes", "--json", "--connect", endpoint)

    assert inviting.returncode == 0, told
    assert "'pi' has joined" in told
    assert any("member_of=home" in line for line in pi.log)
    assert code == 0
    assert [one["name"] for one in json.loads(printed)] == ["pi"]


def test_joining_a_closed_cluster_and_insisting_on_an_open_one_is_refused(tmp_path: Path):
    with real_cluster(tmp_path) as cluster:
        code, _, complaints = cluster.run("node", "--join", "word", "--insecure")

    assert code == 2
    assert "--join" in complaints
