"""Certificates: what the authority vouches for, and what it refuses to."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from equipoise.errors import TrustError
from equipoise.trust.certificates import (
    CLOCK_SKEW,
    SLOTS,
    Issuer,
    all_common_names,
    authority_certificate,
    certificate_from_pem,
    certificate_to_pem,
    cluster_of,
    key_from_pem,
    key_to_pem,
    member_of,
    new_key,
    refuse_outside_validity,
    requested,
    signing_request,
)
from tests.trust.clusters import DAY, NOW

KEY = new_key()
ISSUER = Issuer(authority_certificate(KEY, "home", NOW), KEY)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)


@given(name=NAMES, slot=st.integers(0, SLOTS - 1))
def test_a_member_is_who_its_certificate_says(name: str, slot: int):
    certificate = ISSUER.member_certificate(name, slot, KEY.public_key(), NOW, 90 * DAY)

    member = member_of(ISSUER.certificate, certificate_from_pem(certificate_to_pem(certificate)))

    assert (member.name, member.common_name) == (name, all_common_names()[slot])
    assert (member.not_before, member.not_after) == (NOW - CLOCK_SKEW, NOW + 90 * DAY)


@given(name=NAMES)
def test_a_signing_request_gives_back_name_and_key(name: str):
    found, key = requested(signing_request(KEY, name))

    assert (found, key) == (name, KEY.public_key())


@given(st.binary(max_size=300))
def test_garbage_is_neither_key_nor_certificate_nor_request(junk: bytes):
    for read in (key_from_pem, certificate_from_pem, requested):
        with pytest.raises(TrustError):
            read(junk)


def test_a_key_survives_its_file():
    assert key_from_pem(key_to_pem(KEY)).public_key() == KEY.public_key()


def test_a_request_signed_with_another_key_is_refused():
    request = x509.load_pem_x509_csr(signing_request(KEY, "pi"))
    forged = bytearray(request.public_bytes(Encoding.DER))
    forged[-1] ^= 1
    pem = x509.load_der_x509_csr(bytes(forged)).public_bytes(Encoding.PEM)

    with pytest.raises(TrustError, match="its own key"):
        requested(pem)


def test_a_key_on_another_curve_is_refused():
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pi")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())

    with pytest.raises(TrustError, match="P-256"):
        requested(request.public_bytes(Encoding.PEM))


@pytest.mark.parametrize("name", ["", "a" * 64, "pi 4", "-pi", "pi/4", "pi\n"])
def test_a_name_that_certificates_cannot_carry_is_refused(name: str):
    with pytest.raises(TrustError, match="letters"):
        signing_request(KEY, name)


def test_a_certificate_of_another_authority_is_no_members():
    other_key = new_key()
    other = Issuer(authority_certificate(other_key, "home", NOW), other_key)

    with pytest.raises(TrustError, match="another cluster"):
        member_of(ISSUER.certificate, other.member_certificate("pi", 0, KEY.public_key(), NOW, DAY))


def test_neither_the_service_nor_the_authority_itself_is_a_member():
    for certificate in (ISSUER.service_certificate(KEY.public_key(), NOW, DAY), ISSUER.certificate):
        with pytest.raises(TrustError, match="not a member's"):
            member_of(ISSUER.certificate, certificate)


def test_an_expired_certificate_and_a_wrong_clock_are_told_apart():
    certificate = ISSUER.member_certificate("pi", 0, KEY.public_key(), NOW, DAY)

    refuse_outside_validity(certificate, "'pi'", NOW)
    with pytest.raises(TrustError, match="expired on 2026-03-02"):
        refuse_outside_validity(certificate, "'pi'", NOW + 2 * DAY)
    with pytest.raises(TrustError, match="set the clock"):
        refuse_outside_validity(certificate, "'pi'", dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc))


def test_no_certificate_outlives_its_authority():
    certificate = ISSUER.member_certificate("pi", 0, KEY.public_key(), NOW, 36500 * DAY)

    assert certificate.not_valid_after_utc == ISSUER.certificate.not_valid_after_utc


def test_an_authority_names_its_cluster():
    assert cluster_of(ISSUER.certificate) == "home"
    with pytest.raises(TrustError, match="no certificate of a cluster's authority"):
        cluster_of(ISSUER.member_certificate("pi", 0, KEY.public_key(), NOW, DAY))
