"""`equipoise admit`, as a user meets it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "queue.md"


def documented() -> dict[str, object]:
    """The example of the documentation."""
    found = re.search(r"```json\n(\{\"clusters\".*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def equipoise(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "equipoise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def written(folder: Path, queue: object) -> Path:
    path = folder / "queue.json"
    path.write_text(json.dumps(queue))
    return path


def test_the_documented_queue_is_answered_as_shown(tmp_path):
    done = equipoise("admit", written(tmp_path, documented()))

    shown = re.search(r"```console\n\$ equipoise admit .*?\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    # Of equally good schedules another one may come to be taken; the answers stand.
    answers = [re.split(r"\nSchedule *\n", text)[0] for text in (done.stdout, shown[1])]
    told, promised = ([line.strip() for line in text.splitlines() if line.strip()] for text in answers)
    assert done.returncode == 3, done.stderr
    assert told == promised


def test_json_has_an_answer_for_every_request_and_the_schedule(tmp_path):
    done = equipoise("admit", written(tmp_path, documented()), "--json")

    answer = json.loads(done.stdout)
    assert done.returncode == 3
    assert [(a["request"], a["admitted"]) for a in answer["answers"]] == [
        ("feeder", True),
        ("garden", True),
        ("meadow", False),
    ]
    assert set(answer["answers"][2]["instead"]) == {"deadline_s", "min_accuracy"}
    assert [promise["request"]["name"] for promise in answer["schedule"]["promises"]] == ["feeder", "garden"]
    assert all(promise["plan"]["feasible"] for promise in answer["schedule"]["promises"])
    assert {"accuracy", "bound", "gap"} <= set(answer["schedule"])


def test_a_cluster_may_be_a_file_beside_the_queue(tmp_path):
    queue = documented()
    (tmp_path / "birds.json").write_text(json.dumps(queue["clusters"][0]))

    queue["clusters"][0] = "birds.json"
    queue["requests"] = queue["requests"][:2]
    done = equipoise("admit", written(tmp_path, queue))

    assert done.returncode == 0, done.stderr
    assert "2 of 2 requests admitted" in done.stdout


def test_an_empty_queue_is_kept_trivially(tmp_path):
    done = equipoise("admit", written(tmp_path, {**documented(), "requests": []}))

    assert done.returncode == 0
    assert "0 of 0 requests admitted" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"requests": [{"name": "a", "family": "stones", "items": 1, "requirement": {"deadline_s": 1}}]}, "'stones'"),
        ({"requests": [{"name": "a", "family": "birds", "items": 0, "requirement": {"deadline_s": 1}}]}, "requests[0]"),
        ({"requests": [{"name": "a", "family": "birds", "items": 1, "requirement": {}}]}, "requirement"),
        ({"clusters": ["missing.json"]}, "missing.json: cannot be read"),
        ({"clusters": []}, "a queue needs a cluster for each family"),
        ({"rate": 1}, "unknown field `rate`"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path, change, message):
    done = equipoise("admit", written(tmp_path, {**documented(), **change}))

    assert done.returncode == 1
    assert message in done.stderr
    assert "queue.json" in done.stderr or "missing.json" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_not_there_is_named(tmp_path):
    done = equipoise("admit", tmp_path / "none.json")

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "none.json: cannot be read" in done.stderr
