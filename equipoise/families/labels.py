"""Labelled data: which class each item really has.

Either a folder with one folder of images per class, named by label or class index; or a CSV with a column `file`
(relative to the CSV; `digits.npy#12` is row 12 of an array) and a column `class_index`, `class` or `class_name`,
of which the first in this order counts. A folder that holds a `labels.csv` stands for that.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from equipoise.core.family import Family
from equipoise.errors import ConfigError, InputError, reason_of
from equipoise.families.items import item_key, open_rows, split_row
from equipoise.families.preprocess import IMAGE_ENDINGS

LABELS_FILE = "labels.csv"
_CLASS_COLUMNS = ("class_index", "class", "class_name")


def load_labels(path: Path, family: Family) -> dict[str, int]:
    """The class index of every labelled item, by `items.item_key`, in the order of the data.

    Raises ConfigError, naming the line, for missing files, unknown classes and items that stand twice.
    """
    classes = _Classes(family)
    if path.is_dir() and not (path / LABELS_FILE).exists():
        labels = _labels_of_folders(path, classes)
    else:
        labels = _labels_of_csv(path / LABELS_FILE if path.is_dir() else path, classes)
    if not labels:
        raise ConfigError("has no labelled items: neither images in folders of classes nor a labels.csv", path=path)
    return labels


def dataset_name(path: Path) -> str:
    """What to call the data: the name of its folder, or of its CSV unless that is just `labels.csv`."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    return path.parent.name if path.name == LABELS_FILE else path.stem


class _Classes:
    """Class indices by what people write for them: the label's text, or the index."""

    def __init__(self, family: Family) -> None:
        self._first = max(0, family.first_class)
        self._last = len(family.labels) - 1 + family.first_class
        self._known = f"family {family.name!r} has classes {self._first} to {self._last}"
        self._by_text: dict[str, list[int]] = {}
        for index in range(self._first, self._last + 1):
            self._by_text.setdefault(family.label(index).casefold(), []).append(index)

    def of(self, text: str, *, is_index: bool) -> int:
        """The class of an index, or unless `is_index` of a label. Raises ValueError with the reason."""
        found = [] if is_index else self._by_text.get(text.casefold(), [])
        if len(found) > 1:
            raise ValueError(f"{text!r} is the label of several classes; write one of the indices {found}")
        return found[0] if found else self._of_index(text)

    def _of_index(self, text: str) -> int:
        try:
            index = int(text)
        except ValueError:
            raise ValueError(f"there is no class {text!r}; {self._known}, see its labels") from None
        if not self._first <= index <= self._last:
            raise ValueError(f"there is no class {index}; {self._known}")
        return index


def _labels_of_folders(folder: Path, classes: _Classes) -> dict[str, int]:
    labels: dict[str, int] = {}
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir() and _is_visible(path)):
        try:
            class_index = classes.of(class_folder.name, is_index=False)
        except ValueError as error:
            raise ConfigError(f"{error}; a folder's name must be a label or class index", path=class_folder) from None
        for file in sorted(class_folder.iterdir()):
            if _is_visible(file) and file.suffix.lower() in IMAGE_ENDINGS:
                labels[item_key(str(file))] = class_index
    return labels


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")


class _Line(NamedTuple):
    number: int
    file: str
    class_text: str
    is_index: bool


def _labels_of_csv(path: Path, classes: _Classes) -> dict[str, int]:
    labels: dict[str, int] = {}
    lines: dict[str, int] = {}
    row_counts: dict[Path, int] = {}
    for line in _lines(path):
        key = item_key(str(path.parent / line.file))
        try:
            class_index = classes.of(line.class_text, is_index=line.is_index)
            _refuse_missing(key, row_counts)
            if key in labels:
                raise ValueError(f"{line.file} stands twice, first in line {lines[key]}")
        except (ValueError, InputError) as error:
            raise ConfigError(str(error), path=path, place=f"line {line.number}") from None
        labels[key], lines[key] = class_index, line.number
    return labels


def _lines(path: Path) -> Iterator[_Line]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            column = _class_column(reader.fieldnames or (), path)
            for row in reader:
                yield _Line(reader.line_num, row["file"].strip(), row[column].strip(), column == "class_index")
    except FileNotFoundError:
        raise ConfigError("there is no such file or folder of labelled data", path=path) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot be read as CSV: {reason_of(error)}", path=path) from error


def _class_column(columns: Sequence[str], path: Path) -> str:
    found = [column for column in _CLASS_COLUMNS if column in columns]
    if "file" not in columns or not found:
        wanted = f"the column file and one of {', '.join(_CLASS_COLUMNS)}"
        raise ConfigError(f"needs {wanted}; it has: {', '.join(columns) or 'none'}", path=path, place="line 1")
    return found[0]


def _refuse_missing(key: str, row_counts: dict[Path, int]) -> None:
    path, row = split_row(key)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if row is None and path.suffix.lower() == ".npy":
        raise ValueError(f"{path} is an array of items; name each as {path.name}#<row>")
    if row is None:
        return
    if path not in row_counts:
        row_counts[path] = len(open_rows(path))
    if row >= row_counts[path]:
        raise ValueError(f"{path} has rows 0 to {row_counts[path] - 1}, so not {row}")
