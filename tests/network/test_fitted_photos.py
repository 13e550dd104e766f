"""Photographs of megabytes for a board at the end of a slow link: they travel as what the models take."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.bench_large_photos import large_photos
from benchmarks.bench_lossy_link import received_bytes
from benchmarks.chaos.boards import Boards, Spec, boards_on_hosts
from benchmarks.chaos.work import PHOTOS, Work, json_lines, work_in
from equipoise.runtime.inputs import find_items
from tests.network import lan, quota
from tests.network.conftest import skip_or_fail

LARGE, SMALL = 12, 12
SPECS = {"pi": Spec(share=0.9, rate="20mbit")}

pytestmark = pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the models and images of ../shared")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Large photos and small ones, and two variants whose inputs differ in size."""
    skip_or_fail(lan.missing() or quota.missing())
    folder = tmp_path_factory.mktemp("photos")
    published = work_in(folder, SMALL, variants=2)
    large = large_photos(published, folder / "mixed", LARGE)
    for item in range(SMALL):
        shutil.copyfile(published.inputs / f"{item:05}.jpg", large.inputs / f"small-{item:03}.jpg")
    return Work(published.family, large.inputs, find_items([str(large.inputs)]), floor=0.0)


@pytest.fixture
def boards(work: Work, tmp_path: Path) -> Iterator[Boards]:
    with boards_on_hosts(tmp_path, work.family, SPECS) as boards:
        yield boards


def request(work: Work, *more: str) -> list[str]:
    return [str(work.inputs), "--family", str(work.family.folder), "--cluster", "live", *more]


def file_bytes(work: Work) -> int:
    return sum(len(work.items.payload(item)) for item in range(len(work.items)))


def assert_right(work: Work, out: Path) -> None:
    """Every item has one answer, which is what its variant says of its file."""
    numbers = {work.items.name(item): item for item in range(len(work.items))}
    rows = json_lines(out)
    assert sorted(row["item"] for row in rows) == sorted(numbers)
    assert [said for row in rows if (said := work.objection(numbers[row["item"]], row))] == []


def test_what_is_smaller_travels_and_the_answers_are_those_of_the_files(work: Work, boards: Boards):
    before_bytes = received_bytes(boards.boards["pi"].host)
    out, receipt = boards.laptop.folder / "p.jsonl", boards.laptop.folder / "r.json"
    process = boards.coordinate(request(work, "--out", out.name, "--receipt", receipt.name))

    assert process.wait() == 0, process.stderr
    assert "Items are made as small as their variant takes them before they go to pi" in process.stderr
    assert_right(work, out)
    assert msgspec.json.decode(receipt.read_bytes())["outcome"] == "answered"
    # measuring the link included
    assert received_bytes(boards.boards["pi"].host) - before_bytes < 0.5 * file_bytes(work)


def test_a_request_whose_coordinator_is_killed_goes_on_with_fitted_items(work: Work, boards: Boards):
    out, receipt = boards.laptop.folder / "p.jsonl", boards.laptop.folder / "r.json"
    process = boards.coordinate(request(work, "--out", out.name, "--receipt", receipt.name))
    while len(json_lines(out)) < 3 and process.popen.poll() is None:
        time.sleep(0.005)
    process.kill()
    answered = len(json_lines(out))

    before_bytes = received_bytes(boards.boards["pi"].host)
    rest = boards.coordinate(["--resume", receipt.name])

    assert rest.wait() == 0, rest.stderr
    assert 0 < answered < len(work.items)
    assert_right(work, out)
    assert received_bytes(boards.boards["pi"].host) - before_bytes < 0.5 * file_bytes(work)
