"""A cable between two TAP devices, as long and as bad as wanted: the kernels of build machines often lack netem.

Run as a process: names of two devices to make, then a line of JSON per change on standard input:
{"delay_s": 0.01, "loss": 0.01, "cut": "none" | "both" | "to-host" | "from-host"}. It answers "ready" or "ok", and
ends, the devices with it, when its standard input does. Only the standard library, so that it starts fast.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import json
import os
import random
import selectors
import struct
import sys
import time
from itertools import count

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME_BYTES = 65536
_READ_AT_ONCE = 64
_WAITING_FRAMES = 10000  # some 15 MB: what a long cable holds


class Cable:
    """Frames under way, earliest arrival first."""

    def __init__(self, host: int, lan: int, seed: int) -> None:
        self.other = {host: lan, lan: host}
        self._blocked_by = {host: {"both", "from-host"}, lan: {"both", "to-host"}}
        self._random = random.Random(seed)
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._number = count()
        self.delay_s, self.loss, self.cut = 0.0, 0.0, "none"

    def enter(self, end: int, frame: bytes, now_s: float) -> None:
        if self.cut in self._blocked_by[end] or self._random.random() < self.loss:
            return
        if len(self._under_way) < _WAITING_FRAMES:
            entry = (now_s + self.delay_s, next(self._number), self.other[end], frame)
            heapq.heappush(self._under_way, entry)

    def deliver(self, now_s: float) -> None:
        while self._under_way and self._under_way[0][0] <= now_s:
            _, _, end, frame = heapq.heappop(self._under_way)
            with contextlib.suppress(OSError):  # a full queue or a device that is down loses frames, as in life
                os.write(end, frame)

    def wait_s(self, now_s: float) -> float | None:
        return max(0.0, self._under_way[0][0] - now_s) if self._under_way else None


def open_tap(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return device


def main() -> None:
    host, lan = (open_tap(name) for name in sys.argv[1:3])
    cable = Cable(host, lan, seed=int(sys.argv[3]))
    selector = selectors.DefaultSelector()
    for readable in (host, lan, sys.stdin.fileno()):
        selector.register(readable, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select(cable.wait_s(time.monotonic())):
            if key.fd == sys.stdin.fileno():
                line = sys.stdin.buffer.raw.readline()
                if not line:
                    return
                vars(cable).update(json.loads(line))
                print("ok", flush=True)
            else:
                _read(cable, key.fd)
        cable.deliver(time.monotonic())


def _read(cable: Cable, end: int) -> None:
    now_s = time.monotonic()
    with contextlib.suppress(BlockingIOError):
        for _ in range(_READ_AT_ONCE):
            cable.enter(end, os.read(end, _FRAME_BYTES), now_s)


if __name__ == "__main__":
    main()
