"""Whom the network refused, as log lines of ours: Zenoh tells it on standard output, in lines of its own."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_REFUSAL = re.compile(r"WARN .*zenoh_link_tls::unicast: (?P<reason>.*)")
_ADVICE = re.compile(r"\.? Hint: .*")  # about open files; refusals have nothing to do with them

_log = logging.getLogger(__name__)


def refusal_in(line: str) -> str | None:
    """Why a connection was refused, if this line of Zenoh's log says so."""
    found = _REFUSAL.search(_ANSI.sub("", line))
    return _ADVICE.sub("", found["reason"]).strip() if found else None


def _warn(reason: str) -> None:
    _log.warning("refused a connection: %s", reason)


def log_refusals(tell: Callable[[str], None] = _warn) -> None:
    """From now on tell why, whenever a connection is refused. Call it once, before anything is printed.

    tell   called on a thread of its own; by default a warning is logged

    What the program itself prints goes where it would have gone: only the descriptor that Zenoh writes to is taken.
    """
    import zenoh  # noqa: PLC0415 - takes a while to import

    sys.stdout.flush()
    read_end, write_end = os.pipe()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    os.dup2(write_end, 1)
    os.close(write_end)
    threading.Thread(target=_follow, args=(read_end, tell), name="equipoise-refusals", daemon=True).start()
    zenoh.init_log_from_env_or("off,zenoh_link_tls=warn")


def _follow(read_end: int, tell: Callable[[str], None]) -> None:
    with os.fdopen(read_end, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            reason = refusal_in(line)
            if reason is not None:
                tell(reason)
