"""A described cluster, played on this machine: a process per node, real inference, the described speed."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING

from equipoise.core.cluster import Cluster, Node
from equipoise.core.family import Family
from equipoise.errors import EmulationError, NodeUnreachableError
from equipoise.node.emulated import Part, SpeedChange, as_line

if TYPE_CHECKING:
    from equipoise.fabric.zenoh import ZenohFabric

_START_S = 120.0  # importing and loading every variant, on a machine that may be busy
_LOOK_S = 0.02
_COMPLAINT_BYTES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Board:
    """The process that plays a node; what it says on stderr is kept in case that it fails."""

    node: Node
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]

    def complaint(self) -> str:
        size = self.stderr.seek(0, os.SEEK_END)
        self.stderr.seek(max(0, size - _COMPLAINT_BYTES))
        said = self.stderr.read().decode(errors="replace").strip()
        return said or f"it ended with status {self.process.returncode} and no message"


class EmulatedCluster:
    """A context in which the nodes of `cluster` can be asked on `fabric`; no process is left after it.

    Every variant that a processor has a profile of is loaded before the context is entered. Raises ConfigError
    if the family lacks one of them, EmulationError if a node does not start.
    """

    fabric: ZenohFabric

    def __init__(self, family: Family, cluster: Cluster) -> None:
        self.cluster = cluster
        self._family = family
        self._boards: dict[str, _Board] = {}
        family.refuse_description(cluster)

    async def __aenter__(self) -> EmulatedCluster:
        from equipoise.fabric.zenoh import ZenohFabric  # noqa: PLC0415 - takes a while to import

        network = f"emulated-{uuid.uuid4().hex}"
        self.fabric, endpoint = await ZenohFabric.open_on_loopback(network)
        try:
            for node in self.cluster.nodes:
                self._boards[node.name] = self._start(node, network, endpoint)
            await self._all_present()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def pids(self) -> dict[str, int]:
        """The process of each node."""
        return {name: board.process.pid for name, board in self._boards.items()}

    def kill(self, node: str) -> None:
        """End a node at once (SIGKILL), as when its plug is pulled."""
        self._boards[node].process.kill()

    def set_speed(self, node: str, speed: float) -> None:
        """From the next call on, the node's processors run at `speed` times what is described.

        Raises ValueError unless it is positive, NodeUnreachableError if the node's process has ended.
        """
        if not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"speed must be positive and finite, not {speed}")
        _tell(self._boards[node].process, SpeedChange(speed=speed), node)

    def _start(self, node: Node, network: str, endpoint: str) -> _Board:
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the board
        process = subprocess.Popen(
            [sys.executable, "-m", "equipoise.node"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=os.environ | _ENVIRONMENT,
            start_new_session=True,  # Ctrl-C is for the coordinator alone
        )
        part = Part(
            cluster=network,
            endpoint=endpoint,
            node=node,
            family_folder=str(self._family.folder.absolute()),
            parent_pid=os.getpid(),
        )
        with suppress(NodeUnreachableError):  # then `_all_present` finds out why
            _tell(process, part, node.name)
        return _Board(node=node, process=process, stderr=stderr)

    async def _all_present(self) -> None:
        present: set[str] = set()
        stop_watching = self.fabric.watch(lambda node, here: present.add(node) if here else None)
        give_up_s = asyncio.get_running_loop().time() + _START_S
        try:
            while missing := self._boards.keys() - present:
                for board in self._boards.values():
                    if board.process.poll() is not None:
                        raise EmulationError(f"node {board.node.name!r} did not start: {board.complaint()}")
                if asyncio.get_running_loop().time() > give_up_s:
                    raise EmulationError(f"not ready after {_START_S:g} s: node {', '.join(sorted(missing))}")
                await asyncio.sleep(_LOOK_S)
        finally:
            stop_watching()

    async def _end(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(_end_board, board) for board in self._boards.values()))
        await self.fabric.close()


# The libraries beneath numpy start a thread per core unless told otherwise. The user's folder is none of ours.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",
}


def _tell(process: subprocess.Popen[bytes], message: Part | SpeedChange, node: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(as_line(message))
        process.stdin.flush()
    except BrokenPipeError:
        raise NodeUnreachableError("its process has ended", node=node) from None


def _end_board(board: _Board) -> None:
    board.process.kill()  # a board that is switched off does not tidy up
    with suppress(BrokenPipeError), board.process:  # waits for it, and closes what is open between us
        board.stderr.close()
