"""Invitations: one word that survives mail and terminals, and tells when it did not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.errors import TrustError
from equipoise.trust.invitation import Invitation, as_text, from_text

INVITATIONS = st.builds(
    Invitation,
    cluster=st.text(min_size=1, max_size=30),
    addresses=st.lists(
        st.sampled_from(["192.168.1.4:7449", "[fe80::1]:7449", "pi.local:1"]), min_size=1, max_size=5
    ).map(tuple),
    fingerprint=st.binary(min_size=32, max_size=32),
    secret=st.binary(min_size=16, max_size=16),
)
ONE = Invitation(cluster="home", addresses=("pi.local:7449",), fingerprint=bytes(32), secret=b"0123456789abcdef")


@given(INVITATIONS)
def test_an_invitation_comes_back_from_its_text(invitation: Invitation):
    text = as_text(invitation)

    assert from_text(text) == invitation
    assert from_text(f"  {text[:40]}\n   {text[40:]}\n") == invitation
    assert text.replace("-", "").replace("_", "").replace(".", "").isalnum()


@given(INVITATIONS, st.data())
def test_a_cut_or_mistyped_invitation_is_noticed(invitation: Invitation, data: st.DataObject):
    text = as_text(invitation)
    place = data.draw(st.integers(len("equipoise-join-1."), len(text) - 2))
    other = data.draw(st.sampled_from([c for c in "aZ0_" if c != text[place]]))

    for wrong in (text[:place], text[:place] + other + text[place + 1 :]):
        with pytest.raises(TrustError, match="copy it whole"):
            from_text(wrong)


def test_something_else_is_no_invitation():
    with pytest.raises(TrustError, match="equipoise cluster invite"):
        from_text("hello")


def test_the_secret_is_not_shown_where_an_invitation_is():
    assert "0123456789abcdef" not in repr(ONE)
