"""Families whose model files are large enough to take several chunks, and are padded so that each is its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from equipoise.core.family import Family
from equipoise.families.manifest import load_family

_VARIANT = """
[[variants]]
name = "{name}"
file = "{name}.onnx"
sha256 = "{sha256}"
precision = "fp32"
size_px = {size_px}
accuracy = {{ metric = "top1", value = {accuracy}, items = 100, dataset = "brightness" }}
"""


def bulky_family(tiny: Family, folder: Path, *, small_bytes: int = 300_000, large_bytes: int = 900_000) -> Family:
    """The tiny family with files of their own: "small" and "large", a bit larger than said."""
    import onnx

    folder.mkdir()
    model = onnx.load(tiny.path_of(tiny.models[0]))
    manifest = (tiny.folder / "family.toml").read_text()
    head = manifest[: manifest.index("[[variants]]")].replace('name = "tiny"', 'name = "bulky"')
    (folder / "labels.txt").write_text((tiny.folder / "labels.txt").read_text())
    for name, size_px, accuracy, size_bytes in (("small", 8, 0.6, small_bytes), ("large", 64, 0.9, large_bytes)):
        model.doc_string = name + "." * size_bytes
        content = model.SerializeToString()
        (folder / f"{name}.onnx").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        head += _VARIANT.format(name=name, sha256=sha256, size_px=size_px, accuracy=accuracy)
    (folder / "family.toml").write_text(head)
    return load_family(folder)
