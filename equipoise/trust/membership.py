"""This machine's membership of a cluster: a folder with its key and certificate, the authority's, and the charter."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import msgspec
from cryptography import x509

from equipoise.errors import TrustError, reason_of
from equipoise.trust.certificates import (
    Member,
    certificate_from_pem,
    certificate_to_pem,
    cluster_of,
    fingerprint,
    key_from_pem,
    key_to_pem,
    member_of,
    refuse_outside_validity,
)
from equipoise.trust.charter import Charter, verify
from equipoise.trust.enrolment import Issued
from equipoise.trust.files import locked, make_folder, read_private, write_private
from equipoise.trust.folders import MEMBER_FILE, is_member

RENEW_AT = 2 / 3  # of a certificate's life

_AUTHORITY, _CHARTER, _ADDRESSES = "authority.pem", "charter", "addresses.json"


class Membership:
    """Loaded with `load`, written with `write`. The charter may change while it is in use; the rest does not."""

    def __init__(
        self, folder: Path, member: Member, authority: x509.Certificate, charter: Charter, addresses: tuple[str, ...]
    ) -> None:
        self.folder = folder
        self.member = member
        self.authority = authority
        self.charter = charter
        self.addresses = addresses  # of the authority's service

    @classmethod
    def load(cls, folder: Path, now: dt.datetime) -> Membership:
        """The membership in this folder. Raises TrustError if there is none, or it is not valid at this time."""
        if not is_member(folder):
            raise TrustError(
                f"this machine is in no cluster ({folder} has no certificate); join one with `equipoise node --join "
                "INVITATION` or `equipoise cluster join INVITATION`, make one with `equipoise cluster init`"
            )
        combined = read_private(folder / MEMBER_FILE)
        key_from_pem(combined)
        certificate = certificate_from_pem(combined)
        authority = certificate_from_pem(_read(folder / _AUTHORITY))
        member = member_of(authority, certificate)
        refuse_outside_validity(certificate, f"this machine ({member.name!r})", now)
        charter = verify(_read(folder / _CHARTER), authority)
        addresses = msgspec.json.decode(_read(folder / _ADDRESSES), type=tuple[str, ...])
        return cls(folder, member, authority, charter, addresses)

    @classmethod
    def write(cls, folder: Path, key_pem: bytes, issued: Issued, now: dt.datetime) -> Membership:
        """Keep what the authority has issued for this key. Raises TrustError if it does not fit together."""
        key = key_from_pem(key_pem)
        certificate = certificate_from_pem(issued.certificate_pem)
        authority = certificate_from_pem(issued.authority_pem)
        member_of(authority, certificate)
        verify(issued.charter, authority)
        if certificate.public_key() != key.public_key():
            raise TrustError("the authority has certified another key than the one of this machine")
        make_folder(folder)
        with locked(folder):
            write_private(folder / _AUTHORITY, certificate_to_pem(authority))
            write_private(folder / _CHARTER, issued.charter)
            write_private(folder / _ADDRESSES, msgspec.json.encode(issued.addresses))
            write_private(folder / MEMBER_FILE, key_to_pem(key) + certificate_to_pem(certificate))
        return cls.load(folder, now)

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return cluster_of(self.authority)

    @property
    def fingerprint(self) -> bytes:
        """The authority's: what the cluster is known by."""
        return fingerprint(self.authority)

    @property
    def network(self) -> str:
        """What the cluster is called on the network: two clusters of one name must not mix."""
        return f"{self.cluster}-{self.fingerprint.hex()[:16]}"

    @property
    def certificate_path(self) -> Path:
        """The file with this machine's key and certificate."""
        return self.folder / MEMBER_FILE

    @property
    def authority_path(self) -> Path:
        """The file with the authority's certificate."""
        return self.folder / _AUTHORITY

    def renewal_due(self, now: dt.datetime) -> bool:
        """True once two thirds of the certificate's life are over."""
        life = self.member.not_after - self.member.not_before
        return now >= self.member.not_before + RENEW_AT * life

    def signed_charter(self) -> bytes:
        """The charter as it is sent to others. Raises TrustError."""
        return _read(self.folder / _CHARTER)

    def learn(self, signed: bytes) -> bool:
        """Believe and keep a charter if it is newer than the one that is known; True if it is.

        Raises TrustError if the cluster's authority has not signed it.
        """
        offered = verify(signed, self.authority)
        with locked(self.folder):
            known = verify(_read(self.folder / _CHARTER), self.authority)
            if offered.version > known.version:
                write_private(self.folder / _CHARTER, signed)
                known = offered
        changed = known.version > self.charter.version
        self.charter = known
        return changed

    def client_context(self) -> ssl.SSLContext:
        """For a connection to the authority's service, or to another member, with this machine's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self.authority_path)
        context.load_cert_chain(self.certificate_path)
        return context


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {reason_of(error)}; join the cluster again") from error
