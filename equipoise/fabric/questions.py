"""What nodes are asked over Zenoh, from when it comes in until its answer is sent."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

import zenoh

from equipoise.errors import EquipoiseError
from equipoise.fabric.base import AtOnce, Payload


class ZenohQuestion:
    """A query to a node; see `Question`. `over` is done once its answer is sent."""

    def __init__(self, query: Any, key: str, senders: Executor) -> None:
        self.payload: bytes = query.payload.to_bytes() if query.payload is not None else b""
        self.over: Future[None] = Future()
        self._query = query
        self._key = key
        self._senders = senders

    def answer(self, payload: Payload) -> None:
        """As the interface says."""
        self._submit(lambda: self._reply(payload))

    def refuse(self, error: EquipoiseError) -> None:
        """As the interface says."""
        self._submit(lambda: self._query.reply_err(str(error)))

    def drop(self) -> None:
        """Unless an answer is being sent: tell whoever asked that there will be none."""
        if self.over.cancel():
            self._query.drop()

    def _submit(self, send: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # this node has left
            self._senders.submit(self._send, send)

    def _send(self, send: Callable[[], None]) -> None:
        if not self.over.set_running_or_notify_cancel():
            return
        try:
            with suppress(zenoh.ZError), self._query:  # the asker, or the session, may be gone
                send()
        finally:  # leaving the query has told the asker that no more answers come
            self.over.set_result(None)

    def _reply(self, payload: Payload) -> None:
        try:
            made = payload if isinstance(payload, bytes) else payload()
        except EquipoiseError as error:
            self._query.reply_err(str(error))
        else:
            self._query.reply(self._key, made)


def receive(handler: AtOnce, question: ZenohQuestion) -> None:
    """Have a handler receive it; whatever goes wrong, whoever asked is told."""
    try:
        handler.receive(question)
    except EquipoiseError as error:
        question.refuse(error)
    except BaseException:
        question.drop()
        raise
