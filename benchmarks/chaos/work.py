"""What the campaign asks for, and what the right answers are: computed directly, without any of the network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.core.family import Family
from equipoise.engines.base import Engine
from equipoise.engines.processors import LocalProcessor
from equipoise.engines.registry import load_engine
from equipoise.families.classify import best_classes
from equipoise.families.manifest import load_family
from equipoise.families.preprocess import prepare
from equipoise.runtime.inputs import ItemList, find_items

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared" / "data"
LADDER = SHARED / "models" / "imagenet-mobilenet-onnx"
PHOTOS = SHARED / "images" / "nips17-imagenet-750" / "images"
DEMO = REPOSITORY / "equipoise" / "families" / "demo"

_RUNGS = ("mobilenet_v1_025_128.int8", "mobilenet_v1_050_160.int8", "mobilenet_v1_075_192.int8")  # lightest first
_DISTINCT = 40  # photos; a request has each of them several times, under names of its own
_SCORES_DIFFER = 2e-3  # at most, between batch sizes; a quantised output has steps of 1/256 of its range


@dataclass
class Work:
    """A request's inputs, `per_request` of them, and the scores that each variant really gives each of them."""

    family: Family
    inputs: Path
    items: ItemList
    floor: float
    _scores: dict[tuple[str, bytes], dict[int, float]] = field(default_factory=dict)
    _engines: dict[str, Engine] = field(default_factory=dict)

    def objection(self, index: int, row: dict[str, Any]) -> str | None:
        """Why a line of the predictions cannot be what its variant says of that item; None if it can."""
        scores = self._truth(row["variant"], self.items.payload(index))
        for said in row["top"]:
            right = scores[said["class_index"]]
            if abs(right - said["score"]) > _SCORES_DIFFER:
                return f"{row['variant']} gives class {said['class_index']} {right:.6f}, not {said['score']:.6f}"
        if row["score"] < max(scores.values()) - _SCORES_DIFFER:
            return f"{row['variant']} gives another class {max(scores.values()):.6f}, more than {row['score']:.6f}"
        return None

    def _truth(self, variant: str, payload: bytes) -> dict[int, float]:
        known = self._scores.get((variant, payload))
        if known is None:
            known = self._scores[variant, payload] = self._infer(variant, payload)
        return known

    def _infer(self, variant: str, payload: bytes) -> dict[int, float]:
        model = self.family.model(variant)
        if variant not in self._engines:
            self._engines[variant] = load_engine(self.family, variant, LocalProcessor(name="one-core", threads=1))
        outputs = self._engines[variant].infer(prepare(payload, model.input)[np.newaxis])
        classes = outputs.shape[-1]
        (ranking,) = best_classes(outputs, model.output, self.family.first_class, k=classes)
        return dict(zip(ranking.classes, ranking.scores, strict=True))


def ladder_work(folder: Path, items: int, variants: int) -> Work:
    """Photos, and some rungs of the published ladder."""
    rungs = _RUNGS[:variants]
    family = folder / "family"
    family.mkdir()
    head, *blocks = re.split(r"(?m)^(?=\[\[variants\]\])", (LADDER / "family.toml").read_text())
    wanted = [block for block in blocks if any(f'name = "{rung}"' in block for rung in rungs)]
    (family / "family.toml").write_text(head + "".join(wanted))
    for name in ("labels.txt", *(f"{rung}.onnx" for rung in rungs)):
        shutil.copyfile(LADDER / name, family / name)
    photos = sorted(PHOTOS.glob("*.jpg"))[:_DISTINCT]
    copies = [Path(shutil.copy(photo, folder)) for photo in photos]
    inputs = folder / "inputs"
    inputs.mkdir()
    for number in range(items):
        (inputs / f"{number:05}.jpg").hardlink_to(copies[number % len(copies)])
    return _work(family, inputs, floor=0.6)


def demo_work(folder: Path, items: int) -> Work:
    """Digits, and the family that comes with the package."""
    digits = np.load(DEMO / "digits-heldout.npy")
    inputs = folder / "digits.npy"
    np.save(inputs, digits[np.arange(items) % len(digits)])
    return _work(DEMO, inputs, floor=0.9)


def work_in(folder: Path, items: int, variants: int) -> Work:
    """The ladder's, so many variants of it, where its models and photos are there; the demo family's elsewhere."""
    there = PHOTOS.is_dir() and LADDER.is_dir()
    return ladder_work(folder, items, variants) if there else demo_work(folder, items)


def _work(family: Path, inputs: Path, floor: float) -> Work:
    return Work(family=load_family(family), inputs=inputs, items=find_items([str(inputs)]), floor=floor)


def json_lines(path: Path) -> Sequence[dict[str, Any]]:
    """The whole lines of a file; the last one may still be being written. None if there is no file yet."""
    if not path.exists():
        return ()
    whole, _, _ = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
    return tuple(json.loads(line) for line in whole.splitlines())
