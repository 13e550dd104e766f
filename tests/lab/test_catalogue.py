"""Published boards: complete with their sources, and as published."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from equipoise.errors import UsageError
from equipoise.lab.catalogue import SETS, published
from equipoise.lab.paper import LADDERS, OTHER_BOARDS, PAPER_BOARDS, ladder, paper_boards

ROOT = Path(__file__).parents[2]
TABLES = ROOT.parent / "shared" / "data" / "boards"


@pytest.mark.parametrize("name", SETS)
def test_every_figure_is_a_time_or_an_accuracy_with_its_source_and_licence(name: str):
    chosen = published(name)
    known = {variant.name for variant in chosen.variants}

    for variant in chosen.variants:
        assert 0 < variant.accuracy < 1
        assert variant.source and variant.licence
    for board in chosen.boards:
        for processor in board.processors:
            assert processor.source and processor.licence and processor.runtime
            assert set(processor.item_ms) <= known
            assert all(milliseconds > 0 for milliseconds in processor.item_ms.values())


@pytest.mark.skipif(not TABLES.exists(), reason="the published tables are not part of this repository")
def test_the_shipped_figures_are_those_of_the_published_tables():
    command = [sys.executable, "tools/make_catalogue.py", "--check"]

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)

    assert done.returncode == 0, done.stderr


def test_the_papers_boards_all_run_the_same_fourteen_variants():
    cluster = paper_boards()

    assert [node.name for node in cluster.nodes] == list(PAPER_BOARDS)
    assert len(cluster.variants) == 14
    for _, processor in cluster.processors():
        assert len(processor.profiles) == 14


@pytest.mark.parametrize("family", LADDERS)
def test_a_ladder_stays_within_one_family_and_costs_more_for_more(family: str):
    cluster = ladder(family)

    assert [node.name for node in cluster.nodes] == list(OTHER_BOARDS)
    assert len(cluster.variants) >= 8
    assert all(variant.name.startswith(f"{family}-") for variant in cluster.variants)
    for _, processor in cluster.processors():
        times = [profile.latency_s[1] for profile in processor.profiles]
        assert times[-1] > times[0]


def test_an_unknown_board_is_refused_with_those_that_are_known():
    with pytest.raises(UsageError, match=r"no published board 'pi-5'.*odroid-xu4"):
        published("ncnn").cluster(["pi-5"])


def test_boards_without_a_common_variant_make_no_cluster():
    with pytest.raises(UsageError, match="no variant resnext"):
        published("ncnn").cluster(PAPER_BOARDS, family="resnext")
