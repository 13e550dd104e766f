"""Photographs of 12 megapixels for a board behind 50 Mbit/s, 10 ms each way and 1 % loss: sent as they are, or fitted.

    PYTHONPATH=. python benchmarks/bench_large_photos.py [--requests 3] [--items 24]

As root, on hosts of the test network, with the models and photos of ../shared. The same request in turn: as `run` does
it, which fits items to their variant before they go over such a link, and with the files sent as they are. Coordinator
and board share the cores of this machine.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.bench_lossy_link import LINK, Measured, requests, use_congestion_control
from benchmarks.chaos.boards import Boards, boards_on_hosts
from benchmarks.chaos.work import PHOTOS, Work, json_lines, work_in
from equipoise.runtime.inputs import find_items
from tests.network import lan as lans
from tests.network import quota as quotas

SIZE_PX = (4000, 3000)
WAYS = {"fitted": "equipoise", "as they are": "benchmarks.as_they_are"}
_DISTINCT = 6
_GRAIN = 6.0  # as a camera's sensor has: without it enlarged photos would be far smaller files


def large_photos(work: Work, folder: Path, items: int, size_px: tuple[int, int] = SIZE_PX) -> Work:
    """The work's photos as a camera would have taken them, under so many names."""
    folder.mkdir()
    several = min(items, _DISTINCT, len(work.items))
    encoded = [_enlarged(work.items.payload(number), size_px, number) for number in range(several)]
    for number in range(items):
        (folder / f"{number:03}.jpg").write_bytes(encoded[number % several])
    return Work(family=work.family, inputs=folder, items=find_items([str(folder)]), floor=work.floor)


def _enlarged(photo: bytes, size_px: tuple[int, int], seed: int) -> bytes:
    large = Image.open(io.BytesIO(photo)).convert("RGB").resize(size_px, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(seed).normal(0, _GRAIN, (size_px[1], size_px[0], 1))
    pixels = np.clip(np.asarray(large) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def in_turn(boards: Boards, work: Work, times: int) -> dict[str, list[Measured]]:
    """So many requests of each way; every answer is compared with a direct computation."""
    found: dict[str, list[Measured]] = {way: [] for way in WAYS}
    for _ in range(times):
        for way, module in WAYS.items():
            found[way] += requests(boards, work, 1, module)
            rows = json_lines(boards.laptop.folder / "0.out.jsonl")
            names = {work.items.name(item): item for item in range(len(work.items))}
            wrong = [said for row in rows if (said := work.objection(names[row["item"]], row)) is not None]
            if wrong or len(rows) != len(work.items):
                raise RuntimeError(
                    f"{len(rows)} answers to {len(work.items)} items, {len(wrong)} of them wrong: {wrong[:1]}"
                )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=3)
    parser.add_argument("--items", type=int, default=24)
    asked = parser.parse_args()
    reason = lans.missing() or quotas.missing() or (None if PHOTOS.is_dir() else "needs the photos of ../shared")
    if reason is not None:
        print(f"not measured: {reason}")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        work = large_photos(work_in(folder, _DISTINCT, variants=1), folder / "large", asked.items)
        mean_bytes = sum(len(work.items.payload(item)) for item in range(asked.items)) / asked.items
        print(f"{asked.items} photos of {SIZE_PX[0]} x {SIZE_PX[1]}, {mean_bytes / 1e6:.2f} MB each; medians")
        with boards_on_hosts(folder, work.family, {"pi": LINK}) as boards:
            use_congestion_control(boards, "bbr")
            found = in_turn(boards, work, asked.requests)
        print("items        planned s  measured s  measured/planned  carried per byte of the files")
        for way, measured in found.items():
            print(
                f"{way:11}  {median(one.planned_s for one in measured):9.2f}  "
                f"{median(one.measured_s for one in measured):10.2f}  "
                f"{median(one.ratio for one in measured):16.2f}  {median(one.carried for one in measured):29.3f}"
            )
        ratios = [b.measured_s / a.measured_s for a, b in zip(found["fitted"], found["as they are"], strict=True)]
        print(f"as they are / fitted: {median(ratios):.1f} times as long ({min(ratios):.1f} to {max(ratios):.1f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
