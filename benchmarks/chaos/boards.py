"""Unequal boards and a laptop on a network of their own: real nodes of a closed cluster, which can be harmed."""

from __future__ import annotations

import datetime as dt
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from equipoise.core.family import Family
from equipoise.trust.authority import Authority
from equipoise.trust.certificates import key_to_pem, new_key, signing_request
from equipoise.trust.ledger import Ledger
from equipoise.trust.membership import Membership
from tests.network import lan as lans
from tests.network import quota as quotas

COORDINATOR = "laptop"
_GIVE_UP_S = 120.0
_ESTABLISHED = "01"  # in the kernel's table
_LOOK_AGAIN_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A board to be: which share of one core it has, and what its link is like; see `Lan.host`."""

    share: float
    rate: str | None = None
    delay_s: float = 0.0
    loss: float = 0.0


FOUR = {"ada": Spec(share=0.40), "ben": Spec(share=0.25), "cleo": Spec(share=0.35), "dan": Spec(share=0.20)}


@dataclass(eq=False)
class Board:
    """One node on a host of its own, with its share of a core."""

    host: lans.Host
    quota: quotas.Quota
    share: float
    family: Path
    cpu: int
    process: lans.Process | None = None
    lives: int = 0
    _settled: bool = True

    @property
    def name(self) -> str:
        """Of host and node."""
        return self.host.name

    @property
    def running(self) -> bool:
        """True if there is a process, frozen or not."""
        return self.process is not None and self.process.popen.poll() is None

    def start(self) -> None:
        """Start the node; `until_ready` waits for it."""
        arguments = ("--name", self.name, "--family", str(self.family), "--split-cpu", str(self.cpu))
        self.process = self.host.equipoise("node", *arguments)
        self.quota.add(self.process.popen.pid)
        if self.lives:  # it knows its profiles, and is to be back soon
            self.quota.set(None)
            self._settled = False
        self.lives += 1

    def settle(self) -> bool:
        """Give a node that has started its share of a core from now on; False if it has not started yet."""
        if not self._settled and self.is_ready:
            self.quota.set(self.share)
            self._settled = True
        return self._settled

    @property
    def is_ready(self) -> bool:
        """True if the node is there and knows what its variants cost."""
        log = self.log()
        return "Z ready" in log and "Z profiled" in log

    def until_ready(self) -> None:
        """Wait until it is. Raises AssertionError if it ends instead, or takes minutes."""
        assert self.process is not None
        give_up_s = time.monotonic() + _GIVE_UP_S
        while not self.is_ready:
            assert self.process.popen.poll() is None, f"{self.name} has ended:\n{self.log()}"
            assert time.monotonic() < give_up_s, f"{self.name} is not ready:\n{self.log()}"
            time.sleep(_LOOK_AGAIN_S)
        self.settle()

    def kill(self) -> None:
        """SIGKILL; what a dying process still does is not held up by its share, which no real board has."""
        assert self.process is not None
        self.quota.set(None)
        self.process.send(signal.SIGCONT)
        self.process.kill()

    def stop(self) -> None:
        """SIGTERM: the node finishes what it has begun and leaves."""
        assert self.process is not None
        self.process.send(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP."""
        assert self.process is not None
        self.process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send(signal.SIGCONT)

    def slow(self, factor: float) -> None:
        """Give it this part of the processor time that it should have."""
        self.quota.set(self.share * factor)

    def log(self) -> str:
        """What the present process has logged."""
        return self.process.stderr if self.process is not None else ""

    def footprint(self) -> Footprint | None:
        """What the node's process has at this moment; None if there is none."""
        if not self.running or self.process is None:
            return None
        process = psutil.Process(self.process.popen.pid)
        with process.oneshot():
            return Footprint(
                memory_bytes=process.memory_info().rss,
                threads=process.num_threads(),
                files=process.num_fds(),
                children=len(process.children(recursive=True)),
                peers=_peers(process),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a process takes: resident memory, threads, open files (sockets among them), children, connected peers."""

    memory_bytes: int
    threads: int
    files: int
    children: int
    peers: int


def _peers(process: psutil.Process) -> int:
    """Established TCP connections of its host; psutil would count those of our own."""
    table = Path(f"/proc/{process.pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(line.split()[3] == _ESTABLISHED for line in table)


@dataclass(eq=False)
class Boards:
    """The boards by name, and the laptop on which coordinators run."""

    laptop: lans.Host
    boards: dict[str, Board]
    family: Path
    coordinators: list[lans.Process] = field(default_factory=list)

    def coordinate(self, arguments: Sequence[str], module: str = "equipoise") -> lans.Process:
        """Start `equipoise run` on the laptop, or what another module makes of it."""
        process = self.laptop.start(sys.executable, "-m", module, "run", *arguments)
        self.coordinators.append(process)
        return process

    def processes(self) -> list[int]:
        """Everything that runs on the hosts, less the nodes themselves."""
        nodes = {board.process.popen.pid for board in self.boards.values() if board.running and board.process}
        hosts = [self.laptop, *(board.host for board in self.boards.values())]
        found = {int(pid) for host in hosts for pid in lans.ip("netns", "pids", host.namespace).split()}
        return sorted(found - nodes)


@contextmanager
def boards_on_hosts(folder: Path, family: Family, specs: Mapping[str, Spec]) -> Iterator[Boards]:
    """The boards, ready; nothing is left of them afterwards.

    Raises RuntimeError if the network cannot be built here.
    """
    reason = lans.missing() or quotas.missing()
    if reason is not None:
        raise RuntimeError(reason)
    cpus = sorted(psutil.Process().cpu_affinity())
    with lans.network(folder) as lan, ExitStack() as stack:
        laptop = lan.host(COORDINATOR, wired=True)
        boards = {
            name: Board(
                host=lan.host(name, rate=spec.rate, delay_s=spec.delay_s, loss=spec.loss, wired=True),
                quota=stack.enter_context(quotas.quota()),
                share=spec.share,
                family=family.folder,
                cpu=cpus[number % len(cpus)],
            )
            for number, (name, spec) in enumerate(specs.items())
        }
        _admit([laptop, *(board.host for board in boards.values())], family, folder)
        for board in boards.values():
            board.quota.set(board.share)
            board.start()
        for board in boards.values():
            board.until_ready()
        yield Boards(laptop=laptop, boards=boards, family=family.folder)


def _admit(hosts: Sequence[lans.Host], family: Family, folder: Path) -> None:
    """Make the hosts members of a closed cluster that has signed the family, as joining would."""
    now = dt.datetime.now(dt.timezone.utc)
    authority = Authority.create(folder / "authority", Ledger(cluster="chaos", addresses=("127.0.0.1:7449",)), now)
    authority.sign_family(family)
    for host in hosts:
        key = new_key()
        issued = authority.admit_this_machine(signing_request(key, host.name), now)
        membership = Membership.write(folder / f"{host.name}-member", key_to_pem(key), issued, now)
        shutil.copytree(membership.folder, host.folder / "data" / "member")
