"""What an authority keeps: who was invited, who is in and until when, who is out, which families are signed.

Pure: every change is a new ledger.
"""

from __future__ import annotations

import datetime as dt
import hmac

import msgspec

from equipoise.errors import TrustError
from equipoise.trust.certificates import SLOTS, common_name_of
from equipoise.trust.charter import Charter, Revoked, SignedFamily
from equipoise.trust.invitation import secret_hash


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation that was given out; `name` if only a node of that name may use it."""

    secret_sha256: str
    expires_at: dt.datetime
    name: str | None = None
    used_by: str | None = None


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A member with a certificate, and when its latest one expires."""

    name: str
    slot: int
    not_after: dt.datetime


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it. `version` grows with every change that the charter tells; `addresses` are the service's."""

    cluster: str
    addresses: tuple[str, ...]
    certificate_life: dt.timedelta = dt.timedelta(days=90)
    version: int = 1
    invitations: tuple[Invited, ...] = ()
    members: tuple[Admitted, ...] = ()
    revoked: tuple[Revoked, ...] = ()
    families: tuple[SignedFamily, ...] = ()

    def charter(self, authority: str) -> Charter:
        """What of it is for every machine; `authority` is the fingerprint in hexadecimal."""
        return Charter(
            cluster=self.cluster,
            authority=authority,
            version=self.version,
            revoked=self.revoked,
            families=self.families,
        )

    def member(self, name: str) -> Admitted | None:
        """The member of that name, be its certificate expired or not; None if there is none."""
        return next((member for member in self.members if member.name == name), None)

    def invitation(self, secret: bytes) -> Invited | None:
        """The invitation with this secret."""
        wanted = secret_hash(secret)
        return next((one for one in self.invitations if hmac.compare_digest(one.secret_sha256, wanted)), None)

    def open_invitations(self, now: dt.datetime) -> tuple[Invited, ...]:
        """Those that can still be used."""
        return tuple(one for one in self.invitations if one.used_by is None and one.expires_at > now)


def with_invitation(ledger: Ledger, invited: Invited, now: dt.datetime) -> Ledger:
    """The ledger with one more invitation, without those that have long expired."""
    kept = tuple(one for one in ledger.invitations if one.expires_at > now - dt.timedelta(days=30))
    return msgspec.structs.replace(ledger, invitations=(*kept, invited))


def accept_invitation(ledger: Ledger, secret: bytes, name: str, now: dt.datetime) -> Ledger:
    """The ledger with the invitation used up by `name`. Raises TrustError, saying why not."""
    invited = ledger.invitation(secret)
    if invited is None:
        raise TrustError("this authority knows no such invitation; make one with `equipoise cluster invite`")
    if invited.used_by is not None:
        raise TrustError(f"the invitation was used by {invited.used_by!r}; each is good for one node")
    if invited.expires_at <= now:
        raise TrustError(f"the invitation expired on {invited.expires_at:%Y-%m-%d %H:%M} UTC; make another one")
    if invited.name is not None and invited.name != name:
        raise TrustError(f"the invitation is for a node named {invited.name!r}, not {name!r}")
    member = ledger.member(name)
    if member is not None and member.not_after > now and invited.name is None:
        raise TrustError(
            f"there is a member named {name!r} already; choose another name with --name, or if it is the same machine "
            f"set up anew, invite it by name: `equipoise cluster invite {name}`"
        )
    used = msgspec.structs.replace(invited, used_by=name)
    invitations = tuple(used if one is invited else one for one in ledger.invitations)
    return msgspec.structs.replace(ledger, invitations=invitations)


def slot_for(ledger: Ledger, name: str, now: dt.datetime) -> int:
    """The slot that a certificate for `name` gets: its own, otherwise a free one. Raises TrustError if none is."""
    member = ledger.member(name)
    if member is not None:
        return member.slot
    taken = {one.slot for one in ledger.members if one.not_after > now}
    out = {entry.common_name for entry in ledger.revoked if entry.until > now}
    for slot in range(SLOTS):
        if slot not in taken and common_name_of(slot) not in out:
            return slot
    raise TrustError(f"the cluster is full: {SLOTS} certificates are valid or revoked before their time")


def with_member(ledger: Ledger, admitted: Admitted) -> Ledger:
    """The ledger with this member, in place of an earlier one of its name or in its slot."""
    earlier = ledger.member(admitted.name)
    if earlier is not None:  # whose longer certificate is still about
        admitted = msgspec.structs.replace(admitted, not_after=max(earlier.not_after, admitted.not_after))
    others = tuple(one for one in ledger.members if one.name != admitted.name and one.slot != admitted.slot)
    return msgspec.structs.replace(ledger, members=(*others, admitted))


def without_member(ledger: Ledger, name: str, now: dt.datetime) -> Ledger:
    """The ledger with this member revoked. Raises TrustError if there is none of that name."""
    member = ledger.member(name)
    if member is None:
        known = ", ".join(sorted(one.name for one in ledger.members)) or "none"
        raise TrustError(f"there is no member named {name!r}; members: {known}")
    entry = Revoked(name=name, common_name=common_name_of(member.slot), until=member.not_after)
    still = tuple(one for one in ledger.revoked if one.until > now)
    return msgspec.structs.replace(
        ledger,
        members=tuple(one for one in ledger.members if one.name != name),
        revoked=(*still, entry),
        version=ledger.version + 1,
    )


def with_family(ledger: Ledger, family: SignedFamily) -> Ledger:
    """The ledger with this family signed, in place of an earlier one of its name."""
    others = tuple(one for one in ledger.families if one.name != family.name)
    return msgspec.structs.replace(ledger, families=(*others, family), version=ledger.version + 1)
