"""The authority: whom it lets in, for how long, and whom no more."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from equipoise.core.family import Family
from equipoise.errors import TrustError
from equipoise.trust.authority import Authority, Renewal
from equipoise.trust.certificates import SLOTS, certificate_from_pem, member_of, new_key, signing_request
from equipoise.trust.charter import Charter, verify
from equipoise.trust.ledger import Admitted, Ledger, slot_for, with_member
from equipoise.trust.membership import Membership
from tests.trust.clusters import DAY, HOUR, NOW, authority_in, member_of_cluster

KEY = new_key()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return authority_in(tmp_path)


def request(name: str, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    return signing_request(key, name)


def charter_of(authority: Authority) -> Charter:
    return verify(authority.charter(), authority.certificate)


def test_an_invited_node_becomes_a_member(authority: Authority):
    invitation = authority.invite(NOW)

    issued = authority.join(invitation.secret, request("pi-4"), NOW)

    member = member_of(authority.certificate, certificate_from_pem(issued.certificate_pem))
    assert (member.name, member.not_after) == ("pi-4", NOW + 90 * DAY)
    assert [one.used_by for one in authority.ledger().invitations] == ["pi-4"]


def test_nothing_secret_of_an_invitation_is_kept_and_keys_are_their_owners_alone(authority: Authority):
    invitation = authority.invite(NOW)

    assert invitation.secret.hex() not in (authority.folder / "ledger.json").read_text()
    assert {path.stat().st_mode & 0o077 for path in (authority.folder, *authority.folder.iterdir())} == {0}


def test_an_invitation_is_good_once_for_an_hour_and_for_whom_it_names(authority: Authority):
    used, expired, named = authority.invite(NOW), authority.invite(NOW), authority.invite(NOW, name="nano")
    authority.join(used.secret, request("pi-4"), NOW)

    for secret, name, now, why in (
        (used.secret, "pi-5", NOW, "was used by 'pi-4'"),
        (expired.secret, "pi-5", NOW + HOUR, "expired"),
        (named.secret, "pi-5", NOW, "named 'nano'"),
        (bytes(16), "pi-5", NOW, "no such invitation"),
    ):
        with pytest.raises(TrustError, match=why):
            authority.join(secret, request(name), now)


def test_a_members_name_is_its_own_until_it_is_invited_anew_by_name(authority: Authority):
    authority.join(authority.invite(NOW).secret, request("pi-4"), NOW)

    with pytest.raises(TrustError, match="equipoise cluster invite pi-4"):
        authority.join(authority.invite(NOW).secret, request("pi-4"), NOW)
    authority.join(authority.invite(NOW, name="pi-4").secret, request("pi-4"), NOW)

    assert [member.name for member in authority.ledger().members] == ["pi-4"]


def test_a_member_renews_with_a_new_key_and_keeps_its_common_name(authority: Authority, tmp_path: Path):
    member = member_of_cluster(authority, tmp_path, "pi-4").member
    later = NOW + 60 * DAY

    issued = authority.renew(Renewal("pi-4", member.common_name), request("pi-4"), later)

    renewed = member_of(authority.certificate, certificate_from_pem(issued.certificate_pem))
    assert (renewed.common_name, renewed.not_after) == (member.common_name, later + 90 * DAY)


def test_a_member_cannot_get_a_certificate_for_another_name(authority: Authority, tmp_path: Path):
    member = member_of_cluster(authority, tmp_path, "pi-4").member

    with pytest.raises(TrustError, match="cannot have a certificate for 'nano'"):
        authority.renew(Renewal("pi-4", member.common_name), request("nano"), NOW)


def test_a_revoked_member_is_out_and_may_come_back_under_another_common_name(authority: Authority, tmp_path: Path):
    before = member_of_cluster(authority, tmp_path, "pi-4").member

    authority.revoke("pi-4", NOW)

    assert before.common_name not in charter_of(authority).admitted(NOW)
    with pytest.raises(TrustError, match="was revoked"):
        authority.renew(Renewal("pi-4", before.common_name), request("pi-4"), NOW)
    authority.join(authority.invite(NOW).secret, request("pi-4"), NOW)
    after = member_of_cluster(authority, tmp_path, "pi-4").member
    assert after.common_name != before.common_name
    assert after.common_name in charter_of(authority).admitted(NOW)


def test_who_is_no_member_cannot_be_revoked(authority: Authority):
    with pytest.raises(TrustError, match="no member named 'pi-9'; members: none"):
        authority.revoke("pi-9", NOW)


def test_signing_a_family_admits_its_files_and_signing_it_again_replaces_them(
    authority: Authority, tiny_family: Family
):
    authority.sign_family(tiny_family)
    changed = tuple(msgspec.structs.replace(model, sha256="0" * 64) for model in tiny_family.models)
    first = charter_of(authority)
    authority.sign_family(msgspec.structs.replace(tiny_family, models=changed))
    second = charter_of(authority)

    assert (first.signs(tiny_family.models[0].sha256), second.signs(tiny_family.models[0].sha256)) == (True, False)
    assert second.version == first.version + 1


def test_a_cluster_is_full_when_every_slot_is_taken_and_expired_members_make_room():
    ledger = Ledger(cluster="home", addresses=())
    for slot in range(SLOTS):
        not_after = NOW + DAY if slot else NOW
        ledger = with_member(ledger, Admitted(name=f"node-{slot}", slot=slot, not_after=not_after))

    assert slot_for(ledger, "late", NOW) == 0
    with pytest.raises(TrustError, match="full"):
        slot_for(ledger, "late", NOW - DAY)


def test_an_authority_is_never_replaced(authority: Authority):
    with pytest.raises(TrustError, match="already"):
        Authority.create(authority.folder, Ledger(cluster="home", addresses=()), NOW)
    assert Authority.open(authority.folder).certificate == authority.certificate


def test_a_folder_without_authority_says_where_one_would_be(tmp_path: Path):
    with pytest.raises(TrustError, match="equipoise cluster init"):
        Authority.open(tmp_path)


def test_a_membership_learns_newer_charters_only(authority: Authority, tmp_path: Path):
    membership = member_of_cluster(authority, tmp_path, "pi-4")
    old = authority.charter()
    member_of_cluster(authority, tmp_path, "nano")
    new = authority.revoke("nano", NOW)

    assert [membership.learn(signed) for signed in (old, new, old, new)] == [False, True, False, False]
    assert Membership.load(membership.folder, NOW).charter == membership.charter
    assert membership.charter.version == 2


def test_a_membership_with_an_open_key_is_refused(authority: Authority, tmp_path: Path):
    membership = member_of_cluster(authority, tmp_path, "pi-4")
    membership.certificate_path.chmod(0o644)

    with pytest.raises(TrustError, match="chmod 600"):
        Membership.load(membership.folder, NOW)


def test_a_certificate_is_due_for_renewal_after_two_thirds_of_its_life(authority: Authority, tmp_path: Path):
    membership = member_of_cluster(authority, tmp_path, "pi-4")

    assert [membership.renewal_due(NOW + days * DAY) for days in (0, 59, 60)] == [False, False, True]


def test_a_machine_in_no_cluster_is_told_how_to_join(tmp_path: Path):
    with pytest.raises(TrustError, match="--join"):
        Membership.load(tmp_path, NOW)
