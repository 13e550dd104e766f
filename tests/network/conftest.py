"""A network for a test. As root it is built, not skipped; where it cannot be, the reason is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.network import lan as lans
from tests.network import quota as quotas


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[lans.Lan]:
    """A LAN without hosts."""
    skip_or_fail(lans.missing())
    with lans.network(tmp_path) as network:
        yield network
    assert lans.left_over() == []


@pytest.fixture
def slowed() -> Iterator[quotas.Quota]:
    """A group of processes that can be slowed."""
    skip_or_fail(quotas.missing())
    with quotas.quota() as group:
        yield group


def skip_or_fail(reason: str | None) -> None:
    """Skip with this reason; where continuous integration runs as root there must be none."""
    if reason is None:
        return
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(f"cannot be skipped as root with CI=true: {reason}")
    pytest.skip(reason)
