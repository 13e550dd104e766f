"""A link that gets slow in the middle of a request: it is known to be, who is behind it gets less, no item is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.cluster.slow_family import build_slow_family
from tests.network.lan import Host, Lan, change_rate
from tests.network.test_nodes_on_hosts import until

ITEMS = 4000
SIDE = 96  # 27 kB an item, which no fitting makes smaller
RATE = 10  # Mbit/s that are left of 400
ENOUGH = 3  # transfers over the slow link, from which its rate is known


def log_in(host: Host) -> list[dict[str, Any]]:
    path = host.folder / "log.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def answered(host: Host) -> int:
    return sum(len(event.get("accepted", ())) for event in log_in(host))


def far_share(planned: dict[str, Any]) -> float:
    items = {share["node"]: share["items"] for share in planned["shares"]}
    return items.get("far", 0) / max(1, sum(items.values()))


def telling_answers_of_far(events: list[dict[str, Any]], since: int) -> int:
    """How many tasks it has answered since that event whose inputs were large enough to tell how fast its link is."""
    sizes = {
        task["task"]: len(task["items"]) for event in events for task in event.get("sent", ()) if task["node"] == "far"
    }
    answered = [
        [sizes[e["task"]] for e in some if e["event"] == "answered" and e["task"] in sizes]
        for some in (events, events[since:])
    ]
    return sum(size > max(answered[0]) / 4 for size in answered[1])


def believed_bytes_per_s(event: dict[str, Any]) -> float:
    """What the link is planned with; inf if nothing is planned."""
    return float(event.get("asked_for_plan", {}).get("links", {}).get("far", {}).get("bandwidth_bytes_per_s", "inf"))


def test_a_node_behind_a_link_that_gets_slow_is_given_less_of_the_rest(lan: Lan, tmp_path: Path):
    family = str(build_slow_family(tmp_path / "family", SIDE))
    near, far, laptop = lan.host("near"), lan.host("far", rate="400mbit"), lan.host("laptop")
    for host in (near, far):
        node = host.equipoise("node", "--name", host.name, "--family", family, "--processors", "cpu", "--insecure")
        until(lambda node=node: "Z profiled" in node.stderr, node)  # type: ignore[misc]
    pixels = np.random.default_rng(0).integers(0, 255, (ITEMS, SIDE, SIDE, 3), dtype=np.uint8)
    np.save(laptop.folder / "noise.npy", pixels)

    live = ("--cluster", "live", "--insecure", "--nodes", "2", "--deadline-s", "600", "--prefer", "latency")
    files = ("--log", "log.jsonl", "--receipt", "r.json", "--out", "p.jsonl")
    running = laptop.equipoise("run", "noise.npy", "--family", family, *live, *files)
    until(lambda: answered(laptop) > ITEMS // 10, running)
    slow_from = len(log_in(laptop))
    change_rate(lan, far, f"{RATE}mbit")
    assert running.wait() == 0, running.stdout + running.stderr

    events = log_in(laptop)
    before = [far_share(event) for event in events[:slow_from] if event.get("shares")]
    after = [far_share(event) for event in events[slow_from:] if event.get("shares")]
    assert answered(laptop) == ITEMS
    assert len({json.loads(line)["item"] for line in (laptop.folder / "p.jsonl").read_text().splitlines()}) == ITEMS
    receipt = json.loads((laptop.folder / "r.json").read_text())
    first = {share["node"]: share["items"] for share in receipt["plan"]["shares"]}
    assert min(after) < 0.5 * max([first["far"] / ITEMS, *before])  # its answers are late, too
    if telling_answers_of_far(events, slow_from) >= ENOUGH:  # else it has been given hardly anything after the first
        assert min(believed_bytes_per_s(event) for event in events[slow_from:]) < 4 * RATE * 1e6 / 8
