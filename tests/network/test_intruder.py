"""An intruder on the LAN: gets nothing from a secured node, and breaks nothing."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from equipoise.fabric.config import MESSAGE_BYTES
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
# Forwards what members send to the node, and once it has heard enough says all of it again: on a connection of its own,
# and then a part of it twice on the member's.
REPLAY = """
import socket, sys, threading
node = (sys.argv[1], int(sys.argv[2]))
heard, replayed, said_twice = [], threading.Event(), threading.Event()

def replay():
    with socket.create_connection(node, timeout=10) as again:
        try:
            for part in heard[:]:
                again.sendall(part)
            while again.recv(65536):
                pass
        except OSError:
            pass  # it hung up, as it should
    replayed.set()
    print("replayed", flush=True)

def pump(source, target, listening):
    try:
        while part := source.recv(65536):
            target.sendall(part)
            if not listening:
                continue
            heard.append(part)
            if len(heard) == 100:
                threading.Thread(target=replay).start()
            if replayed.is_set() and not said_twice.is_set():
                said_twice.set()
                target.sendall(part)
                print("said twice", flush=True)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)  # closing would not wake up whoever reads from it
        except OSError:
            pass

with socket.create_server(("0.0.0.0", node[1])) as server:
    while True:
        member, _ = server.accept()
        onward = socket.create_connection(node)
        threading.Thread(target=pump, args=(member, onward, True)).start()
        threading.Thread(target=pump, args=(onward, member, False)).start()
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


def memory_bytes(process: Process, which: str = "VmRSS") -> int:
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith(which))


def most_memory_bytes(process: Process) -> int:
    """The most that it ever had."""
    return memory_bytes(process, "VmHWM")


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


def test_messages_that_are_said_again_are_not_heard_again(
    lan: Lan, authority: Authority, board: tuple[Host, Process], tmp_path: Path
):
    host, node = board
    between = lan.host("between")
    intruder = between.start(sys.executable, "-c", REPLAY, host.address, str(PORT))
    laptop = lan.host("laptop")
    member = follower(laptop, member_of_cluster(authority, tmp_path, "laptop", now()).folder, between)

    until(lambda: "replayed" in intruder.stdout, intruder)
    until(lambda: "said twice" in intruder.stdout, intruder)
    so_far = member.stdout.count("answered")
    until(lambda: member.stdout.count("answered") > so_far, member)
    member.kill()

    asked = len(member.stdout.split()) + 1  # the last one may not have been told
    assert so_far <= node.stdout.count("served") <= asked
    assert "refused a connection" in node.stderr


def test_a_member_that_sends_a_gigabyte_in_one_message_does_not_fill_the_memory_of_a_node(
    lan: Lan, authority: Authority, board: tuple[Host, Process], laptop: Callable[[], Process], tmp_path: Path
):
    host, node = board
    before = memory_bytes(node)
    mallory = member_of_cluster(authority, tmp_path, "mallory", now())
    arguments = ("-m", "tests.network.served", "flood", str(mallory.folder), f"tls/{host.address}:{PORT}")
    flood = lan.host("mallory").start(sys.executable, *arguments)
    until(lambda: "sent" in flood.stdout, flood)
    assert flood.wait() == 0, flood.stderr

    member = laptop()
    until(lambda: "answered" in member.stdout, member)
    assert "answers: 0" in flood.stdout
    assert most_memory_bytes(node) < before + 2 * MESSAGE_BYTES


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
