"""A client that hands out a family's files as it should not: a process of its own, to be killed or to lie.

`python odd_holder.py CLUSTER NAME FAMILY-FOLDER HOW`, where HOW is "dies" (in the middle of a file), "stalls"
(likewise, and says so on standard output), "lies", or "never".
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from equipoise.fabric.base import Handler, Verb
from equipoise.fabric.config import settings_of
from equipoise.fabric.messages import ChunkMessage
from equipoise.fabric.zenoh import ZenohFabric
from equipoise.families.manifest import load_family
from equipoise.models.description import describe
from equipoise.models.shelf import Shelf


def odd(how: str, honest: Handler) -> Handler:
    async def chunk(payload: bytes) -> bytes:
        answer = await honest(payload)
        if how == "lies":
            return bytes(len(answer))
        if how != "never" and msgspec.msgpack.decode(payload, type=ChunkMessage).offset_bytes:
            if how == "dies":
                os._exit(1)
            print("stalled", flush=True)
            await asyncio.Event().wait()
        return answer

    return chunk


async def main(cluster: str, name: str, folder: str, how: str) -> None:
    family = load_family(Path(folder))
    shelf = Shelf()
    shelf.put(family, describe(family))
    fabric = await ZenohFabric.open(settings_of(cluster=cluster))
    await fabric.holder_host().serve(name, {**shelf.handlers, Verb.CHUNK: odd(how, shelf.handlers[Verb.CHUNK])})
    print("serving", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
