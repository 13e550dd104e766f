"""A cluster's authority: a folder with its key, its certificate and its ledger."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from equipoise.core.family import Family
from equipoise.errors import TrustError, reason_of
from equipoise.families.identity import identity_of
from equipoise.trust import ledger as ledgers
from equipoise.trust.certificates import (
    Issuer,
    authority_certificate,
    certificate_from_pem,
    certificate_to_pem,
    common_name_of,
    fingerprint,
    key_from_pem,
    key_to_pem,
    new_key,
    requested,
)
from equipoise.trust.charter import SignedFamily, sign
from equipoise.trust.enrolment import Issued
from equipoise.trust.files import locked, make_folder, read_private, write_private
from equipoise.trust.invitation import Invitation, secret_hash
from equipoise.trust.ledger import Admitted, Invited, Ledger

INVITATION_LIFE = dt.timedelta(hours=1)
SERVICE_LIFE = dt.timedelta(days=30)

_KEY, _CERTIFICATE, _LEDGER, _SERVICE = "authority.key", "authority.pem", "ledger.json", "service.pem"


class Renewal(NamedTuple):
    """Who asks for a new certificate, as the one it has says."""

    name: str
    common_name: str


class Authority:
    """Opened with `open`, made with `create`. Several processes may use one folder: every change is read anew."""

    def __init__(self, folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self.folder = folder
        self.certificate = certificate
        self._issuer = Issuer(certificate, key)

    @classmethod
    def create(cls, folder: Path, ledger: Ledger, now: dt.datetime) -> Authority:
        """Make an authority for the ledger's cluster.

        Raises TrustError, also if the folder has an authority: its cluster would be lost.
        """
        if (folder / _KEY).exists():
            raise TrustError(f"{folder} has an authority already; name another folder, or go on with that one")
        key = new_key()
        certificate = authority_certificate(key, ledger.cluster, now)
        make_folder(folder)
        write_private(folder / _LEDGER, _encoded(ledger))
        write_private(folder / _CERTIFICATE, certificate_to_pem(certificate))
        write_private(folder / _KEY, key_to_pem(key))
        return cls(folder, key, certificate)

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """The authority in this folder. Raises TrustError."""
        if not (folder / _KEY).exists():
            raise TrustError(
                f"{folder} has no authority; `equipoise cluster init` makes one, and the machine where that was done "
                "is the one to invite, revoke and sign on"
            )
        key = key_from_pem(read_private(folder / _KEY))
        return cls(folder, key, certificate_from_pem(read_private(folder / _CERTIFICATE)))

    def ledger(self) -> Ledger:
        """How things stand. Raises TrustError."""
        path = self.folder / _LEDGER
        try:
            return msgspec.json.decode(path.read_bytes(), type=Ledger)
        except OSError as error:
            raise TrustError(f"{path}: cannot be read: {reason_of(error)}") from error
        except msgspec.DecodeError as error:
            raise TrustError(f"{path}: is damaged: {error}") from error

    def charter(self) -> bytes:
        """What it has decided, signed."""
        return sign(self.ledger().charter(fingerprint(self.certificate).hex()), self._issuer.key)

    def invite(self, now: dt.datetime, *, life: dt.timedelta = INVITATION_LIFE, name: str | None = None) -> Invitation:
        """A new invitation, good for one node, of this name if one is given."""
        secret = secrets.token_bytes(16)
        invited = Invited(secret_sha256=secret_hash(secret), expires_at=now + life, name=name)
        ledger = self._change(lambda ledger: ledgers.with_invitation(ledger, invited, now))
        return Invitation(
            cluster=ledger.cluster,
            addresses=ledger.addresses,
            fingerprint=fingerprint(self.certificate),
            secret=secret,
        )

    def join(self, secret: bytes, request_pem: bytes, now: dt.datetime) -> Issued:
        """A certificate for an invited node. Raises TrustError, saying why not; then the invitation stays good."""
        name, public_key = requested(request_pem)
        return self._issue(name, public_key, now, lambda ledger: ledgers.accept_invitation(ledger, secret, name, now))

    def renew(self, asker: Renewal, request_pem: bytes, now: dt.datetime) -> Issued:
        """A new certificate for a member that has shown a valid one. Raises TrustError if that one is revoked."""
        name, public_key = requested(request_pem)

        def permit(ledger: Ledger) -> Ledger:
            member = ledger.member(asker.name)
            if member is None or common_name_of(member.slot) != asker.common_name:
                raise TrustError(f"member {asker.name!r} was revoked; it needs a new invitation")
            if name != asker.name:
                raise TrustError(f"member {asker.name!r} cannot have a certificate for {name!r}")
            return ledger

        return self._issue(name, public_key, now, permit)

    def admit_this_machine(self, request_pem: bytes, now: dt.datetime) -> Issued:
        """A certificate for whoever has the authority itself, in need of no invitation."""
        name, public_key = requested(request_pem)
        return self._issue(name, public_key, now, lambda ledger: ledger)

    def revoke(self, name: str, now: dt.datetime) -> bytes:
        """The charter that puts this member out. Raises TrustError if there is none of that name."""
        self._change(lambda ledger: ledgers.without_member(ledger, name, now))
        return self.charter()

    def sign_family(self, family: Family) -> bytes:
        """The charter that lets the family's model files, as they are, be loaded."""
        signed = SignedFamily(
            name=family.name,
            identity=identity_of(family),
            variants={model.name: model.sha256 for model in family.models},
        )
        self._change(lambda ledger: ledgers.with_family(ledger, signed))
        return self.charter()

    def service_identity(self, now: dt.datetime) -> Path:
        """A file with a fresh key and certificate for the service that admits nodes."""
        key = new_key()
        certificate = self._issuer.service_certificate(key.public_key(), now, SERVICE_LIFE)
        path = self.folder / _SERVICE
        write_private(path, key_to_pem(key) + certificate_to_pem(certificate))
        return path

    @property
    def certificate_path(self) -> Path:
        """Where its certificate is."""
        return self.folder / _CERTIFICATE

    def _issue(
        self,
        name: str,
        public_key: ec.EllipticCurvePublicKey,
        now: dt.datetime,
        permit: Callable[[Ledger], Ledger],
    ) -> Issued:
        slot = -1

        def enter(ledger: Ledger) -> Ledger:
            nonlocal slot
            ledger = permit(ledger)
            slot = ledgers.slot_for(ledger, name, now)
            return ledgers.with_member(ledger, Admitted(name=name, slot=slot, not_after=now + ledger.certificate_life))

        ledger = self._change(enter)
        certificate = self._issuer.member_certificate(name, slot, public_key, now, ledger.certificate_life)
        return Issued(
            certificate_pem=certificate_to_pem(certificate),
            authority_pem=certificate_to_pem(self.certificate),
            charter=self.charter(),
            addresses=ledger.addresses,
        )

    def _change(self, change: Callable[[Ledger], Ledger]) -> Ledger:
        with locked(self.folder):
            changed = change(self.ledger())
            write_private(self.folder / _LEDGER, _encoded(changed))
        return changed


def _encoded(ledger: Ledger) -> bytes:
    return msgspec.json.format(msgspec.json.encode(ledger), indent=1)
