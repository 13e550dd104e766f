"""`python -m benchmarks.chaos`: run the campaign, write what was found, and fail if anything was wrong."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.chaos.attempt import Attempt
from benchmarks.chaos.campaign import Settings, run_campaign
from benchmarks.chaos.report import draw_recoveries, report


def main() -> int:
    default = Settings()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--requests", type=int, default=default.faulty, help="under faults")
    parser.add_argument("--faultless", type=int, default=default.faultless, help="before them")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--mended",
        type=int,
        default=len(default.mended_after_s),
        help="lengths for which one board is cut off, frozen and killed, before that",
    )
    parser.add_argument("--out", type=Path, default=Path("out/chaos"), metavar="DIR")
    asked = parser.parse_args()
    settings = Settings(
        seed=asked.seed,
        faultless=asked.faultless,
        faulty=asked.requests,
        mended_after_s=_spread(default.mended_after_s, asked.mended),
    )
    began_s = time.monotonic()

    def tell(phase: str, one: Attempt) -> None:
        harms = ", ".join(one.harms) or "nothing"
        ended = f"{'gone on with, ' if one.resumed else ''}exit code {one.code}"
        print(f"{time.monotonic() - began_s:7.1f} s  {phase} {one.number}: {harms}; {ended}, {one.answered} answers")
        for sentence in one.wrong[:5]:
            print(f"    WRONG: {sentence}")
        sys.stdout.flush()

    for number in (signal.SIGINT, signal.SIGTERM):  # what was found so far is told all the same
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="equipoise-chaos-") as folder:
        campaign = run_campaign(Path(folder), settings, tell)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "campaign.json").write_bytes(msgspec.json.format(msgspec.json.encode(campaign)))
    text = report(campaign)
    (asked.out / "report.md").write_text(text, encoding="utf-8")
    draw_recoveries(campaign, asked.out / "recovery.svg")
    print(text)
    return 1 if campaign.wrong else 0


def _spread(lengths_s: Sequence[float], count: int) -> tuple[float, ...]:
    """So many of them, from all over."""
    return tuple(lengths_s[number * len(lengths_s) // count] for number in range(min(count, len(lengths_s))))


if __name__ == "__main__":
    sys.exit(main())
