"""Real nodes for tests: `equipoise node` as processes of their own, on real Zenoh over loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


class NodeProcess:
    """A node and what it logs. It is there once it says so. `command` in place of the one that `arguments` make."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        command: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.log: list[str] = []
        self.process = subprocess.Popen(
            command or [sys.executable, "-m", "equipoise", "node", "--name", name, *arguments],
            env=environment,
            cwd=folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def until(self, event: str) -> str:
        """The line of the log that tells of the event; read on until it comes."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip())
            if f"Z {event}" in line:
                return line.rstrip()
        raise AssertionError(f"node {self.name} ended without {event!r}:\n" + "\n".join(self.log))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        _, rest = self.process.communicate(timeout=60)
        self.log += rest.splitlines()
        return self.process.returncode


class RealCluster:
    """Nodes of a cluster of its own, and commands that are run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"test-{uuid.uuid4().hex}"
        self.nodes: list[NodeProcess] = []
        self.environment = os.environ | {
            "PYTHONPATH": str(REPOSITORY),
            "EQUIPOISE_DATA_DIR": str(folder / "data"),
            "COLUMNS": "200",
        }

    def start(self, name: str, *arguments: str, data: str = "data") -> NodeProcess:
        """A node that is ready; `data` names the folder of what it knows, which a machine of its own would have."""
        environment = self.environment | {"EQUIPOISE_DATA_DIR": str(self.folder / data)}
        node = NodeProcess(name, ["--cluster-name", self.name, *arguments], environment, self.folder)
        self.nodes.append(node)
        node.until("ready")
        return node

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """`equipoise ARGUMENTS` in this cluster."""
        return self._command(*arguments, "--cluster-name", self.name)

    def _command(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "equipoise", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and complaints of a command that has ended."""
        return _outcome(self.command(*arguments))

    def run_alone(self, *arguments: str) -> tuple[int, str, str]:
        """The same of a command that knows its cluster by itself."""
        return _outcome(self._command(*arguments))

    def close(self) -> None:
        for node in self.nodes:
            if node.process.poll() is None:
                node.end()


def _outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        printed, complaints = process.communicate(timeout=120)
    finally:
        process.kill()  # nothing may be left of one that did not end by itself
    return process.returncode, printed, complaints


@contextmanager
def real_cluster(folder: Path) -> Iterator[RealCluster]:
    cluster = RealCluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until a condition on files holds, or the process has ended."""
    import time

    while not condition() and process.poll() is None:
        time.sleep(0.005)
