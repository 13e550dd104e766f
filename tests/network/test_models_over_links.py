"""Model files on hosts of their own, over links that are slow and break."""

from __future__ import annotations

from pathlib import Path

from equipoise.core.family import Family
from tests.models.families import bulky_family
from tests.network.lan import Host, Lan
from tests.network.test_nodes_on_hosts import until


def parts(host: Host) -> list[int]:
    """How much of each file on its way is there."""
    return [path.stat().st_size for path in (host.folder / "data" / "cache" / "files").glob("*.part")]


def test_a_file_goes_on_after_its_link_was_cut_and_mended(lan: Lan, tmp_path: Path, tiny_family: Family):
    family = bulky_family(tiny_family, tmp_path / "family", large_bytes=6_000_000)
    pi, nano = lan.host("pi"), lan.host("nano", rate="10mbit", wired=True)
    holding = pi.equipoise("node", "--name", "pi", "--insecure", "--family", str(family.folder), "--processors", "cpu")
    until(lambda: "Z ready" in holding.stderr, holding)
    fetching = nano.equipoise("node", "--name", "nano", "--insecure", "--processors", "cpu")

    until(lambda: any(size > 1_000_000 for size in parts(nano)), fetching)
    nano.cut()
    (before,) = parts(nano)
    until(lambda: "not fetched" in fetching.stderr, fetching)
    nano.mend()
    until(lambda: "Z profiled" in fetching.stderr, fetching)

    (line,) = (line for line in fetching.stderr.splitlines() if "fetched variant=large" in line)
    (resumed_bytes,) = (int(word.partition("=")[2]) for word in line.split() if word.startswith("resumed_bytes="))
    assert resumed_bytes >= before
    assert "thrown away" not in fetching.stderr
