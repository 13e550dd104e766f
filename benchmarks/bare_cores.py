"""The bare loop on every core, and what it infers; for benchmarks that compare with it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import tomlkit
from plain_worker import AskOne, AskRate, Case, Rate, bare_core
from spreaders import REPOSITORY, Core

from equipoise.families.demo import demo_folder
from equipoise.families.manifest import MANIFEST

SHARED = REPOSITORY.parent / "shared" / "data"
PHOTOS, LADDER = SHARED / "images" / "nips17-imagenet-750", SHARED / "models" / "imagenet-mobilenet-onnx"
LADDER_CASES = (("mobilenet_v1_050_160.fp32", 4), ("mobilenet_v1_100_224.int8", 1))  # with batch size


class BareCores:
    """The bare loop, in a process of its own on every core."""

    def __init__(self, cores: Sequence[Core]) -> None:
        context = multiprocessing.get_context("spawn")
        self.processes, self._ends = [], []
        for core in cores:
            mine, theirs = context.Pipe()
            process = context.Process(target=bare_core, args=(theirs,), daemon=True)
            process.start()
            core.take(process.pid)
            self.processes.append(process)
            self._ends.append(mine)

    def rates(self, case: Case, seconds: float) -> list[Rate]:
        """Of all cores at the same time."""
        for end in self._ends:
            end.send(AskRate(case, seconds))
        return [end.recv() for end in self._ends]

    def one_s(self, case: Case, index: int) -> float:
        """Seconds of a direct call on the first core."""
        first: Connection = self._ends[0]
        first.send(AskOne(case, index))
        return first.recv()

    def close(self) -> None:
        for end, process in zip(self._ends, self.processes, strict=True):
            end.send(None)
            process.join()


def cases(folder: Path) -> list[Case]:
    """What is run; the nodes get families of these variants alone, as they measure all that they are given."""
    digits = demo_folder()
    found = [Case(excerpt(digits, folder / "digits", ["d6w32-32"]), str(digits / "digits-heldout.npy"), "d6w32-32", 8)]
    if PHOTOS.is_dir() and LADDER.is_dir():
        family = excerpt(LADDER, folder / "photos", [variant for variant, _ in LADDER_CASES])
        found += [Case(family, str(PHOTOS), variant, batch) for variant, batch in LADDER_CASES]
    return found


def excerpt(family: Path, folder: Path, variants: Sequence[str]) -> Path:
    """A family with some of the variants of another one, whose files it shares."""
    manifest = tomlkit.parse((family / MANIFEST).read_text(encoding="utf-8")).unwrap()
    manifest["variants"] = [variant for variant in manifest["variants"] if variant["name"] in variants]
    folder.mkdir()
    for name in (manifest["labels"], *(variant["file"] for variant in manifest["variants"])):
        (folder / name).symlink_to(family / name)
    (folder / MANIFEST).write_text(tomlkit.dumps(manifest), encoding="utf-8")
    return folder
