"""The network that tests are run on is what it claims to be."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.network.lan import REPOSITORY, Host, Lan, ip, left_over, sweep
from tests.network.quota import Quota

SEND = """
import socket, sys, time
with socket.create_connection((sys.argv[1], 5000)) as s:
    s.sendall(bytes(int(sys.argv[2])))
    s.shutdown(socket.SHUT_WR)
    s.recv(1)
"""
RECEIVE = """
import socket, time
with socket.create_server(("0.0.0.0", 5000)) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
    began_s, received = time.monotonic(), 0
    while part := connection.recv(65536):
        received += len(part)
    print(received, time.monotonic() - began_s, flush=True)
"""


def transfer(source: Host, target: Host, size_bytes: int) -> tuple[int, float]:
    """Bytes that arrived, and the seconds that it took."""
    receiver = target.start(sys.executable, "-c", RECEIVE)
    while "listening" not in receiver.stdout:
        assert receiver.popen.poll() is None, receiver.stderr
        time.sleep(0.01)
    sender = source.start(sys.executable, "-c", SEND, target.address, str(size_bytes))
    assert (sender.wait(), receiver.wait()) == (0, 0), sender.stderr + receiver.stderr
    received, took_s = receiver.stdout.split()[1:]
    return int(received), float(took_s)


def retransmitted(host: Host) -> int:
    """TCP segments that a host had to send again."""
    names, values = (line.split() for line in host.run("cat", "/proc/net/snmp").splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("RetransSegs")])


def reaches(source: Host, target: Host) -> bool:
    try:
        connect = "import socket, sys; socket.create_connection((sys.argv[1], 9), timeout=1)"
        source.run(sys.executable, "-c", connect, target.address)
    except RuntimeError as error:
        return "refused" in str(error)  # nobody listens there, but somebody says so
    return True


def round_trip_s(source: Host, target: Host) -> float:
    connect = (
        "import socket, sys, time; b = time.monotonic()\n"
        "try: socket.create_connection((sys.argv[1], 9))\n"
        "except OSError: print(time.monotonic() - b)"
    )
    source.run(sys.executable, "-c", connect, target.address)  # asks for the hardware address as well
    return float(source.run(sys.executable, "-c", connect, target.address))


def test_hosts_reach_each_other_and_nobody_else_sees_them(lan: Lan):
    one, two = lan.host("one"), lan.host("two", wired=True)

    assert transfer(one, two, 1_000_000)[0] == 1_000_000
    assert transfer(two, one, 1_000_000)[0] == 1_000_000
    assert one.address not in ip("addr")


def test_a_link_has_the_rate_and_the_delay_that_are_asked_for(lan: Lan):
    near, far = lan.host("near"), lan.host("far", rate="20mbit", delay_s=0.02)

    received, took_s = transfer(near, far, 2_500_000)

    assert received == 2_500_000
    assert took_s > 0.8  # 20 Mbit at 20 Mbit/s, less what the buffers at both ends take at once
    assert round_trip_s(near, far) > 0.04


def test_a_lossy_link_loses_frames_and_tcp_repairs_it(lan: Lan):
    near, far = lan.host("near"), lan.host("far", loss=0.05)

    assert transfer(near, far, 300_000)[0] == 300_000
    assert retransmitted(near) > 0


@pytest.mark.parametrize("wired", [False, True])
def test_a_cut_is_silent_and_can_be_mended(lan: Lan, wired: bool):
    one, two = lan.host("one"), lan.host("two", wired=wired)

    two.cut()
    reached_while_cut, link = reaches(one, two), two.run("ip", "-o", "link", "show", "eth0")
    two.mend()

    assert not reached_while_cut
    assert "LOWER_UP" in link
    assert any(reaches(one, two) for _ in range(10))  # an address that was asked for in vain is asked for again later


@pytest.mark.parametrize("cut", ["to-host", "from-host"])
def test_a_cut_in_one_direction_lets_the_other_pass(lan: Lan, cut: str):
    one, two = lan.host("one"), lan.host("two", wired=True)
    assert reaches(one, two)  # both know each other's hardware address now

    def frames(host: Host) -> int:
        return int(host.run("cat", "/sys/class/net/eth0/statistics/rx_packets"))

    two.cut(cut)
    before = frames(one), frames(two)
    reaches(one, two)
    reaches(two, one)
    after = frames(one), frames(two)

    silent, heard = (1, 0) if cut == "to-host" else (0, 1)
    assert after[silent] == before[silent]
    assert after[heard] > before[heard]


def run_on_a_network(folder: Path, code: str) -> list[str]:
    """Another test run with a network, and whatever `code` does on it; the words that it prints."""
    folder.mkdir()
    program = "\n".join(
        (
            "import os, pathlib, signal, sys",
            "from tests.network.lan import network",
            f"with network(pathlib.Path({str(folder)!r})) as lan:",
            textwrap.indent(code, "    "),
        )
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stdout.split()


def test_whatever_a_failing_test_leaves_running_is_gone(lan: Lan, tmp_path: Path):
    lan.host("bystander")
    before = left_over()

    pid, namespace = run_on_a_network(
        tmp_path / "failing",
        """
host = lan.host("lost", wired=True)
sleep = "import time; time.sleep(999)"
process = host.start(sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{sleep}'])")
print(process.popen.pid, host.namespace, flush=True)
raise KeyError("a test fails")
""",
    )

    assert not Path(f"/proc/{pid}").exists()
    assert namespace not in ip("netns", "list")
    assert left_over() == before


def test_what_a_killed_run_left_is_swept_away_by_the_next(lan: Lan, tmp_path: Path):
    lan.host("bystander")
    before = left_over()

    (namespace,) = run_on_a_network(
        tmp_path / "killed",
        """
print(lan.host("lost", wired=True).namespace, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
""",
    )
    was_left = namespace in ip("netns", "list")
    sweep()

    assert was_left
    assert namespace not in ip("netns", "list")
    assert left_over() == before


def test_a_slowed_process_gets_its_share_of_a_core(slowed: Quota):
    slowed.set(0.25)
    code = "import time; b = time.monotonic()\nwhile time.process_time() < 0.5: pass\nprint(time.monotonic() - b)"
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()\n" + code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    slowed.add(process.pid)
    took_s = float(process.communicate()[0])

    assert took_s > 1.0  # half a second of work at a quarter of the speed; noise only makes it slower
