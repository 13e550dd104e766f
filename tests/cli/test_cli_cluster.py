"""`equipoise cluster`: an authority here, a member there, and what each of them is told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from equipoise.cli import main

REPOSITORY = Path(__file__).parents[2]

On = Callable[..., tuple[int, str, str]]


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> On:
    """Runs `equipoise` on the machine of that name; returns exit code, stdout and stderr."""

    def run(machine: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("EQUIPOISE_DATA_DIR", str(tmp_path / machine))
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        code = left.value.code
        return (code if isinstance(code, int) else 0), out, err

    return run


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        chosen: int = probe.getsockname()[1]
        return chosen


@pytest.fixture
def invitation(on: On, port: int) -> str:
    """From the authority of a new cluster on "laptop"."""
    where = ("--address", f"127.0.0.1:{port}")
    code, out, err = on("laptop", "cluster", "init", "--node-name", "laptop", *where, "--no-wait")
    assert code == 0, err
    return out.strip()


@pytest.fixture
def served(invitation: str, port: int, tmp_path: Path) -> Iterator[str]:
    """The same, with the authority's service running."""
    process = start(tmp_path / "laptop", "cluster", "serve", "--port", str(port))
    assert process.stderr is not None
    assert f"on port {port}" in process.stderr.readline()
    yield invitation
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 0


def start(data: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "equipoise", *arguments],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "EQUIPOISE_DATA_DIR": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_machine_joins_renews_and_is_shown(served: str, on: On):
    code, _, err = on("pi", "cluster", "join", served, "--name", "pi-4")
    assert (code, "member 'pi-4' of cluster 'home'" in err) == (0, True), err
    first = json.loads(on("pi", "cluster", "show", "--json")[1])
    assert on("pi", "cluster", "renew")[0] == 0

    shown = json.loads(on("laptop", "cluster", "show", "--json")[1])
    assert sorted(member["name"] for member in shown["members"]) == ["laptop", "pi-4"]
    assert shown["invitations"] == []
    assert first["member"] == "pi-4"
    assert "pi-4" in on("laptop", "cluster", "show")[1]


def test_joining_the_same_cluster_again_changes_nothing_and_another_is_refused(served: str, on: On):
    on("pi", "cluster", "join", served, "--name", "pi-4")

    assert on("pi", "cluster", "join", served, "--name", "pi-4")[0] == 0
    _, other, _ = on("other", "cluster", "init", "--address", "127.0.0.1", "--no-wait")
    code, _, err = on("pi", "cluster", "join", other.strip(), "--name", "pi-4")
    assert (code, "in cluster 'home' already" in err) == (1, True)


def test_an_invitation_may_stand_in_a_file(served: str, on: On, tmp_path: Path):
    (tmp_path / "invitation").write_text(served + "\n")

    code, _, err = on("pi", "cluster", "join", str(tmp_path / "invitation"), "--name", "pi-4")

    assert code == 0, err


def test_a_revoked_member_cannot_renew(served: str, on: On, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("equipoise.cli.membership._SPREAD_S", 0.0)
    on("pi", "cluster", "join", served, "--name", "pi-4")

    code, _, err = on("laptop", "cluster", "revoke", "pi-4")
    assert (code, "nodes that know it: none was found" in err) == (0, True), err
    code, _, err = on("pi", "cluster", "renew")
    assert (code, "was revoked" in err) == (1, True)


def test_a_signed_family_is_in_the_charter(invitation: str, on: On, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("equipoise.cli.membership._SPREAD_S", 0.0)

    assert on("laptop", "cluster", "sign", "demo")[0] == 0
    assert "families that may be loaded: digits" in on("laptop", "cluster", "show")[1]


def test_inviting_waits_until_the_node_has_joined(invitation: str, on: On, tmp_path: Path):
    inviting = start(tmp_path / "laptop", "cluster", "invite", "nano")
    assert inviting.stdout is not None
    assert inviting.stderr is not None
    word = inviting.stdout.readline().strip()
    assert "waiting for it" in inviting.stderr.readline()

    code, _, err = on("nano", "cluster", "join", word, "--name", "other")
    while "cannot be reached" in err:  # it says so before it listens
        time.sleep(0.05)
        code, _, err = on("nano", "cluster", "join", word, "--name", "other")
    assert (code, "is for a node named 'nano'" in err) == (1, True)
    assert on("nano", "cluster", "join", word, "--name", "nano")[0] == 0
    _, err = inviting.communicate(timeout=60)
    assert (inviting.returncode, err.splitlines()[-1]) == (0, "equipoise: 'nano' has joined")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cluster", "join", "hello"], 1, "no invitation"),
        (["cluster", "invite"], 1, "`equipoise cluster init` makes one"),
        (["cluster", "renew"], 1, "in no cluster"),
        (["cluster", "show"], 1, "in no cluster"),
        (["cluster", "init", "--name", "a b"], 1, "the name of a cluster must be"),
        (["cluster", "init", "--address", "host:"], 2, "HOST:PORT"),
        (["cluster", "invite", "pi", "--count", "2"], 2, "cannot all be for one node"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(on: On, arguments: list[str], code: int, message: str):
    left, out, err = on("nowhere", *arguments)

    assert (left, out, err.count("\n")) == (code, "", 1)
    assert message in err


def test_an_authority_is_not_made_twice(invitation: str, on: On):
    code, _, err = on("laptop", "cluster", "init", "--address", "127.0.0.1", "--no-wait")

    assert (code, "already" in err) == (1, True)
