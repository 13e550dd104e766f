"""The demo family: small digit classifiers that come with the package, and boards to run them on."""

from __future__ import annotations

from pathlib import Path


def demo_folder() -> Path:
    """The folder of the family's manifest, models, held-out digits and `boards.json`.

    The package is always installed unpacked, because onnxruntime reads model files by path.
    """
    return Path(__file__).resolve().parent
