"""`equipoise cluster`: who belongs to a cluster: its authority, invitations, certificates, signed families."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import platform
import signal
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from equipoise.cli.console import console_for
from equipoise.cli.membership import as_invitation, join_cluster, listening_addresses, spread
from equipoise.cli.network import now_utc
from equipoise.cli.options import FAMILY_HELP, JsonOption, family_folder
from equipoise.errors import TrustError, UsageError
from equipoise.families.manifest import load_family
from equipoise.runtime.interrupt import interrupted_by
from equipoise.trust.authority import Authority
from equipoise.trust.certificates import checked_name, key_to_pem, new_key, signing_request
from equipoise.trust.enrolment import DEFAULT_PORT
from equipoise.trust.folders import default_authority_folder, default_membership_folder, is_member
from equipoise.trust.invitation import Invitation, as_text
from equipoise.trust.joining import renew as renew_membership
from equipoise.trust.ledger import Ledger
from equipoise.trust.membership import Membership
from equipoise.trust.service import EnrolmentService
from equipoise.trust.waiting import admit_invited

cluster_app = typer.Typer(no_args_is_help=True)

AuthorityOption = Annotated[
    Path | None, typer.Option("--authority", metavar="DIR", help="The authority's folder. Default: this user's.")
]
NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="Do not wait for the node; `equipoise cluster serve` must be running then.")
]
ValidOption = Annotated[float, typer.Option("--valid-for-s", min=1, metavar="SECONDS", help="How long it may be used.")]


@cluster_app.callback()
def _cluster() -> None:
    """Make a cluster that nobody else gets into: an authority, invitations, certificates, signed families."""


@cluster_app.command()
def init(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Where. Default: the user's data.")] = None,
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the cluster.")] = "home",
    node_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this machine in it. Default: the host's name.")
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST[:PORT]", help="Where nodes reach this machine. Default: all its addresses."),
    ] = None,
    certificate_days: Annotated[float, typer.Option(min=0.01, help="How long certificates are good for.")] = 90.0,
    valid_for_s: ValidOption = 3600.0,
    no_wait: NoWaitOption = False,
) -> None:
    """Make a cluster's authority on this machine, its first member, and an invitation for the next node.

    The invitation is printed; unless --no-wait, this waits until a node has joined with it. Whoever has DIR decides
    who is in the cluster: back it up, and give it to nobody.
    """
    now = now_utc()
    ledger = Ledger(
        cluster=checked_name(name, "the name of a cluster"),
        addresses=listening_addresses(address or ()),
        certificate_life=dt.timedelta(days=certificate_days),
    )
    own_name = checked_name(node_name or platform.node() or "authority")
    membership_folder = default_membership_folder(os.environ)
    if is_member(membership_folder):
        raise TrustError(f"this machine is in a cluster already; to leave that one, remove {membership_folder}")
    authority = Authority.create(_authority_folder(folder), ledger, now)
    key = new_key()
    issued = authority.admit_this_machine(signing_request(key, own_name), now)
    Membership.write(membership_folder, key_to_pem(key), issued, now)
    _note(f"cluster {name!r}: its authority is in {authority.folder}, this machine is its member {own_name!r}")
    _invite(authority, None, 1, dt.timedelta(seconds=valid_for_s), wait=not no_wait)


@cluster_app.command()
def invite(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only a node of this name may use it.")] = None,
    *,
    count: Annotated[int, typer.Option(min=1, max=255, metavar="N", help="So many invitations, a line each.")] = 1,
    valid_for_s: ValidOption = 3600.0,
    authority: AuthorityOption = None,
    no_wait: NoWaitOption = False,
) -> None:
    """Print an invitation, and wait until a node has joined with it; on the node: `equipoise cluster join INVITATION`.

    Each is good for one node. An invitation by name lets a machine that was set up anew have its name back.
    """
    if name is not None and count > 1:
        raise UsageError(f"--count {count} invitations cannot all be for one node named {name!r}")
    _invite(
        Authority.open(_authority_folder(authority)), name, count, dt.timedelta(seconds=valid_for_s), wait=not no_wait
    )


@cluster_app.command()
def serve(
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, help="To listen on.")] = DEFAULT_PORT,
    authority: AuthorityOption = None,
) -> None:
    """Admit invited nodes and renew certificates until SIGTERM or Ctrl-C."""
    asyncio.run(_serve(Authority.open(_authority_folder(authority)), port))


@cluster_app.command()
def join(
    invitation: Annotated[str, typer.Argument(metavar="INVITATION", help="The word, or a file that has it.")],
    *,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Of this machine. Default: the host's name.")] = None,
) -> None:
    """Get this machine a certificate."""
    membership = join_cluster(as_invitation(invitation), name)
    _note(_standing(membership))


@cluster_app.command()
def renew() -> None:
    """Get this machine a new certificate, with a new key, now. Nodes do that by themselves in time."""
    now = now_utc()
    _note(_standing(renew_membership(Membership.load(default_membership_folder(os.environ), now), now)))


@cluster_app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the member.")],
    *,
    authority: AuthorityOption = None,
) -> None:
    """Put a member out, and tell the nodes that are there; the others learn it from those when they meet."""
    signed = Authority.open(_authority_folder(authority)).revoke(name, now_utc())
    _note(f"member {name!r} is out")
    _report(asyncio.run(spread(signed)))


@cluster_app.command()
def sign(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help=FAMILY_HELP)],
    *,
    authority: AuthorityOption = None,
) -> None:
    """Let the cluster's nodes load a family's model files, as they are now; no other file is ever loaded by them."""
    loaded = load_family(family_folder(family))
    signed = Authority.open(_authority_folder(authority)).sign_family(loaded)
    _note(f"family {loaded.name!r} is signed: {len(loaded.models)} variants")
    _report(asyncio.run(spread(signed)))


@cluster_app.command()
def show(*, authority: AuthorityOption = None, as_json: JsonOption = False) -> None:
    """Show this machine's membership and, on the authority's machine, all members, open invitations and families."""
    now = now_utc()
    membership = Membership.load(default_membership_folder(os.environ), now)
    folder = _authority_folder(authority)
    ledger = Authority.open(folder).ledger() if (folder / "ledger.json").exists() else None
    if as_json:
        print(msgspec.json.encode(_as_json(membership, ledger)).decode())
        return
    console = console_for()
    console.print(_standing(membership), markup=False)
    signed = ", ".join(family.name for family in membership.charter.families) or "none"
    console.print(f"families that may be loaded: {signed}", markup=False)
    if ledger is not None:
        console.print(_members(ledger, now))


def _invite(authority: Authority, name: str | None, count: int, life: dt.timedelta, *, wait: bool) -> None:
    if name is not None:
        checked_name(name)
    invitations = [authority.invite(now_utc(), life=life, name=name) for _ in range(count)]
    for invitation in invitations:
        print(as_text(invitation), flush=True)
    if wait:
        _note("on the node: equipoise cluster join INVITATION; waiting for it (Ctrl-C ends that, the invitation stays)")
        asyncio.run(_wait_for(authority, invitations))


async def _wait_for(authority: Authority, invitations: list[Invitation]) -> None:
    secrets = [invitation.secret for invitation in invitations]
    waiting = admit_invited(
        authority, secrets, _port_of(authority), now_utc, lambda name: _note(f"{name!r} has joined")
    )
    if await waiting < len(secrets):
        raise TrustError("the invitation expired before it was used; make another one with `equipoise cluster invite`")


async def _serve(authority: Authority, port: int) -> None:
    with interrupted_by(signal.SIGINT, signal.SIGTERM) as stop:
        service = EnrolmentService(authority, now_utc, lambda name: _note(f"certificate for {name!r}"))
        await service.start(None, port)
        _note(f"serving cluster {authority.ledger().cluster!r} on port {port}")
        await stop.wait()
        await service.close()


def _port_of(authority: Authority) -> int:
    """The first port among the addresses that invitations name."""
    return int(authority.ledger().addresses[0].rpartition(":")[2])


def _authority_folder(given: Path | None) -> Path:
    return given if given is not None else default_authority_folder(os.environ)


def _standing(membership: Membership) -> str:
    member = membership.member
    return (
        f"this machine is member {member.name!r} of cluster {membership.cluster!r}, "
        f"until {member.not_after:%Y-%m-%d %H:%M} UTC"
    )


def _report(told: dict[str, str | None]) -> None:
    knowing = sorted(node for node, failure in told.items() if failure is None)
    _note(f"nodes that know it: {', '.join(knowing) or 'none was found'}")
    for node, failure in sorted(told.items()):
        if failure is not None:
            _note(f"warning: not told: node {node}: {failure}")


def _members(ledger: Ledger, now: dt.datetime) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("member", "certificate until (UTC)"):
        table.add_column(heading, overflow="fold")
    for member in sorted(ledger.members, key=lambda one: one.name):
        expired = " (expired)" if member.not_after <= now else ""
        table.add_row(escape(member.name), f"{member.not_after:%Y-%m-%d %H:%M}{expired}")
    for entry in ledger.revoked:
        table.add_row(escape(entry.name), f"revoked; would have run until {entry.until:%Y-%m-%d %H:%M}")
    for invited in ledger.open_invitations(now):
        who = f"invited: {invited.name}" if invited.name else "an open invitation"
        table.add_row(escape(who), f"{invited.expires_at:%Y-%m-%d %H:%M}")
    return table


def _as_json(membership: Membership, ledger: Ledger | None) -> dict[str, object]:
    found: dict[str, object] = {
        "cluster": membership.cluster,
        "member": membership.member.name,
        "expires_at": membership.member.not_after,
        "charter": membership.charter,
    }
    if ledger is not None:
        found |= {
            "members": ledger.members,
            "invitations": [
                {"name": one.name, "expires_at": one.expires_at} for one in ledger.open_invitations(now_utc())
            ],
        }
    return found


def _note(text: str) -> None:
    print(f"equipoise: {text}", file=sys.stderr, flush=True)
