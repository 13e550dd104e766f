"""A question over Zenoh and its answer, and nothing else: the least that a round trip costs; for bench_single.py.

    python benchmarks/zenoh_echo.py CLUSTER

answers every question at once until standard input ends, with as many bytes as the answer about one item has.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import zenoh
from plain_worker import Case
from spreaders import Ask, Core, Spreader, Work, running, seconds_of

from equipoise.fabric.config import settings_of

ANSWER = bytes(200)
READY_S = 30.0


class ZenohEcho:
    """Somebody on the first core who answers without looking at the question."""

    ways: Mapping[str, Callable[[Work], float]] = {}

    def __init__(self, session: zenoh.Session, key: str) -> None:
        self._session, self._key = session, key

    @property
    def singles(self) -> Mapping[str, Ask]:
        return {"Zenoh alone": lambda case, index: seconds_of(lambda: self.ask(case.payload(index)))}

    def ask(self, question: bytes) -> bytes:
        (reply,) = self._session.get(self._key, payload=question)
        return reply.ok.payload.to_bytes()

    def wait_for_it(self) -> None:
        give_up_s = time.monotonic() + READY_S
        while not list(self._session.get(self._key, payload=b"")):
            if time.monotonic() > give_up_s:
                raise SystemExit(f"nobody answers on {self._key} within {READY_S:g} s")
            time.sleep(0.1)


@contextmanager
def zenoh_echo(cores: Sequence[Core], _cases: Sequence[Case], _data: Path) -> Iterator[Spreader]:
    cluster = uuid.uuid4().hex
    with (
        running([sys.executable, __file__, cluster], cores[0]),
        zenoh.open(settings_of(cluster=cluster).config()) as us,
    ):
        echo = ZenohEcho(us, key_of(cluster))
        echo.wait_for_it()
        yield echo


def key_of(cluster: str) -> str:
    return f"equipoise/{cluster}/echo"


def serve(cluster: str) -> None:
    key = key_of(cluster)

    def answer(query: zenoh.Query) -> None:
        with query:
            query.reply(key, ANSWER)

    with zenoh.open(settings_of(cluster=cluster).config()) as session:
        session.declare_queryable(key, zenoh.handlers.Callback(answer, indirect=False))
        sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
