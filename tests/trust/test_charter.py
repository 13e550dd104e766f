"""The charter: only the authority's word counts, and only about what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.errors import TrustError
from equipoise.trust.certificates import (
    SLOTS,
    all_common_names,
    authority_certificate,
    common_name_of,
    fingerprint,
    new_key,
)
from equipoise.trust.charter import Charter, Revoked, SignedFamily, sign, verify
from tests.trust.clusters import DAY, NOW

KEY = new_key()
AUTHORITY = authority_certificate(KEY, "home", NOW)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
FAMILIES = st.builds(
    SignedFamily,
    name=st.text(max_size=9),
    identity=HASHES,
    variants=st.dictionaries(st.text(max_size=9), HASHES),
)
REVOKED = st.builds(
    Revoked,
    name=st.text(max_size=9),
    common_name=st.integers(0, SLOTS - 1).map(common_name_of),
    until=st.integers(-9, 9).map(lambda days: NOW + days * DAY),
)
CHARTERS = st.builds(
    Charter,
    cluster=st.just("home"),
    authority=st.just(fingerprint(AUTHORITY).hex()),
    version=st.integers(1, 2**40),
    revoked=st.lists(REVOKED, max_size=4).map(tuple),
    families=st.lists(FAMILIES, max_size=4).map(tuple),
)


@given(CHARTERS)
def test_a_charter_comes_back_from_its_signed_form(charter: Charter):
    assert verify(sign(charter, KEY), AUTHORITY) == charter


@given(CHARTERS, st.integers(0, 2**20))
def test_a_changed_bit_anywhere_is_noticed(charter: Charter, place: int):
    signed = bytearray(sign(charter, KEY))
    bit = place % (8 * len(signed))
    signed[bit // 8] ^= 1 << bit % 8

    with pytest.raises(TrustError):
        verify(bytes(signed), AUTHORITY)


def test_another_authoritys_charter_is_not_believed():
    other_key = new_key()
    other = authority_certificate(other_key, "home", NOW)
    charter = Charter(cluster="home", authority=fingerprint(other).hex(), version=9)

    with pytest.raises(TrustError, match="not signed by this cluster's authority"):
        verify(sign(charter, other_key), AUTHORITY)
    with pytest.raises(TrustError, match="of another authority"):
        verify(sign(charter, KEY), AUTHORITY)


@given(CHARTERS)
def test_everybody_is_admitted_but_the_revoked_whose_certificates_still_run(charter: Charter):
    admitted = charter.admitted(NOW)

    out = {entry.common_name for entry in charter.revoked if entry.until > NOW}
    assert set(admitted) == set(all_common_names()) - out


@given(CHARTERS, HASHES)
def test_only_files_of_signed_families_are_signed(charter: Charter, other: str):
    files = {sha256 for family in charter.families for sha256 in family.variants.values()}

    assert all(map(charter.signs, files))
    assert charter.signs(other) == (other in files)
