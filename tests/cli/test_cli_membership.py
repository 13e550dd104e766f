"""Which network a command takes part in: a member's is its cluster's, by default and without a word about it."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest

from equipoise.cli.network import network_of
from equipoise.errors import TrustError
from tests.trust.clusters import DAY, authority_in, member_of_cluster


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQUIPOISE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def join(data: Path, tmp_path: Path, now: dt.datetime) -> str:
    membership = member_of_cluster(authority_in(tmp_path), tmp_path, "pi", now)
    shutil.copytree(membership.folder, data / "member")
    return membership.network


def test_a_member_takes_part_in_its_own_cluster_encrypted(data: Path, tmp_path: Path):
    network = join(data, tmp_path, dt.datetime.now(dt.timezone.utc))

    settings = network_of(cluster="default")

    assert (settings.cluster, settings.listen) == (network, ("tls/0.0.0.0:0",))
    assert not settings.open_to_anybody


def test_who_is_no_member_stays_on_loopback_and_insecure_is_open_all_the_same(data: Path, tmp_path: Path):
    assert network_of(cluster="default").scouting == "lo"
    join(data, tmp_path, dt.datetime.now(dt.timezone.utc))

    assert network_of(cluster="default", insecure=True).open_to_anybody


def test_an_expired_member_is_told_rather_than_left_alone(data: Path, tmp_path: Path):
    join(data, tmp_path, dt.datetime.now(dt.timezone.utc) - 91 * DAY)

    with pytest.raises(TrustError, match="expired"):
        network_of(cluster="default")
