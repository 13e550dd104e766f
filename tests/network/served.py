"""A node that echoes, and members that ask it: `python -m tests.network.served serve|follow|flood FOLDER ENDPOINT`."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from pathlib import Path

import zenoh

from equipoise.errors import NodeError
from equipoise.fabric.base import Verb
from equipoise.fabric.config import ZenohSettings, credentials_of
from equipoise.fabric.refusals import log_refusals
from equipoise.fabric.zenoh import ZenohFabric, ZenohHost
from equipoise.trust.membership import Membership


def settings(folder: str, endpoint: str, *, dials: bool) -> ZenohSettings:
    now = dt.datetime.now(dt.timezone.utc)
    membership = Membership.load(Path(folder), now)
    return ZenohSettings(
        cluster=membership.network,
        listen=() if dials else (endpoint,),
        connect=(endpoint,) if dials else (),
        credentials=credentials_of(membership, now),
    )


async def echo(payload: bytes) -> bytes:
    print("served", flush=True)
    return payload


async def serve(folder: str, endpoint: str) -> None:
    host = await ZenohHost.open(settings(folder, endpoint, dials=False))
    await host.serve("pi", {Verb.INFER: echo})
    print("ready", flush=True)
    await asyncio.Event().wait()


async def follow(folder: str, endpoint: str) -> None:
    """Ask the node all the time, and say how that goes, a word each."""
    fabric = await ZenohFabric.open(settings(folder, endpoint, dials=True))
    while True:
        try:
            answered = await fabric.ask("pi", Verb.INFER, b"hello", timeout_s=1.0) == b"hello"
        except NodeError:
            answered = False
        print("answered" if answered else "missed", flush=True)
        await asyncio.sleep(0.05)


async def flood(folder: str, endpoint: str) -> None:
    """A member that has turned bad: send the node a gigabyte as one message, past what our own fabric would refuse."""
    chosen = settings(folder, endpoint, dials=True)
    fabric = await ZenohFabric.open(chosen)
    while (instance := fabric.instance_of("pi")) is None:
        await asyncio.sleep(0.05)
    session = zenoh.open(chosen.config())
    key = f"equipoise/{chosen.cluster}/nodes/pi/{instance}/{Verb.INFER.value}"
    replies = session.get(key, payload=bytes(1 << 30), timeout=60.0)
    print("sent", flush=True)
    answers = await asyncio.to_thread(list, replies)
    print("answers:", sum(answer.ok is not None for answer in answers), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        log_refusals()
    asyncio.run({"serve": serve, "follow": follow, "flood": flood}[sys.argv[1]](sys.argv[2], sys.argv[3]))
