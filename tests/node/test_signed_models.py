"""A node of a closed cluster loads only what the cluster's authority has signed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from equipoise.core.cluster import Profile
from equipoise.core.family import Family, Model
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import ModelError
from equipoise.families.manifest import load_family
from equipoise.node.engines import LoadedModels
from equipoise.node.memory import ModelMemory
from equipoise.node.repertoire import Repertoire
from equipoise.trust.authority import Authority
from tests.trust.clusters import NOW, authority_in, member_of_cluster


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return authority_in(tmp_path)


def models_of(family: Family, authority: Authority, folder: Path) -> tuple[LoadedModels, str]:
    membership = member_of_cluster(authority, folder, "pi", NOW)
    repertoire = Repertoire(membership.charter.signs)
    identity = repertoire.add(family)
    return LoadedModels(repertoire, LocalProcessor(name="cpu", threads=1), ModelMemory()), identity


def test_a_signed_family_is_loaded(authority: Authority, tiny_family: Family, tmp_path: Path):
    authority.sign_family(tiny_family)
    models, identity = models_of(tiny_family, authority, tmp_path)

    models.get((identity, "small"))

    assert models.keys == ((identity, "small"),)
    models.close()


def test_a_family_that_nobody_signed_is_not(authority: Authority, tiny_family: Family, tmp_path: Path):
    models, identity = models_of(tiny_family, authority, tmp_path)

    with pytest.raises(ModelError, match="equipoise cluster sign"):
        models.get((identity, "small"))
    assert models.keys == ()


def test_what_is_not_signed_is_not_offered_until_it_is(authority: Authority, tiny_family: Family, tmp_path: Path):
    membership = member_of_cluster(authority, tmp_path, "pi", NOW)

    def signed_now(sha256: str) -> bool:
        return membership.charter.signs(sha256)

    repertoire = Repertoire(signed_now)
    identity = repertoire.add(tiny_family)
    repertoire.learn(identity, "cpu", Profile(variant="small", latency_s={1: 0.1}))

    assert repertoire.profiles(identity, "cpu") == ()
    membership.learn(authority.sign_family(tiny_family))
    assert [profile.variant for profile in repertoire.profiles(identity, "cpu")] == ["small"]


def test_fetching_takes_as_long_on_a_fast_processor_as_on_a_slow_one(tiny_family: Family):
    class Elsewhere:
        def fetch_s(self, model: Model) -> float:
            return 2.0

        def hold(self, model: Model) -> NoReturn:
            raise AssertionError("nothing is loaded here")

    repertoire = Repertoire()
    identity = repertoire.add(tiny_family, supply=Elsewhere())
    repertoire.learn(identity, "cpu", Profile(variant="small", latency_s={1: 0.1}, load_s=0.5))

    for speed in (0.5, 1.0, 4.0):  # by which whoever plans divides
        (profile,) = repertoire.profiles(identity, "cpu", speed)
        assert profile.load_s / speed == 0.5 / speed + 2.0


def test_a_file_that_was_exchanged_after_it_was_checked_is_not(
    authority: Authority, tiny_family: Family, tmp_path: Path
):
    shutil.copytree(tiny_family.folder, tmp_path / "family")
    family = load_family(tmp_path / "family")
    authority.sign_family(family)
    models, identity = models_of(family, authority, tmp_path)
    file = family.path_of(family.model("small"))
    file.write_bytes(file.read_bytes() + b"\0")

    with pytest.raises(ModelError, match="equipoise cluster sign"):
        models.get((identity, "small"))
