"""What a service manager is told: systemd's notification protocol, a datagram of `NAME=value` lines per message.

Source of names and addresses: sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass

_SIGNS_OF_LIFE = 3  # per watchdog interval, so that two may be late
_PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervisor:
    """Who started this process and wants to know how it is; nobody without an `address`.

    The process is killed and started anew if it gives no sign of life for `watchdog_s`; None if nobody looks.
    """

    address: str | None = None
    watchdog_s: float | None = None

    @classmethod
    def taken_from(cls, environment: MutableMapping[str, str]) -> Supervisor:
        """The one that the environment names, and take it out, because it is not for the processes that are started."""
        address = environment.pop("NOTIFY_SOCKET", None)
        interval_us, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        meant = interval_us.isdigit() and int(interval_us) > 0 and pid in ("", str(os.getpid()))
        return cls(address=address or None, watchdog_s=int(interval_us) / 1e6 if meant else None)

    def ready(self, status: str) -> None:
        """Started, or done with reloading."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Settings are read again; `ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Told to stop, and doing so."""
        self._tell("STOPPING=1", f"STATUS={status}")

    async def live(self) -> None:
        """Give signs of life for as long as the event loop goes round; at once if nobody looks."""
        while self.address is not None and self.watchdog_s is not None:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / _SIGNS_OF_LIFE)

    def _tell(self, *lines: str) -> None:
        if self.address is None:
            return
        # "@" stands for the NUL that abstract addresses begin with.
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:  # a node does without it
            wire.settimeout(_PATIENCE_S)  # its queue may be full, and the event loop waits
            wire.sendto("\n".join(lines).encode(), address)
