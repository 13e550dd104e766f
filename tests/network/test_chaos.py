"""A short chaos campaign: real nodes on their hosts, requests that come to harm. `make chaos` is the long one."""

from __future__ import annotations

from pathlib import Path

from benchmarks.chaos.campaign import Settings, run_campaign
from tests.network import lan, quota
from tests.network.conftest import skip_or_fail

SHORT = Settings(seed=76, warm_up=1, faultless=1, faulty=6, variants=2, mended_after_s=())


def test_whatever_happens_to_nodes_links_and_coordinators_every_item_is_answered_once_and_rightly(tmp_path: Path):
    skip_or_fail(lan.missing() or quota.missing())

    campaign = run_campaign(tmp_path, SHORT)

    assert campaign.wrong == []
    assert len(campaign.faulty) == SHORT.faulty
    assert lan.left_over() == []
