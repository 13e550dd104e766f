"""A node's membership while it runs: charters are heard and told, the certificate is renewed in time."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable

from equipoise.errors import TrustError
from equipoise.fabric import charter
from equipoise.fabric.base import Fabric
from equipoise.fabric.config import Credentials, credentials_of
from equipoise.node.log import NodeLog
from equipoise.trust.charter import Revoked
from equipoise.trust.joining import renew
from equipoise.trust.membership import Membership

_CHECK_AT_MOST_S = 3600.0
_CHECKS_PER_LIFE = 100  # of a certificate; so often is tried to renew it in its last third, too


def now_utc() -> dt.datetime:
    """The time, which certificates depend on."""
    return dt.datetime.now(dt.timezone.utc)


class Standing:
    """What a node shows to others, whom it lets in and what it may load; all of that changes while it runs.

    `on_signed` is called on the event loop's thread when the families that may be loaded have changed.
    """

    def __init__(self, membership: Membership, log: NodeLog, on_signed: Callable[[], None]) -> None:
        self._membership = membership
        self._log = log
        self._on_signed = on_signed
        self._heard = asyncio.Event()  # a newer charter
        self._families = membership.charter.families
        self._shown = self._state()

    def may_load(self, model_sha256: str) -> bool:
        """True if the cluster has signed a model file with this SHA-256. May be called on any thread."""
        return self._membership.charter.signs(model_sha256)

    def may_adopt(self, identity: str) -> bool:
        """True if the cluster has signed the family of this identity."""
        return any(family.identity == identity for family in self._membership.charter.families)

    def credentials(self) -> Credentials:
        """For a session that is opened now; `outdated` tells when another one is needed."""
        self._shown = self._state()
        return credentials_of(self._membership, now_utc())

    async def answer(self, theirs: bytes) -> bytes:
        """What to say to somebody's charter. Raises TrustError if it is not the authority's."""
        mine = await charter.answer(self._membership, theirs)
        self._take_in()
        return mine

    async def meet(self, fabric: Fabric, node: str) -> None:
        """Tell a node this one's charter and learn its; if that fails, the next meeting will do."""
        told = await charter.exchange(fabric, self._membership, [node])
        if (reason := told[node]) is not None:
            self._log("charter not told", to=node, reason=reason)
        self._take_in()

    async def outdated(self) -> str:
        """Wait until the session has to be opened anew, and why: somebody was put out, or the certificate is new."""
        life_s = (self._membership.member.not_after - self._membership.member.not_before).total_seconds()
        check_s = min(_CHECK_AT_MOST_S, life_s / _CHECKS_PER_LIFE)
        while True:
            await self._renew_if_due()
            certificate, revoked = self._state()
            if revoked != self._shown[1]:
                return "revoked: " + (", ".join(entry.name for entry in revoked) or "nobody any more")
            if certificate != self._shown[0]:
                return "a new certificate"
            try:
                await asyncio.wait_for(self._heard.wait(), check_s)
            except asyncio.TimeoutError:
                continue
            self._heard.clear()

    def _state(self) -> tuple[int, tuple[Revoked, ...]]:
        return self._membership.member.serial, self._membership.charter.revoked

    def _take_in(self) -> None:
        known = self._membership.charter
        if known.families != self._families:
            self._families = known.families
            self._log("signed families", families=",".join(family.name for family in known.families) or None)
            self._on_signed()
        if known.revoked != self._shown[1]:
            self._heard.set()

    async def _renew_if_due(self) -> None:
        if not self._membership.renewal_due(now_utc()):
            return
        try:
            self._membership = await asyncio.to_thread(_renewed, self._membership)
        except TrustError as error:
            self._log("not renewed", until=f"{self._membership.member.not_after:%Y-%m-%dT%H:%MZ}", reason=error)
        else:
            self._log("renewed", until=f"{self._membership.member.not_after:%Y-%m-%dT%H:%MZ}")


def _renewed(membership: Membership) -> Membership:
    """With a later certificate: the one in the folder, if somebody else has renewed it, or one that is asked for."""
    present = Membership.load(membership.folder, now_utc())
    return present if not present.renewal_due(now_utc()) else renew(present, now_utc())
