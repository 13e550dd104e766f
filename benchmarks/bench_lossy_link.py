"""A board behind 50 Mbit/s, 10 ms each way and 1 % loss: is the plan's latency what is then measured?

    PYTHONPATH=. python benchmarks/bench_lossy_link.py [--requests 7]

As root, on hosts of the test network. For each congestion control of TCP: planned and measured latency of requests for
which the link is the bottleneck, and how many bytes the board received for each byte of the photos: what travels.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks.chaos.boards import Boards, Spec, boards_on_hosts
from benchmarks.chaos.work import Work, work_in
from tests.network import lan as lans
from tests.network import quota as quotas

LINK = Spec(share=0.9, rate="50mbit", delay_s=0.01, loss=0.01)
ITEMS = 600


class Measured(NamedTuple):
    """Of one request. `carried` is what the board's host received per byte of the photos."""

    planned_s: float
    measured_s: float
    carried: float

    @property
    def ratio(self) -> float:
        """Measured over planned latency."""
        return self.measured_s / self.planned_s


def use_congestion_control(boards: Boards, name: str) -> None:
    """For what both hosts send from now on; connections keep the one that they began with, so the board starts anew."""
    board = boards.boards["pi"]
    for host in (boards.laptop, board.host):
        host.run("ip", "route", "change", f"{lans.SUBNET}.0/24", "dev", "eth0", "src", host.address, "congctl", name)
    board.kill()
    board.start()
    board.until_ready()


def requests(boards: Boards, work: Work, times: int, module: str = "equipoise") -> Iterator[Measured]:
    """So many requests, one after the other, by `equipoise` or what another module makes of it."""
    item_bytes = sum(len(work.items.payload(item)) for item in range(len(work.items)))
    for number in range(times):
        receipt, log, out = (
            boards.laptop.folder / f"{number}.{what}" for what in ("receipt.json", "log.jsonl", "out.jsonl")
        )
        log.unlink(missing_ok=True)
        arguments = (
            "--min-accuracy",
            "0.2",
            "--prefer",
            "latency",
            "--cluster",
            "live",
            "--family",
            str(boards.family),
        )
        kept = ("--receipt", receipt.name, "--log", log.name, "--out", out.name, "--force")
        process = boards.coordinate([str(work.inputs), *arguments, *kept], module)
        while not (log.exists() and log.stat().st_size) and process.popen.poll() is None:
            time.sleep(0.001)  # until the link has been measured
        before_bytes = received_bytes(boards.boards["pi"].host)
        if process.wait() != 0:
            raise RuntimeError(process.stderr)
        told = msgspec.json.decode(receipt.read_bytes())
        carried = (received_bytes(boards.boards["pi"].host) - before_bytes) / item_bytes
        yield Measured(told["plan"]["latency_s"], told["latency_s"], carried)


def received_bytes(host: lans.Host) -> int:
    """What a host has received so far."""
    return int(host.run("cat", "/sys/class/net/eth0/statistics/rx_bytes"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=7)
    asked = parser.parse_args()
    reason = lans.missing() or quotas.missing()
    if reason is not None:
        print(f"not measured: {reason}")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        work = work_in(folder, ITEMS, variants=1)
        with boards_on_hosts(folder, work.family, {"pi": LINK}) as boards:
            print("control  planned s  measured s  measured/planned: median (least to most)  carried per byte")
            for name in ("bbr", "cubic"):
                use_congestion_control(boards, name)
                found = list(requests(boards, work, asked.requests))
                ratios = sorted(one.ratio for one in found)
                print(
                    f"{name:7}  {median(one.planned_s for one in found):9.2f}  "
                    f"{median(one.measured_s for one in found):10.2f}  "
                    f"{median(ratios):26.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})  "
                    f"{median(one.carried for one in found):16.2f}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
