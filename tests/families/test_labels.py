from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equipoise.core.family import Family
from equipoise.errors import ConfigError
from equipoise.families.items import item_key
from equipoise.families.labels import dataset_name, load_labels

SHARED_IMAGES = Path(__file__).parents[3] / "shared/data/images/nips17-imagenet-750"
SHARED_LADDER = Path(__file__).parents[3] / "shared/data/models/imagenet-mobilenet-onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images and an array of three rows."""
    folder = tmp_path / "grey"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"not read here")
    np.save(folder / "rows.npy", np.zeros((3, 4, 4), np.uint8))
    return folder


def write_csv(folder: Path, *lines: str) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def by_file_name(labels: dict[str, int]) -> dict[str, int]:
    return {Path(item).name: index for item, index in labels.items()}


def refusal(path: Path, family: Family) -> str:
    with pytest.raises(ConfigError) as refused:
        load_labels(path, family)
    return str(refused.value)


@pytest.mark.parametrize(
    ("header", "black", "white"),
    [("file,class_index", "0", "3"), ("file,class", "black", "3"), ("file,class_name", "Black", "white")],
)
def test_a_csv_names_classes_by_index_or_label(data: Path, tiny_family: Family, header: str, black: str, white: str):
    path = write_csv(data, header, f"a.png,{black}", f"b.png,{white}")

    assert by_file_name(load_labels(path, tiny_family)) == {"a.png": 0, "b.png": 3}


def test_of_several_class_columns_the_index_counts(data: Path, tiny_family: Family):
    path = write_csv(data, "file,class_name,class_index", "a.png,whatever it is called,2")

    assert by_file_name(load_labels(path, tiny_family)) == {"a.png": 2}


def test_rows_of_an_array_are_items(data: Path, tiny_family: Family):
    path = write_csv(data, "file,class_index", "rows.npy#2,1", "rows.npy#0,3")

    assert by_file_name(load_labels(path, tiny_family)) == {"rows.npy#2": 1, "rows.npy#0": 3}


def test_items_are_found_again_by_whatever_path_they_are_named(
    data: Path, tiny_family: Family, monkeypatch: pytest.MonkeyPatch
):
    labels = load_labels(write_csv(data, "file,class_index", "a.png,0", "rows.npy#1,2"), tiny_family)
    (data.parent / "link").symlink_to(data)

    monkeypatch.chdir(data)

    assert labels[item_key("a.png")] == 0
    assert labels[item_key("../link/rows.npy#1")] == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("gone.png,0", "there is no file"),
        ("a.png,4", "no class 4; family 'tiny' has classes 0 to 3"),
        ("a.png,-1", "no class -1"),
        ("a.png,pink", "no class 'pink'"),
        ("a.png", "no class ''"),
        ("rows.npy,0", "rows.npy#<row>"),
        ("rows.npy#3,0", "rows 0 to 2"),
        ("b.png,1", "stands twice, first in line 2"),
        ("../grey/b.png,1", "stands twice, first in line 2"),
    ],
)
def test_what_is_wrong_in_a_csv_is_named_with_its_line(data: Path, tiny_family: Family, line: str, says: str):
    path = write_csv(data, "file,class", "b.png,black", line)

    message = refusal(path, tiny_family)

    assert says in message
    assert "line 3" in message


def test_a_label_of_two_classes_needs_an_index(data: Path, tiny_family: Family):
    import msgspec

    family = msgspec.structs.replace(tiny_family, labels=("crane", "heron", "Crane", "stork"))

    assert "indices [0, 2]" in refusal(write_csv(data, "file,class", "a.png,crane"), family)


@pytest.mark.parametrize(("header", "has"), [("path,class", "path, class"), ("file,score", "file, score")])
def test_missing_columns_are_told(data: Path, tiny_family: Family, header: str, has: str):
    assert f"it has: {has}" in refusal(write_csv(data, header, "a.png,1"), tiny_family)


def test_an_empty_or_missing_csv_is_refused(data: Path, tiny_family: Family):
    assert "no labelled items" in refusal(write_csv(data, "file,class"), tiny_family)
    assert "it has: none" in refusal(write_csv(data), tiny_family)
    assert "no such file" in refusal(data / "gone.csv", tiny_family)


def test_bytes_that_are_no_text_are_no_csv(data: Path, tiny_family: Family):
    (data / "labels.csv").write_bytes(b"file,class\n\xff\xfe,1\n")

    assert "cannot be read as CSV" in refusal(data, tiny_family)


def test_folders_name_classes_by_label_or_index(tmp_path: Path, tiny_family: Family):
    for file in ("black/a.png", "3/b.JPG", "3/notes.txt", "3/.hidden.png", ".git/c.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"not read here")

    assert by_file_name(load_labels(tmp_path, tiny_family)) == {"a.png": 0, "b.JPG": 3}


def test_a_folder_of_no_known_class_is_refused(tmp_path: Path, tiny_family: Family):
    (tmp_path / "pink").mkdir()

    assert "no class 'pink'" in refusal(tmp_path, tiny_family)


def test_an_empty_folder_is_refused(tmp_path: Path, tiny_family: Family):
    assert "no labelled items" in refusal(tmp_path, tiny_family)


def test_data_is_named_after_its_folder_or_csv(data: Path):
    assert dataset_name(data) == dataset_name(data / "labels.csv") == "grey"
    assert dataset_name(data / "held-out.csv") == "held-out"


@pytest.mark.skipif(not SHARED_IMAGES.exists(), reason="the shared labelled images are not here")
def test_the_shared_images_are_all_labelled():
    from equipoise.families.manifest import load_family

    labels = load_labels(SHARED_IMAGES, load_family(SHARED_LADDER))

    assert len(labels) == 750
    assert labels[item_key(str(SHARED_IMAGES / "images/000b7d55b6184b08.jpg"))] == 388
