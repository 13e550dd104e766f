"""Hosts on a network of their own, out of namespaces: each is a network namespace with an address, on one bridge.

A host hangs on a veth pair, or on a `Wire` whose rate (htb), delay, loss and silent cuts can be set. Nothing of it is
left afterwards: processes are found through their namespace, and what a killed test run has left is swept away by the
next one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).parents[2]
SUBNET = "10.77.0"
_OURS = re.compile(r"eqp(\d+)[a-z]")
_TUN = Path("/dev/net/tun")
_GONE_S = 10.0


def missing() -> str | None:
    """Why such a network cannot be built here; None if it can."""
    if sys.platform != "linux":
        return "needs Linux: network namespaces"
    if os.geteuid() != 0:
        return "needs root: network namespaces"
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return "needs iproute2 (ip, tc)"
    if not _TUN.exists():
        return "needs /dev/net/tun"
    return None


def ip(*words: str) -> str:
    """Run `ip`; its complaint is the error."""
    return _run("ip", *words)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@dataclass
class Host:
    """One machine: a namespace with the device eth0, a data folder of its own, and the processes started on it."""

    name: str
    namespace: str
    address: str
    folder: Path
    port: str  # the other end of its cable, in the LAN's namespace
    lan: str
    wire: Wire | None = None
    processes: list[Process] = field(default_factory=list)

    def start(self, *command: str, environment: Mapping[str, str] | None = None) -> Process:
        """Start a program on this host."""
        process = Process(self, command, environment or {})
        self.processes.append(process)
        return process

    def equipoise(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Process:
        """Start `equipoise` on this host, this very source."""
        return self.start(sys.executable, "-m", "equipoise", *arguments, environment=environment)

    def run(self, *command: str) -> str:
        """Run a short command on this host; what it prints."""
        return _run("ip", "netns", "exec", self.namespace, *command)

    def cut(self, cut: str = "both") -> None:
        """From now on frames are lost in silence: "both" ways, only "to-host" or only "from-host"."""
        if self.wire is not None:
            self.wire.set(cut=cut)
        elif cut != "both":
            raise ValueError("only a Wire can be cut in one direction")
        else:
            ip("-n", self.lan, "link", "set", "dev", self.port, "nomaster")  # the host's own device notices nothing

    def mend(self) -> None:
        """Undo `cut`."""
        if self.wire is not None:
            self.wire.set(cut="none")
        else:
            ip("-n", self.lan, "link", "set", "dev", self.port, "master", "bridge")


class Process:
    """A program on a host, in a session of its own; its output goes to files, so that it can never block."""

    def __init__(self, host: Host, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.host = host
        number = len(host.processes)
        self.stdout_path = host.folder / f"stdout-{number}"
        self.stderr_path = host.folder / f"stderr-{number}"
        with self.stdout_path.open("wb") as stdout, self.stderr_path.open("wb") as stderr:
            self.popen = subprocess.Popen(
                ["ip", "netns", "exec", host.namespace, *command],  # becomes the command: the same process
                cwd=host.folder,
                env=_environment(host) | environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self.stdout_path.read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        """What it has complained of so far."""
        return self.stderr_path.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout_s: float = 120.0) -> int:
        """Its exit code. Raises AssertionError with its output if it does not end."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.host.name} goes on for ever\n{self.stdout}\n{self.stderr}") from None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        self.send(signal.SIGKILL)
        self.popen.wait()


def _environment(host: Host) -> dict[str, str]:
    return os.environ | {
        "EQUIPOISE_DATA_DIR": str(host.folder / "data"),
        "HOME": str(host.folder),
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


class Wire:
    """A cable between a host and the LAN that can be slow, long, lossy and cut."""

    def __init__(self, host_device: str, lan_device: str, seed: int) -> None:
        program = [sys.executable, str(Path(__file__).with_name("forwarder.py")), host_device, lan_device, str(seed)]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._expect("ready")

    def set(self, **change: Any) -> None:
        """Change `delay_s` (each way), `loss` (a fraction) or `cut`; done when this returns."""
        assert self._process.stdin is not None
        print(json.dumps(change), file=self._process.stdin, flush=True)
        self._expect("ok")

    def close(self) -> None:
        """Take the cable away; its devices go with it."""
        self._process.kill()
        self._process.communicate()

    def _expect(self, word: str) -> None:
        stdout: IO[str] | None = self._process.stdout
        assert stdout is not None
        line = stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"the forwarder said {line!r} instead of {word!r}")


class Lan:
    """A bridge in a namespace of its own. Made by `network`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._mark = f"eqp{os.getpid()}"
        self.hosts: dict[str, Host] = {}
        self.namespace = self._namespace("z")
        ip("-n", self.namespace, "link", "add", "bridge", "type", "bridge")
        # a bridge that snoops forwards no multicast until somebody has asked it to
        ip("-n", self.namespace, "link", "set", "bridge", "type", "bridge", "mcast_snooping", "0")
        ip("-n", self.namespace, "link", "set", "bridge", "up")

    def host(
        self, name: str, *, rate: str | None = None, delay_s: float = 0.0, loss: float = 0.0, wired: bool = False
    ) -> Host:
        """A new host; on a Wire if its link is to be anything but perfect, or `wired` asks for one.

        rate   as `tc` writes it, such as "50mbit", each way
        """
        number = len(self.hosts) + 1
        letter = chr(ord("a") + len(self.hosts))
        namespace, port = self._namespace(letter), f"port{number}"
        folder = self._folder / name
        folder.mkdir()
        host = Host(name, namespace, f"{SUBNET}.{number}", folder, port, self.namespace)
        self.hosts[name] = host
        self._stack.callback(_end_processes, host)
        if wired or rate or delay_s or loss:
            host.wire = self._wire(host, letter, seed=number)
            host.wire.set(delay_s=delay_s, loss=loss)
        else:
            ip("link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", port, "netns", self.namespace)
        ip("-n", self.namespace, "link", "set", port, "master", "bridge", "up")
        ip("-n", namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "up")
        ip("-n", namespace, "route", "add", "default", "dev", "eth0")  # multicast as well
        if rate:
            for where, device in ((namespace, "eth0"), (self.namespace, port)):
                limit_rate(where, device, rate)
        return host

    def _wire(self, host: Host, letter: str, seed: int) -> Wire:
        ours, theirs = f"{self._mark}{letter}", f"{self._mark}{letter.upper()}"
        wire = Wire(ours, theirs, seed)
        self._stack.callback(wire.close)
        ip("link", "set", ours, "netns", host.namespace, "name", "eth0")
        ip("link", "set", theirs, "netns", self.namespace, "name", host.port)
        return wire

    def _namespace(self, letter: str) -> str:
        name = self._mark + letter
        ip("netns", "add", name)
        self._stack.callback(_remove, name)
        ip("-n", name, "link", "set", "lo", "up")
        # one address each, and nothing on the network but what is put there
        quiet = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"
        _run("ip", "netns", "exec", name, "sh", "-c", f"test ! -e /proc/sys/net/ipv6 || {quiet}")
        return name


def change_rate(lan: Lan, host: Host, rate: str) -> None:
    """Give the link of a host that has a rate another one, each way."""
    for where, device in ((host.namespace, "eth0"), (lan.namespace, host.port)):
        _run(
            "tc", "-n", where, "class", "replace", "dev", device, "parent", "1:", "classid", "1:1", "htb", "rate", rate
        )


def limit_rate(namespace: str, device: str, rate: str) -> None:
    """Send at no more than `rate` on a device."""
    in_namespace = ("tc", "-n", namespace)
    _run(*in_namespace, "qdisc", "replace", "dev", device, "root", "handle", "1:", "htb", "default", "1")
    _run(*in_namespace, "class", "replace", "dev", device, "parent", "1:", "classid", "1:1", "htb", "rate", rate)


@contextmanager
def network(folder: Path) -> Iterator[Lan]:
    """A network without hosts; whatever is put on it, and runs on it, is gone afterwards."""
    sweep()
    with ExitStack() as stack:
        yield Lan(folder, stack)


def sweep() -> None:
    """Remove what test runs that no longer exist have left behind."""
    for line in ip("netns", "list").splitlines():
        found = _OURS.match(line)
        if found and not Path(f"/proc/{found[1]}").exists():
            _remove(line.split()[0])


def left_over() -> list[str]:
    """Namespaces, devices and forwarders of this very process that still exist."""
    mark = f"eqp{os.getpid()}"
    names = [line.split()[0] for line in ip("netns", "list").splitlines()]
    devices = [line.split(":")[1].strip() for line in ip("-o", "link").splitlines()]
    return [name for name in (*names, *devices) if name.startswith(mark)]


def _end_processes(host: Host) -> None:
    for process in host.processes:
        process.kill()


def _remove(namespace: str) -> None:
    give_up_s = time.monotonic() + _GONE_S
    while pids := ip("netns", "pids", namespace).split():
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"processes {', '.join(pids)} in {namespace} cannot be killed")
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(int(pid), 0)
    ip("netns", "del", namespace)
