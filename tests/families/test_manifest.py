from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from equipoise.core.family import Accuracy, Family
from equipoise.errors import ConfigError, OutputError
from equipoise.families.manifest import MANIFEST, load_family, record_accuracy, sha256_of

SHARED_LADDER = Path(__file__).parents[3] / "shared/data/models/imagenet-mobilenet-onnx"


@pytest.fixture
def folder(tiny_family: Family, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_family.folder, tmp_path / "family"))


def edit(folder: Path, old: str, new: str) -> None:
    manifest = folder / MANIFEST
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new, 1))


def append(folder: Path, text: str) -> None:
    with (folder / MANIFEST).open("a") as file:
        file.write(text)


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        load_family(folder)
    assert str(folder) in str(refused.value)
    return str(refused.value)


@pytest.mark.skipif(not SHARED_LADDER.exists(), reason="the shared ImageNet ladder is not here")
def test_the_shared_ladder_loads_as_it_is():
    family = load_family(SHARED_LADDER)

    assert len(family.models) == 9
    assert family.model("mobilenet_v2_100_224.int8").input.item_shape == (224, 224, 3)
    assert family.label(0) == "tench, Tinca tinca"  # column 0 is "background"
    assert family.described_variants()[0].accuracy == 0.463


def test_two_variants_may_be_one_file_at_two_sizes(folder: Path):
    small, large = load_family(folder).models

    assert (small.file, small.size_px) == (large.file, 8)
    assert large.size_px == 64


def test_a_variant_may_override_keys_of_input_and_output(folder: Path):
    append(folder, 'input = { color = "BGR", mean = [1, 2, 3] }\noutput = { kind = "logits" }\n')

    small, large = load_family(folder).models

    assert (small.input.color, small.output.kind) == ("RGB", "probabilities")
    assert (large.input.color, large.input.mean, large.output.kind) == ("BGR", (1.0, 2.0, 3.0), "logits")
    assert large.input.layout == small.input.layout


def test_an_unknown_variant_is_a_key_error(tiny_family: Family):
    with pytest.raises(KeyError):
        tiny_family.model("huge")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('task = "', 'tusk = "', "tusk"),
        ('task = "classification"', 'task = "detection"', "task 'detection' cannot be run; known: 'classification'"),
        ('kind = "image"', 'kind = "image"\nflavour = "sweet"', "flavour"),
        ('kind = "probabilities"', 'kind = "guesses"', "guesses"),
        ('layout = "NHWC"', 'layout = "NWHC"', "NWHC"),
        ('precision = "fp32"', 'precision = "fp32"\nspeed = 3', "speed"),
        ("size_px = 8", "size_px = 0", "size_px"),
        ("size_px = 8\n", "", "size_px"),
        ("value = 0.6", "value = 60", "<= 1.0"),
        ("items = 100", "items = 100, interval = [0.7, 0.8]", "must contain the value"),
        ('dtype = "uint8"', 'dtype = "uint8"\nmean = [1.0, 2.0]', "one number or 3"),
        ('dtype = "uint8"', 'dtype = "uint8"\nstd = 0.0', "not 0"),
        ('dtype = "uint8"', 'dtype = "uint8"\nscale = nan', "finite"),
        ('name = "large"', 'name = "small"', "two variants are named 'small'"),
        ('file = "tiny.onnx"', 'file = "gone.onnx"', "gone.onnx does not exist"),
        ('labels = "labels.txt"', 'labels = "gone.txt"', "gone.txt"),
        ("[output]", "[output", "TOML"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_named(folder: Path, old: str, new: str, says: str):
    edit(folder, old, new)

    assert says in refusal(folder)


def test_the_variant_that_is_wrong_is_named(folder: Path):
    edit(folder, "size_px = 64", "size_px = -1")

    assert "variant 'large'" in refusal(folder)


def test_a_file_with_another_sha256_is_refused_with_both(folder: Path):
    model = folder / "tiny.onnx"
    expected = sha256_of(model)
    model.write_bytes(model.read_bytes() + b"\0")

    message = refusal(folder)

    assert expected in message
    assert sha256_of(model) in message


def test_a_missing_sha256_is_told(folder: Path):
    sha256 = sha256_of(folder / "tiny.onnx")
    edit(folder, f'sha256 = "{sha256}"\n', "")

    assert f'that of tiny.onnx is "{sha256}"' in refusal(folder)


def test_a_folder_without_a_manifest_is_no_family(tmp_path: Path):
    assert "there is no such file" in refusal(tmp_path)


def test_a_manifest_without_variants_is_refused(folder: Path):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text("variants = []\n" + text[: text.index("[[variants]]")])

    assert "at least one" in refusal(folder)


def test_an_empty_label_file_is_refused(folder: Path):
    (folder / "labels.txt").write_text("")

    assert "is empty" in refusal(folder)


def test_variants_that_were_never_evaluated_cannot_be_planned_with(folder: Path):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text("\n".join(line for line in text.splitlines() if not line.startswith("accuracy")))

    with pytest.raises(ConfigError, match="equipoise evaluate"):
        load_family(folder).described_variants()


def test_only_evaluated_variants_are_described(folder: Path):
    edit(folder, 'accuracy = { metric = "top1", value = 0.6, items = 100, dataset = "brightness" }', "")

    (variant,) = load_family(folder).described_variants()

    assert (variant.name, variant.accuracy, variant.accuracy_items) == ("large", 0.9, 100)


def test_a_recorded_accuracy_is_read_back_and_comments_survive(folder: Path):
    edit(folder, "size_px = 8", "size_px = 8  # as small as it gets")
    measured = Accuracy(value=0.75, items=8, dataset="new", top5=1.0, interval=(0.41, 0.93), measured_on="2026-01-31")

    record_accuracy(folder, {"small": measured})

    small, large = load_family(folder).models
    assert small.accuracy == measured
    assert large.accuracy is not None
    assert large.accuracy.dataset == "brightness"
    assert "# as small as it gets" in (folder / MANIFEST).read_text()


def test_a_manifest_that_is_a_link_stays_one(folder: Path, tmp_path: Path):
    kept = tmp_path / "kept.toml"
    (folder / MANIFEST).rename(kept)
    (folder / MANIFEST).symlink_to(kept)
    measured = Accuracy(value=0.75, items=8, dataset="new")

    record_accuracy(folder, {"small": measured})

    assert (folder / MANIFEST).is_symlink()
    assert load_family(folder).model("small").accuracy == measured


def test_an_accuracy_without_interval_has_wilsons(tiny_family: Family):
    accuracy = tiny_family.model("large").accuracy

    assert accuracy is not None
    assert accuracy.bounds == pytest.approx((0.8256, 0.9448), abs=1e-4)


def test_a_full_disk_leaves_the_old_manifest_whole(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = (folder / MANIFEST).read_text()

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", no_space)
    with pytest.raises(OutputError, match="No space left"):
        record_accuracy(folder, {"small": Accuracy(value=1.0, items=1, dataset="new")})

    assert (folder / MANIFEST).read_text() == before
    assert sorted(path.name for path in folder.iterdir()) == ["family.toml", "labels.txt", "tiny.onnx"]
