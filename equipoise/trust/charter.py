"""The charter: what a cluster's authority has decided, signed: who is out, and which model files are in.

It spreads from machine to machine; each believes the highest version that carries the authority's signature.
"""

from __future__ import annotations

import datetime as dt

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from equipoise.core.family import Sha256
from equipoise.errors import TrustError
from equipoise.trust.certificates import all_common_names, fingerprint

_PURPOSE = b"equipoise charter 1\0"  # so that no other signature of the key can pass for one of these


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """A member that is out; once its certificates have expired by themselves, at `until`, its slot is free again."""

    name: str
    common_name: str
    until: dt.datetime


class SignedFamily(msgspec.Struct, frozen=True, kw_only=True):
    """A family whose model files may be loaded: its identity, and the SHA-256 of each variant's file."""

    name: str
    identity: Sha256
    variants: dict[str, Sha256]


class Charter(msgspec.Struct, frozen=True, kw_only=True):
    """The decisions in force."""

    cluster: str
    authority: str  # the fingerprint of its certificate, in hexadecimal
    version: int
    revoked: tuple[Revoked, ...] = ()
    families: tuple[SignedFamily, ...] = ()

    def admitted(self, now: dt.datetime) -> tuple[str, ...]:
        """The common names that may enter."""
        out = {entry.common_name for entry in self.revoked if entry.until > now}
        return tuple(name for name in all_common_names() if name not in out)

    def signs(self, model_sha256: str) -> bool:
        """True if a model file with this SHA-256 may be loaded."""
        return any(model_sha256 in family.variants.values() for family in self.families)


class _Signed(msgspec.Struct, frozen=True, array_like=True):
    body: bytes
    signature: bytes


def sign(charter: Charter, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The charter as it is kept and sent."""
    body = msgspec.msgpack.encode(charter)
    return msgspec.msgpack.encode(_Signed(body, key.sign(_PURPOSE + body, ec.ECDSA(hashes.SHA256()))))


def verify(signed: bytes, authority: x509.Certificate) -> Charter:
    """The charter, if this authority signed it. Raises TrustError."""
    try:
        envelope = msgspec.msgpack.decode(signed, type=_Signed)
        key = authority.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(envelope.signature, _PURPOSE + envelope.body, ec.ECDSA(hashes.SHA256()))
        charter = msgspec.msgpack.decode(envelope.body, type=Charter)
    except InvalidSignature:
        raise TrustError("the charter is not signed by this cluster's authority") from None
    except msgspec.DecodeError as error:
        raise TrustError(f"the charter cannot be read: {error}") from None
    if charter.authority != fingerprint(authority).hex():
        raise TrustError("the charter is of another authority")
    return charter
