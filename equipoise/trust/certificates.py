"""Certificates as bytes and the checks on them: an authority's own, signing requests, and what members get.

Pure but for the randomness of keys and serial numbers: the time is an argument. All keys are ECDSA on P-256, which
every TLS library knows. Files are PEM.

A member's *common name* is one of a fixed number of slots ("member-017"), because Zenoh's access control lists common
names and can only be changed by reconnecting: every slot that is not revoked may enter, so that a newcomer disturbs
nobody. The member's own name stands in the subject alternative name.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from equipoise.errors import TrustError

SLOTS = 256
SERVICE_HOST = "authority.equipoise.internal"  # whom a joining node expects at the other end
CLOCK_SKEW = dt.timedelta(days=1)  # boards without a battery may be behind
AUTHORITY_LIFE = dt.timedelta(days=3650)

_MEMBER_URI = "equipoise:member:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What a member's certificate says."""

    name: str
    common_name: str
    serial: int
    not_before: dt.datetime
    not_after: dt.datetime


def checked_name(name: str, what: str = "a member's name") -> str:
    """The name, if certificates can carry it. Raises TrustError."""
    if not _NAME.fullmatch(name):
        raise TrustError(f"{what} must be 1 to 63 letters, digits, dots, dashes or underscores, not {name!r}")
    return name


def common_name_of(slot: int) -> str:
    """The common name that stands for a slot."""
    return f"member-{slot:03d}"


def all_common_names() -> tuple[str, ...]:
    """The common name of every slot."""
    return tuple(map(common_name_of, range(SLOTS)))


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh private key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as it is kept on disk: not encrypted, so the file must be its owner's alone."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_from_pem(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The private key in a file of `key_to_pem`. Raises TrustError."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise TrustError(f"no private key that can be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError("the private key is of another kind than Equipoise makes (ECDSA, P-256)")
    return key


def certificate_from_pem(pem: bytes) -> x509.Certificate:
    """The certificate in a PEM file. Raises TrustError."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise TrustError(f"no certificate that can be read: {error}") from None


def certificate_to_pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: x509.Certificate) -> bytes:
    """The SHA-256 of a certificate, 32 bytes; an authority is known by it."""
    return certificate.fingerprint(hashes.SHA256())


def authority_certificate(key: ec.EllipticCurvePrivateKey, cluster: str, now: dt.datetime) -> x509.Certificate:
    """The self-signed certificate of a cluster's authority, valid for ten years."""
    subject = x509.Name(
        [
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"authority of {checked_name(cluster, 'the name of a cluster')}"[:64]
            ),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
        ]
    )
    return (
        _draft(subject, subject, key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def cluster_of(authority: x509.Certificate) -> str:
    """The name of the cluster that an authority's certificate is for. Raises TrustError."""
    names = authority.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if len(names) != 1:
        raise TrustError("this is no certificate of a cluster's authority")
    return str(names[0].value)


def signing_request(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """A request, as PEM, for a certificate under `name`. It proves that the asker has the key, which stays there."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, checked_name(name))])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def requested(pem: bytes) -> tuple[str, ec.EllipticCurvePublicKey]:
    """The name and the key that a signing request asks for. Nothing else in it counts.

    Raises TrustError if it was not signed with that very key, or is malformed.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = request.public_key()
        is_sound = request.is_signature_valid
    except (ValueError, TypeError) as error:
        raise TrustError(f"no signing request that can be read: {error}") from None
    if not is_sound or len(names) != 1 or not isinstance(key, ec.EllipticCurvePublicKey):
        raise TrustError("the signing request is not signed with its own key (ECDSA, P-256)")
    if not isinstance(key.curve, ec.SECP256R1):
        raise TrustError(f"the key of the signing request is on the curve {key.curve.name}, not on P-256")
    return checked_name(str(names[0].value)), key


@dataclass(frozen=True, slots=True)
class Issuer:
    """What certificates are made with: the authority's certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def member_certificate(
        self, name: str, slot: int, public_key: ec.EllipticCurvePublicKey, now: dt.datetime, life: dt.timedelta
    ) -> x509.Certificate:
        """A member's certificate, good for both ends of a connection. Raises TrustError if the name will not do."""
        member = x509.UniformResourceIdentifier(_MEMBER_URI + checked_name(name))
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._signed(self._leaf(common_name_of(slot), public_key, now, life), member, usages)

    def service_certificate(
        self, public_key: ec.EllipticCurvePublicKey, now: dt.datetime, life: dt.timedelta
    ) -> x509.Certificate:
        """The certificate of the service that admits nodes. No member's will ever do for it, nor it for a member's."""
        draft = self._leaf("authority", public_key, now, life)
        return self._signed(draft, x509.DNSName(SERVICE_HOST), [ExtendedKeyUsageOID.SERVER_AUTH])

    def _leaf(
        self, common_name: str, public_key: ec.EllipticCurvePublicKey, now: dt.datetime, life: dt.timedelta
    ) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        life = min(life, self.certificate.not_valid_after_utc - now)
        return _draft(subject, self.certificate.subject, public_key, now, life)

    def _signed(
        self, draft: x509.CertificateBuilder, alternative: x509.GeneralName, usages: list[x509.ObjectIdentifier]
    ) -> x509.Certificate:
        return (
            draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def member_of(authority: x509.Certificate, certificate: x509.Certificate) -> Member:
    """What a member's certificate says. Raises TrustError unless this authority made it."""
    try:
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature):
        raise TrustError("the certificate is of another cluster's authority") from None
    except x509.ExtensionNotFound:
        raise TrustError("the certificate is not a member's") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(uris) != 1 or not uris[0].startswith(_MEMBER_URI) or len(common_names) != 1:
        raise TrustError("the certificate is not a member's")
    return Member(
        name=uris[0].removeprefix(_MEMBER_URI),
        common_name=str(common_names[0].value),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def refuse_outside_validity(certificate: x509.Certificate, whose: str, now: dt.datetime) -> None:
    """Raise TrustError if the certificate is not valid at this time."""
    if now > certificate.not_valid_after_utc:
        raise TrustError(
            f"the certificate of {whose} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; it needs a "
            "new invitation (`equipoise cluster invite`), or this machine's clock is wrong"
        )
    if now < certificate.not_valid_before_utc:
        raise TrustError(
            f"the certificate of {whose} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only, and "
            f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC: set the clock"
        )


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, life: dt.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + life)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
