"""Nodes of a closed cluster on hosts of their own: they find each other without an address, and nobody else."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from equipoise.core.family import Family
from equipoise.trust.authority import Authority
from tests.network.lan import Host, Lan, Process
from tests.trust.clusters import authority_in, member_of_cluster

GIVE_UP_S = 90.0


def until(holds: Callable[[], bool], process: Process) -> None:
    give_up_s = time.monotonic() + GIVE_UP_S
    while not holds():
        assert process.popen.poll() is None, process.stderr
        assert time.monotonic() < give_up_s, process.stdout + process.stderr
        time.sleep(0.02)


def admit(host: Host, authority: Authority, folder: Path) -> None:
    """Make the host a member, as joining would."""
    membership = member_of_cluster(authority, folder, host.name, dt.datetime.now(dt.timezone.utc))
    shutil.copytree(membership.folder, host.folder / "data" / "member")


def test_members_find_each_other_by_multicast_and_share_a_request(lan: Lan, tmp_path: Path, tiny_family: Family):
    authority = authority_in(tmp_path)
    authority.sign_family(tiny_family)
    hosts = [lan.host(name) for name in ("pi", "nano", "laptop")]
    for host in hosts:
        admit(host, authority, tmp_path)
    family = str(tiny_family.folder)
    for host in hosts[:2]:
        node = host.equipoise("node", "--family", family, "--processors", "cpu")
        until(lambda node=node: "Z profiled" in node.stderr, node)  # type: ignore[misc]
    intruder = lan.host("intruder").equipoise("node", "--insecure")
    until(lambda: "Z ready" in intruder.stderr, intruder)
    np.save(hosts[2].folder / "grey.npy", np.full((40, 8, 8, 3), 32, dtype=np.uint8))

    listing = hosts[2].equipoise("nodes", "--nodes", "2", "--json")
    assert listing.wait() == 0, listing.stderr
    live = ("--cluster", "live", "--nodes", "2", "--deadline-s", "60", "--json")
    running = hosts[2].equipoise("run", "grey.npy", "--family", family, *live)
    assert running.wait() == 0, running.stdout + running.stderr

    assert {one["name"]: one["secured"] for one in json.loads(listing.stdout)} == {"pi": True, "nano": True}
    until(lambda: "alone" in intruder.stderr, intruder)
