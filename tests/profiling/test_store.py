from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor, whole_cpu
from equipoise.errors import OutputError
from equipoise.profiling.measure import Measurement
from equipoise.profiling.statistics import summarise
from equipoise.profiling.store import ProfileStore, Subject, default_data_folder, subject_of

MEASUREMENT = Measurement(
    runtime="onnxruntime 1.0 CPUExecutionProvider",
    calls={1: summarise([0.001, 0.002]), 8: summarise([0.004])},
    looped=False,
    load_s=0.1,
    memory_bytes=1000,
    prepare_s=0.0005,
)


@pytest.fixture
def subject(tiny_family: Family) -> Subject:
    return subject_of(tiny_family, "small", whole_cpu())


def changed(subject: Subject, **fields: object) -> Subject:
    return msgspec.structs.replace(subject, **fields)


def test_what_is_saved_is_found_again_by_a_new_store(subject: Subject, tmp_path: Path):
    ProfileStore(tmp_path).save(subject, MEASUREMENT)

    assert ProfileStore(tmp_path).load(subject) == MEASUREMENT


def test_what_was_never_measured_is_not_known(subject: Subject, tmp_path: Path):
    assert ProfileStore(tmp_path / "new").load(subject) is None


@pytest.mark.parametrize(
    "field",
    [
        {"model_sha256": "0" * 64},
        {"runtime": "onnxruntime 99"},
        {"machine": "another machine"},
        {"provider": "CUDAExecutionProvider"},
        {"threads": 77},
        {"cpus": (0,)},
    ],
    ids=lambda field: next(iter(field)),
)
def test_a_measurement_of_something_else_does_not_count(subject: Subject, tmp_path: Path, field: dict[str, object]):
    store = ProfileStore(tmp_path)
    store.save(subject, MEASUREMENT)

    assert store.load(changed(subject, **field)) is None


def test_another_input_size_of_the_same_file_is_something_else(tiny_family: Family, tmp_path: Path):
    store = ProfileStore(tmp_path)
    store.save(subject_of(tiny_family, "small", whole_cpu()), MEASUREMENT)

    assert store.load(subject_of(tiny_family, "large", whole_cpu())) is None


def test_a_new_runtime_replaces_the_record_of_the_old_one(subject: Subject, tmp_path: Path):
    store = ProfileStore(tmp_path)
    store.save(changed(subject, runtime="onnxruntime 0.9"), MEASUREMENT)
    store.save(subject, MEASUREMENT)

    assert len(list(store.folder.iterdir())) == 1
    assert store.load(subject) == MEASUREMENT


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"subject": 3}', b"\xff\xfe"])
def test_a_damaged_record_counts_as_none_and_can_be_replaced(subject: Subject, tmp_path: Path, damage: bytes):
    store = ProfileStore(tmp_path)
    store.save(subject, MEASUREMENT)
    (record,) = store.folder.iterdir()
    record.write_bytes(damage)

    assert store.load(subject) is None
    store.save(subject, MEASUREMENT)
    assert store.load(subject) == MEASUREMENT


def test_a_folder_that_cannot_be_written_is_named_with_a_remedy(subject: Subject, tmp_path: Path):
    (tmp_path / "taken").write_text("a file where the folder should be")

    with pytest.raises(OutputError, match="EQUIPOISE_DATA_DIR"):
        ProfileStore(tmp_path / "taken").save(subject, MEASUREMENT)


def test_the_data_folder_is_what_the_environment_says_or_the_users_own():
    assert default_data_folder({"EQUIPOISE_DATA_DIR": "/some/where"}) == Path("/some/where")
    assert default_data_folder({}).name == "equipoise"


def test_what_fits_no_longer_is_not_known(tiny_family: Family, tmp_path: Path):
    store = ProfileStore(tmp_path)
    store.save(subject_of(tiny_family, "small", whole_cpu()), MEASUREMENT)
    model = tiny_family.model("small")
    renamed = msgspec.structs.replace(model, output=msgspec.structs.replace(model.output, tensor="scores"))

    for family in (
        msgspec.structs.replace(tiny_family, models=(renamed,)),
        msgspec.structs.replace(tiny_family, labels=(*tiny_family.labels, "infrared")),
    ):
        assert store.load(subject_of(family, "small", whole_cpu())) is None


def test_what_processors_cost_each_other_is_known_for_exactly_these(tiny_family: Family, tmp_path: Path):
    store = ProfileStore(tmp_path)
    parts = [LocalProcessor(name=f"cpu{cpu}", cpus=(cpu,)) for cpu in range(3)]
    subjects = [subject_of(tiny_family, "small", part) for part in parts]
    store.save_contention((subjects[0], subjects[1]), {"cpu0": 1.5, "cpu1": 1.25})

    assert store.load_contention((subjects[0], subjects[1])) == {"cpu0": 1.5, "cpu1": 1.25}
    assert store.load_contention((subjects[0], subjects[2])) is None
    assert store.load_contention(tuple(subjects)) is None
    other_runtime = msgspec.structs.replace(subjects[0], runtime="onnxruntime 0.1")
    assert store.load_contention((other_runtime, subjects[1])) is None
