"""An intruder on the LAN: gets nothing from a secured node, and breaks nothing."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from equipoise.trust.authority import Authority
from tests.network.lan import Host, Lan, Process
from tests.trust.clusters import authority_in, member_of_cluster

PORT = 7447
GIVE_UP_S = 60.0

RANDOM_BYTES = """
import os, random, socket, sys
for size in (1, 10, 1000, 100_000, 2_000_000):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as connection:
        try:
            connection.sendall(random.Random(size).randbytes(size))
            while connection.recv(65536):
                pass
        except OSError:
            pass  # it hung up, as it should
"""
GIGABYTE = """
import socket, sys
block, sent = bytes(1 << 20), 0
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as connection:
    try:
        # a TLS record that says it is a handshake of 16 MB, and then what was announced, a gigabyte in all
        connection.sendall(bytes([22, 3, 3, 64, 0, 1, 255, 255, 255]))
        while sent < 1 << 30:
            connection.sendall(block)
            sent += len(block)
    except OSError:
        pass
print(sent)
"""
SILENT = """
import socket, sys, time
connections = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(50)]
print("connected", flush=True)
time.sleep(600)
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return authority_in(tmp_path)


@pytest.fixture
def board(lan: Lan, authority: Authority, tmp_path: Path) -> tuple[Host, Process]:
    """A secured node on a host of its own."""
    host = lan.host("board")
    pi = member_of_cluster(authority, tmp_path, "pi", now())
    process = host.start(sys.executable, "-m", "tests.network.served", "serve", str(pi.folder), f"tls/0.0.0.0:{PORT}")
    until(lambda: "ready" in process.stdout, process)
    return host, process


@pytest.fixture
def laptop(lan: Lan, authority: Authority, tmp_path: Path, board: tuple[Host, Process]) -> Callable[[], Process]:
    """Has a member ask the board, once it is reached."""
    host = lan.host("laptop")
    member = member_of_cluster(authority, tmp_path, "laptop", now())

    def ask() -> Process:
        return follower(host, member.folder, board[0])

    return ask


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def follower(host: Host, membership: Path, target: Host) -> Process:
    endpoint = f"tls/{target.address}:{PORT}"
    return host.start(sys.executable, "-m", "tests.network.served", "follow", str(membership), endpoint)


def until(holds: Callable[[], bool], process: Process) -> None:
    give_up_s = time.monotonic() + GIVE_UP_S
    while not holds():
        assert process.popen.poll() is None, process.stderr
        assert time.monotonic() < give_up_s, process.stdout + process.stderr
        time.sleep(0.02)


def memory_bytes(process: Process) -> int:
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@pytest.mark.parametrize("attack", [RANDOM_BYTES, GIGABYTE], ids=["random bytes", "a gigabyte"])
def test_junk_on_the_port_breaks_nothing(
    lan: Lan, board: tuple[Host, Process], laptop: Callable[[], Process], attack: str
):
    host, node = board
    intruder = lan.host("intruder")
    before = memory_bytes(node)

    attacking = intruder.start(sys.executable, "-c", attack, host.address, str(PORT))
    assert attacking.wait() == 0, attacking.stderr
    member = laptop()
    until(lambda: "answered" in member.stdout, member)

    assert memory_bytes(node) < before + 50_000_000
    assert node.popen.poll() is None
    assert "refused a connection" in node.stderr


def test_a_foreign_member_gets_nothing_while_a_member_is_answered(
    lan: Lan, board: tuple[Host, Process], laptop: Callable[[], Process], tmp_path: Path
):
    foreign = member_of_cluster(authority_in(tmp_path, "foreign"), tmp_path, "mallory", now())
    mallory = follower(lan.host("intruder"), foreign.folder, board[0])
    member = laptop()
    until(lambda: "answered" in member.stdout, member)
    until(lambda: "refused a connection" in board[1].stderr, board[1])

    assert "answered" not in mallory.stdout


def test_connections_that_say_nothing_keep_nobody_out(
    lan: Lan, board: tuple[Host, Process], laptop: Callable[[], Process]
):
    silent = lan.host("intruder").start(sys.executable, "-c", SILENT, board[0].address, str(PORT))
    until(lambda: "connected" in silent.stdout, silent)

    member = laptop()

    until(lambda: "answered" in member.stdout, member)


@pytest.mark.parametrize("cut_s", [1.3, 3.0, 10.0])
def test_a_cut_link_is_in_use_again_after_it_is_mended(
    board: tuple[Host, Process], laptop: Callable[[], Process], cut_s: float
):
    member = laptop()
    until(lambda: "answered" in member.stdout, member)

    board[0].cut()
    until(lambda: "missed" in member.stdout.split("answered")[-1], member)
    time.sleep(cut_s - 1.0)  # a missed answer is one that was waited for for a second
    board[0].mend()
    so_far = member.stdout.count("answered")

    until(lambda: member.stdout.count("answered") > so_far, member)
