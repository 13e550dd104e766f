"""Which cluster a command takes part in, and how it reaches it: options, and this machine's membership."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from equipoise.fabric.base import Fabric
from equipoise.fabric.charter import exchange
from equipoise.fabric.config import ZenohSettings, credentials_of, settings_of
from equipoise.trust.folders import default_membership_folder, is_member

if TYPE_CHECKING:
    from equipoise.trust.membership import Membership

ClusterNameOption = Annotated[
    str, typer.Option("--cluster-name", metavar="NAME", help="Of the cluster to take part in.")
]
ListenOption = Annotated[
    list[str] | None,
    typer.Option("--listen", metavar="ENDPOINT", help="Listen here, as in tcp/192.168.1.4:7447. May be repeated."),
]
ConnectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--connect", metavar="ENDPOINT", help="Dial this node or Zenoh router, instead of multicast. May be repeated."
    ),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Take part in an open cluster, which anybody on the network may do, too.")
]


def now_utc() -> dt.datetime:
    """The time; certificates and invitations are the only things that depend on what it is."""
    return dt.datetime.now(dt.timezone.utc)


def own_membership(*, insecure: bool = False) -> Membership | None:
    """This machine's membership; None if it is in no cluster, or an open one is insisted on.

    Raises TrustError if it is not valid now.
    """
    if insecure or not is_member(default_membership_folder(os.environ)):
        return None
    return _membership()


def _membership() -> Membership:
    from equipoise.trust.membership import Membership  # noqa: PLC0415 - who is no member need not pay for it

    return Membership.load(default_membership_folder(os.environ), now_utc())


def network_of(
    *, cluster: str, listen: Sequence[str] = (), connect: Sequence[str] = (), insecure: bool = False
) -> ZenohSettings:
    """Settings for taking part in this machine's own cluster if it is a member of one, otherwise in an open one.

    Raises TrustError if the membership is not valid now, UsageError if an open cluster would be reached from other
    machines and nobody said `insecure`; then a membership does not count.
    """
    membership = own_membership(insecure=insecure)
    if membership is None:
        return settings_of(cluster=cluster, listen=listen, connect=connect, insecure=insecure)
    credentials = credentials_of(membership, now_utc())
    return settings_of(cluster=membership.network, listen=listen, connect=connect, credentials=credentials)


async def up_to_date(fabric: Fabric, network: ZenohSettings, nodes: Iterable[str]) -> ZenohSettings:
    """The settings that hold once charters were compared with these nodes: others if somebody was put out."""
    if network.credentials is None:
        return network
    membership = _membership()
    await exchange(fabric, membership, nodes)
    return replace(network, credentials=credentials_of(membership, now_utc()))
