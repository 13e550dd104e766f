"""What tests of trust need again and again: an authority in a folder, and members of its cluster."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from equipoise.trust.authority import Authority
from equipoise.trust.certificates import key_to_pem, new_key, signing_request
from equipoise.trust.ledger import Ledger
from equipoise.trust.membership import Membership

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.timezone.utc)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def authority_in(folder: Path, cluster: str = "home", addresses: tuple[str, ...] = ("127.0.0.1:7449",)) -> Authority:
    return Authority.create(folder / f"{cluster}-authority", Ledger(cluster=cluster, addresses=addresses), NOW)


def member_of_cluster(authority: Authority, folder: Path, name: str, now: dt.datetime = NOW) -> Membership:
    """A member that was certified without a network in between."""
    key = new_key()
    issued = authority.admit_this_machine(signing_request(key, name), now)
    return Membership.write(folder / f"{name}-member", key_to_pem(key), issued, now)
