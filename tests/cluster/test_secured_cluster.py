"""Nodes and commands as processes of their own in a cluster that nobody else gets into: TLS, over loopback."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import NodeProcess, RealCluster, real_cluster, wait_for
from test_live_cluster import save_greys

from equipoise.core.family import Family
from equipoise.fabric.charter import exchange
from equipoise.fabric.config import credentials_of, settings_of
from equipoise.fabric.zenoh import ZenohFabric
from equipoise.runtime.live import find_nodes
from equipoise.trust.authority import Authority
from equipoise.trust.certificates import new_key, signing_request
from equipoise.trust.membership import Membership
from tests.models.families import bulky_family
from tests.trust.clusters import DAY, authority_in, member_of_cluster

ITEMS = 40
MANY_ITEMS = 40_000


class Secured:
    """A cluster whose authority is here, with "laptop" as the member that runs commands."""

    def __init__(self, cluster: RealCluster, family: Family) -> None:
        self.cluster = cluster
        self.family = family
        self.authority = authority_in(cluster.folder, addresses=(f"127.0.0.1:{free_port()}",))
        self.endpoint = f"tls/127.0.0.1:{free_port()}"
        self.admit("laptop", data="data")

    def admit(
        self, name: str, *, data: str, authority: Authority | None = None, certified: dt.datetime | None = None
    ) -> Membership:
        """A membership in a data folder, as joining at that time would have put it there."""
        membership = member_of_cluster(authority or self.authority, self.cluster.folder, name, certified or now())
        shutil.copytree(membership.folder, self.cluster.folder / data / "member")
        return membership

    def node(self, name: str, *arguments: str, certified: dt.datetime | None = None) -> NodeProcess:
        """A member that is a node; the first is dialled by the others."""
        self.admit(name, data=name, certified=certified)
        first = not self.cluster.nodes
        way = ("--listen", self.endpoint) if first else ("--connect", self.endpoint)
        return self.cluster.start(name, "--processors", "cpu", *way, *arguments, data=name)

    def learn(self, signed: bytes) -> None:
        """Tell the laptop of a decision of the authority; whoever it meets hears it from there."""
        folder = self.cluster.folder / "data" / "member"
        assert Membership.load(folder, now()).learn(signed)

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


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


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


def test_members_fetch_what_the_cluster_has_signed_and_nothing_else(secured: Secured, tiny_family: Family):
    other = bulky_family(tiny_family, secured.cluster.folder / "bulky")
    secured.learn(secured.authority.sign_family(secured.family))
    secured.node("a", "--family", str(secured.family.folder), "--family", str(other.folder))
    secured.nodes()  # which tells it what is signed
    b = secured.node("b")

    assert "equipoise cluster sign" in b.until("not adopted")
    b.until("profiled")
    assert fetched_by(secured, "b") == {model.sha256 for model in secured.family.models}

    secured.learn(secured.authority.sign_family(other))
    secured.nodes()
    assert "family=bulky" in b.until("adopted")
    b.until("profiled")
    assert fetched_by(secured, "b") == {model.sha256 for family in (secured.family, other) for model in family.models}
    code, printed, complaints = secured.run("--nodes", "2")
    assert (code, complaints) == (0, ""), printed


def test_a_member_that_runs_a_request_hands_its_signed_files_out(secured: Secured):
    secured.learn(secured.authority.sign_family(secured.family))
    b = secured.node("b")

    code, printed, complaints = secured.run()

    assert (code, complaints) == (0, ""), printed
    assert "source=client-" in b.until("fetched")


def fetched_by(secured: Secured, name: str) -> set[str]:
    return {path.stem for path in (secured.cluster.folder / name / "cache" / "files").glob("*.onnx")}


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

    secured.learn(secured.authority.revoke("mallory", now()))
    secured.nodes()
    assert "mallory" in pi.until("reconnecting")
    pi.until("reconnected")

    assert secured.nodes() == {"pi": True}


def test_a_node_that_reconnects_in_the_middle_of_a_request_costs_no_item(secured: Secured):
    secured.learn(secured.authority.sign_family(secured.family))
    secured.authority.admit_this_machine(signing_request(new_key(), "gone"), now())
    pi = secured.node("pi", "--family", str(secured.family.folder))
    secured.nodes()
    pi.until("profiled")
    save_greys(secured.cluster.folder / "many.npy", MANY_ITEMS)
    family = str(secured.family.folder)
    live = ("--cluster", "live", "--connect", secured.endpoint, "--deadline-s", "100", "--out", "p.jsonl")
    running = secured.cluster.command("run", "many.npy", "--family", family, *live)
    written = secured.cluster.folder / "p.jsonl"
    wait_for(lambda: written.exists() and written.stat().st_size > 0, running)

    try:
        secured.learn(secured.authority.revoke("gone", now()))
        asyncio.run(tell(secured))
        pi.until("reconnected")
        printed, complaints = running.communicate(timeout=120)
    finally:
        running.kill()

    assert running.returncode == 0, printed + complaints
    rows = [json.loads(line)["item"] for line in written.read_text().splitlines()]
    assert sorted(rows) == sorted(f"many.npy#{i}" for i in range(MANY_ITEMS))


async def tell(secured: Secured) -> None:
    """Have the laptop tell the first node its charter, without the start of a command."""
    membership = Membership.load(secured.cluster.folder / "data" / "member", now())
    credentials = credentials_of(membership, now())
    settings = settings_of(cluster=membership.network, connect=[secured.endpoint], credentials=credentials)
    fabric = await ZenohFabric.open(settings)
    (name,) = await find_nodes(fabric)
    assert await exchange(fabric, membership, [name]) == {name: None}
    await fabric.close()


def test_a_certificate_is_renewed_while_its_node_runs(secured: Secured):
    address = secured.authority.ledger().addresses[0]
    authority = str(secured.authority.folder)
    serving = subprocess.Popen(
        [
            *(sys.executable, "-m", "equipoise", "cluster", "serve"),
            *("--authority", authority, "--port", address.rpartition(":")[2]),
        ],
        env=secured.cluster.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stderr is not None
        assert "serving" in serving.stderr.readline()
        pi = secured.node("pi", certified=now() - 70 * DAY)  # of the 90 that it is good for
        assert "until=" in pi.until("renewed")
        assert "a new certificate" in pi.until("reconnecting")
        pi.until("reconnected")
        assert secured.nodes() == {"pi": True}
    finally:
        serving.terminate()
        serving.communicate()


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
