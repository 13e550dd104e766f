"""The command as a process of its own, while things go wrong: a board dies, the user has had enough."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from equipoise.core.family import Family

ITEMS = 300
BOARDS = {
    "family": "tiny",
    "variants": [{"name": "small", "accuracy": 0.6}],
    "nodes": [
        {"name": name, "processors": [{"name": "cpu", "profiles": [{"variant": "small", "latency_s": {"1": 0.02}}]}]}
        for name in ("pi", "nano")
    ],
}


@pytest.fixture
def command(tmp_path: Path, tiny_family: Family) -> Iterator[subprocess.Popen[str]]:
    """`equipoise run` on two boards, for some three seconds, from the moment of its first answer."""
    np.save(tmp_path / "grey.npy", np.zeros((ITEMS, 8, 8, 3), dtype=np.uint8))
    (tmp_path / "boards.json").write_text(json.dumps(BOARDS))
    boards = ("--cluster", "boards.json", "--emulate")
    outputs = ("--out", "p.jsonl", "--receipt", "receipt.json")
    request = ("run", "grey.npy", "--family", str(tiny_family.folder), "--deadline-s", "600")
    process = subprocess.Popen(
        [sys.executable, "-m", "equipoise", *request, *boards, *outputs],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not answers(tmp_path):
        time.sleep(0.01)
    yield process
    process.kill()
    process.communicate()


def answers(folder: Path) -> list[str]:
    """The items that were answered so far, in order."""
    path = folder / "p.jsonl"
    return [json.loads(line)["item"] for line in path.read_text().splitlines()] if path.exists() else []


def receipt_in(folder: Path) -> dict[str, Any]:
    receipt: dict[str, Any] = json.loads((folder / "receipt.json").read_text())
    return receipt


def test_when_a_board_dies_every_item_is_still_answered_once(command: subprocess.Popen[str], tmp_path: Path):
    board, *_ = psutil.Process(command.pid).children()

    board.kill()
    printed, complaints = command.communicate(timeout=60)

    assert (command.returncode, complaints) == (0, ""), printed
    assert sorted(answers(tmp_path)) == sorted(f"grey.npy#{row}" for row in range(ITEMS))
    receipt = receipt_in(tmp_path)
    assert receipt["answered"] == ITEMS
    (lost,) = receipt["lost"]
    assert (lost["reason"], lost["after_s"] > 0) == ("it left the network", True)
    assert f"node {lost['node']} lost after" in printed


def test_ctrl_c_keeps_the_answers_so_far_and_says_what_is_missing(command: subprocess.Popen[str], tmp_path: Path):
    boards = psutil.Process(command.pid).children()

    command.send_signal(signal.SIGINT)
    printed, complaints = command.communicate(timeout=60)

    assert (command.returncode, complaints) == (4, "")
    receipt, kept = receipt_in(tmp_path), answers(tmp_path)
    assert receipt["outcome"] == "interrupted"
    assert receipt["answered"] == len(kept) > 0
    assert {fault["item"] for fault in receipt["unanswered"]} == {f"grey.npy#{row}" for row in range(ITEMS)} - set(kept)
    assert "without answer:" in printed
    assert "To go on with it: equipoise run --resume " in printed
    assert not psutil.wait_procs(boards, timeout=10)[1]


def test_a_coordinator_that_is_killed_leaves_a_receipt_that_says_what_it_was_doing(
    command: subprocess.Popen[str], tmp_path: Path
):
    boards = psutil.Process(command.pid).children()

    command.kill()
    command.communicate()

    receipt, written = receipt_in(tmp_path), (tmp_path / "p.jsonl").read_bytes()
    assert (receipt["outcome"], receipt["items"]) == ("running", ITEMS)
    assert receipt["met"] == {"performance": False, "accuracy": False, "energy": True}
    assert (receipt["requirement"]["deadline_s"], receipt["plan"]["items"]) == (600, ITEMS)
    assert (receipt["origin"]["inputs"], receipt["origin"]["out"]) == (["grey.npy"], "p.jsonl")
    acknowledged = receipt["origin"]["predictions"]
    assert hashlib.sha256(written[: acknowledged["bytes"]]).hexdigest() == acknowledged["sha256"]
    assert not psutil.wait_procs(boards, timeout=10)[1]
