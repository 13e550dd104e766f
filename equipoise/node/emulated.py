"""A process that plays one board: real inference, held back until the board would have answered.

It reads its part, one line, from its standard input, then changes of speed, and ends when that is closed:
whatever becomes of the process that started it, it is not left behind.
"""

from __future__ import annotations

import asyncio
import binascii
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from equipoise.core.cluster import Node, Processor
from equipoise.engines.processors import LocalProcessor
from equipoise.fabric.config import ZenohSettings
from equipoise.families.manifest import load_family
from equipoise.node.agent import NodeAgent, NodeFacts
from equipoise.node.pacing import AsDescribed
from equipoise.node.repertoire import Repertoire
from equipoise.node.worker import Worker

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What an emulated node is told: whom to dial, which board to play, and with which models."""

    cluster: str
    endpoint: str
    node: Node
    family_folder: str
    parent_pid: int


class SpeedChange(msgspec.Struct, frozen=True, kw_only=True):
    """From now on the processors of the node run at `speed` times their described speed."""

    speed: float


def as_line(message: Part | SpeedChange) -> bytes:
    """The message as a line of its own; msgpack, because JSON has no word for an infinite bandwidth."""
    return binascii.b2a_base64(msgspec.msgpack.encode(message))


async def play(part: Part, changes: BinaryIO) -> None:
    """Serve until `changes` ends, which ends the process."""
    from equipoise.fabric.zenoh import ZenohHost  # noqa: PLC0415 - takes a while to import

    family = load_family(Path(part.family_folder))
    repertoire = Repertoire.of(family, part.node)
    paces = {
        processor.name: AsDescribed({profile.variant: profile for profile in processor.profiles})
        for processor in part.node.processors
    }
    workers = {
        processor.name: _worker(repertoire, processor, paces[processor.name]) for processor in part.node.processors
    }
    host = await ZenohHost.open(ZenohSettings(cluster=part.cluster, connect=(part.endpoint,)))
    threading.Thread(target=_follow, args=(changes, paces), name="equipoise-parent", daemon=True).start()
    facts = NodeFacts(name=part.node.name, memory_bytes=part.node.memory_bytes, link=part.node.link)
    await NodeAgent(host, facts, repertoire, workers).start()
    await asyncio.Event().wait()


def read_part(lines: BinaryIO) -> Part:
    """The first line; from now on this process ends when its parent does."""
    part = msgspec.msgpack.decode(binascii.a2b_base64(lines.readline()), type=Part)
    if sys.platform == "linux":  # a stopped process reads no pipe, but this reaches it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != part.parent_pid:
            os._exit(1)  # it went before it could be watched
    return part


def _worker(repertoire: Repertoire, processor: Processor, pace: AsDescribed) -> Worker:
    # One thread each: many processes share a few cores, and the described speed is what counts.
    real = LocalProcessor(name=processor.name, threads=1)
    preload = [(identity, profile.variant) for identity in repertoire.identities for profile in processor.profiles]
    return Worker(repertoire, real, pace=pace, preload=preload)


def _follow(changes: Iterable[bytes], paces: Mapping[str, AsDescribed]) -> None:
    for line in changes:
        change = msgspec.msgpack.decode(binascii.a2b_base64(line), type=SpeedChange)
        for pace in paces.values():
            pace.speed = change.speed
    os._exit(0)  # whoever started this process is gone, and nobody waits for it to tidy up
