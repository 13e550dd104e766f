"""Trains the demo family again, from scikit-learn's digits to the files in equipoise/families/demo.

    pip install 'equipoise[build,train]'
    python tools/train_demo_family.py             # writes the family; some minutes on two cores
    python tools/train_demo_family.py --check     # trains into a scratch folder and compares with what is shipped

The same machine and versions give the same files, byte for byte. Elsewhere the last digits of sums differ, and with
them the weights; accuracies then differ by what the interval in the manifest allows.

The variants grow in depth, width and input size together. Their layers are plain 3x3 convolutions at full
resolution: what limits the small ones is how little of a digit each of their features can see. Such nets are not
thrifty (digits this small need less), but their cost is real and grows steadily, which is what a demo of trading cost
for accuracy needs.
Which nets to take was decided on a part of the training digits; the held-out ones only measure.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
import warnings
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from equipoise.core.family import Family, InputSpec
from equipoise.engines.processors import whole_cpu
from equipoise.families.demo import demo_folder
from equipoise.families.evaluate import evaluate
from equipoise.families.labels import load_labels
from equipoise.families.manifest import load_family, record_accuracy
from equipoise.families.preprocess import pack_array, prepare
from equipoise.families.quantise import quantise
from equipoise.families.write import Draft, Header, write_manifest

SEED = 2024
THREADS = 2  # sums are taken in another order with another number of threads
HELD_OUT_ITEMS = 599
FULL_SIZE_PX = 32
CALIBRATION_ITEMS = 256
BATCH_ITEMS = 64
HELD_OUT = "digits-heldout"
TOLERANCE = 0.02  # of --check: about the half width of the widest relevant interval at 599 items

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Design:
    """One net: `depth` convolutions of `width` channels on images of `size_px`."""

    depth: int
    width: int
    size_px: int
    epochs: int
    int8: bool = False

    @property
    def name(self) -> str:
        """What the variant is called: its depth, its width and its input size."""
        return f"d{self.depth}w{self.width}-{self.size_px}"


DESIGNS = (
    Design(depth=2, width=8, size_px=24, epochs=30),
    Design(depth=2, width=16, size_px=24, epochs=30),
    Design(depth=3, width=16, size_px=28, epochs=30),
    Design(depth=4, width=24, size_px=32, epochs=20),
    Design(depth=5, width=24, size_px=32, epochs=20),
    Design(depth=6, width=32, size_px=32, epochs=20, int8=True),
)

INPUT = {
    "kind": "image",
    "tensor": "image",
    "layout": "NCHW",
    "dtype": "uint8",
    "color": "L",
    "resize": "stretch",
}


class Net(nn.Module):
    """Raw pixels of shape (n, 1, size, size) to logits of shape (n, 10); any size will do."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(design.depth):
            channels = design.width if number else 1
            layers += [nn.Conv2d(channels, design.width, 3, padding=1, bias=False), nn.BatchNorm2d(design.width)]
            layers.append(nn.ReLU())
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(design.width, 10)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The logits of raw pixels."""
        features: torch.Tensor = self.features(pixels.float() / 255)
        logits: torch.Tensor = self.head(features.mean((2, 3)))
        return logits


def digits() -> tuple[Images, Images, NDArray[np.int64], NDArray[np.int64]]:
    """Training images, held-out images and their classes; images of shape (n, 32, 32), 8 x 8 pixels enlarged."""
    data = load_digits()
    small = np.round(data.images * (255 / 16)).astype(np.uint8)
    size = (FULL_SIZE_PX, FULL_SIZE_PX)
    large = np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)) for image in small])
    return tuple(  # type: ignore[return-value]
        train_test_split(large, data.target, test_size=HELD_OUT_ITEMS, stratify=data.target, random_state=SEED)
    )


def train(design: Design, images: Images, classes: NDArray[np.int64]) -> Net:
    """The design's net, trained on digits that are turned, scaled and moved a little, anew in every epoch."""
    torch.manual_seed(SEED)
    net = Net(design)
    pixels, targets = torch.tensor(images)[:, None].float(), torch.tensor(classes)
    steps = design.epochs * -(-len(images) // BATCH_ITEMS)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.01, total_steps=steps)
    for _ in range(design.epochs):
        for rows in torch.randperm(len(images)).split(BATCH_ITEMS):
            logits = net(shrunk(distorted(pixels[rows]), design.size_px))
            optimiser.zero_grad()
            functional.cross_entropy(logits, targets[rows], label_smoothing=0.05).backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def distorted(images: torch.Tensor) -> torch.Tensor:
    """Each image turned by up to 10 degrees, scaled by up to 10 % and moved by up to 2.4 of 32 pixels."""
    n = len(images)
    angle = (torch.rand(n) - 0.5) * 0.35
    scale = 1 + (torch.rand(n) - 0.5) * 0.2
    shift = (torch.rand(n, 2) - 0.5) * 0.3
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def shrunk(images: torch.Tensor, size_px: int) -> torch.Tensor:
    """As `stretch` in the manifest does it: bilinear with antialiasing."""
    if size_px == images.shape[-1]:
        return images
    return functional.interpolate(images, (size_px, size_px), mode="bilinear", antialias=True, align_corners=False)


def export(net: Net, design: Design, path: Path) -> None:
    """Write the net as ONNX opset 17 for uint8 images; number, height and width of the images stay free."""
    example = torch.zeros(1, 1, design.size_px, design.size_px, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter writes opset 18 at least, and no free height and width for this net.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (example,),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "n", 2: "height", 3: "width"}, "logits": {0: "n"}},
        )
    path.write_bytes(buffer.getvalue())


def build(folder: Path) -> Family:
    """Train everything into `folder`, and measure it on the held-out digits."""
    training, held_out, training_classes, held_out_classes = digits()
    write_held_out(folder, held_out, held_out_classes)
    (folder / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)), encoding="utf-8")
    variants = []
    for design in DESIGNS:
        print(f"training {design.name}", flush=True)
        variants += write_models(folder, design, training, training_classes)
    header = Header(
        name="digits", labels="labels.txt", first_class=0, input=INPUT, output={"tensor": "logits", "kind": "logits"}
    )
    write_manifest(folder, header, variants, comment="Made by tools/train_demo_family.py; see README.md")
    return measure(folder)


def write_held_out(folder: Path, images: Images, classes: NDArray[np.int64]) -> None:
    """The held-out digits as an array, and the class of every row of it."""
    np.save(folder / f"{HELD_OUT}.npy", images)
    with (folder / f"{HELD_OUT}-labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "class_index"])
        writer.writerows((f"{HELD_OUT}.npy#{row}", class_index) for row, class_index in enumerate(classes))


def write_models(folder: Path, design: Design, images: Images, classes: NDArray[np.int64]) -> list[Draft]:
    """The fp32 file, and the int8 one made from it where the design asks for it."""
    name, size_px = design.name, design.size_px
    export(train(design, images, classes), design, folder / f"{name}.onnx")
    drafts = [Draft(name=name, file=f"{name}.onnx", precision="fp32", size_px=size_px)]
    if design.int8:
        spec = InputSpec(**INPUT, size_px=size_px)
        items = np.stack([prepare(pack_array(image), spec) for image in images[:CALIBRATION_ITEMS]])
        batches = np.split(items, len(items) // BATCH_ITEMS)
        quantise(folder / f"{name}.onnx", folder / f"{name}-int8.onnx", INPUT["tensor"], batches)
        drafts.append(Draft(name=f"{name}-int8", file=f"{name}-int8.onnx", precision="int8", size_px=size_px))
    return drafts


def measure(folder: Path) -> Family:
    """The family with its accuracy on the held-out digits, which is also written into its manifest."""
    family = load_family(folder)
    labels = load_labels(folder / f"{HELD_OUT}-labels.csv", family)
    today = datetime.now(timezone.utc).date().isoformat()
    found = evaluate(family, labels, whole_cpu(), dataset="digits held-out", measured_on=today)
    record_accuracy(folder, found.accuracy)
    return load_family(folder)


def check(shipped: Family) -> bool:
    """Train again; True if every variant is about as accurate as the shipped one. Prints both."""
    with tempfile.TemporaryDirectory() as scratch:
        again = build(Path(scratch))
        alike = True
        for model in shipped.models:
            other = again.model(model.name)
            assert model.accuracy is not None
            assert other.accuracy is not None
            same = "same file" if model.sha256 == other.sha256 else "another file"
            print(f"{model.name:14} shipped {model.accuracy.value:.4f}, again {other.accuracy.value:.4f} ({same})")
            alike = alike and abs(model.accuracy.value - other.accuracy.value) <= TOLERANCE
    return alike


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the shipped family instead of writing it")
    parser.add_argument("--out", type=Path, default=demo_folder(), help="folder to write to")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    if arguments.check:
        sys.exit(0 if check(load_family(demo_folder())) else "accuracies differ by more than 2 points")
    for model in build(arguments.out).models:
        assert model.accuracy is not None
        print(f"{model.name:14} {model.accuracy.value:.4f}")


if __name__ == "__main__":
    main()
