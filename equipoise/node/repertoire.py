"""What a node can run, and what that costs: families, and profiles by processor and variant."""

from __future__ import annotations

from collections.abc import Callable

from equipoise.core.cluster import Node, Profile
from equipoise.core.family import Family
from equipoise.errors import ModelError, reason_of
from equipoise.fabric.messages import FamilyStatus
from equipoise.families.identity import identity_of
from equipoise.families.manifest import sha256_of

MayLoad = Callable[[str], bool]  # SHA-256 of a model file, in hexadecimal


class Repertoire:
    """Families by identity. Written on the event loop's thread, read on any.

    Of model files only those are loaded whose SHA-256 `may_load` allows; None allows all.
    """

    def __init__(self, may_load: MayLoad | None = None) -> None:
        self._may_load = may_load
        self._families: dict[str, Family] = {}
        self._profiles: dict[tuple[str, str, str], Profile] = {}  # family, processor, variant
        self._missing: dict[str, int] = {}
        self._withdrawn: set[str] = set()

    @classmethod
    def of(cls, family: Family, node: Node | None = None) -> Repertoire:
        """One family, with the profiles that a node is described with."""
        repertoire = cls()
        identity = repertoire.add(family)
        for processor in node.processors if node else ():
            for profile in processor.profiles:
                repertoire.learn(identity, processor.name, profile)
        return repertoire

    @property
    def identities(self) -> tuple[str, ...]:
        """Of every family that is offered, in the order in which they came."""
        return tuple(identity for identity in self._families if identity not in self._withdrawn)

    def add(self, family: Family, *, missing: int = 0) -> str:
        """Take a family in, or in place of what was known of it; so many pairs are still to be measured."""
        identity = identity_of(family)
        self._families[identity] = family
        self._missing[identity] = missing
        self._withdrawn.discard(identity)
        return identity

    def withdraw(self, identity: str) -> None:
        """Offer a family no longer; requests that run with it go on."""
        self._withdrawn.add(identity)

    def learn(self, identity: str, processor: str, profile: Profile) -> None:
        """What a variant costs on a processor."""
        self._profiles[identity, processor, profile.variant] = profile

    def settle(self, identity: str) -> None:
        """A pair has been measured, or cannot be."""
        self._missing[identity] = max(0, self._missing[identity] - 1)

    def family(self, identity: str) -> Family:
        """The family of that identity. Raises KeyError."""
        return self._families[identity]

    def refuse_unsigned(self, identity: str, variant: str) -> None:
        """Raise ModelError if the file of a variant, as it is now, may not be loaded; KeyError if there is none."""
        if self._may_load is None:
            return
        family = self._families[identity]
        path = family.path_of(family.model(variant))
        try:
            found = sha256_of(path)
        except OSError as error:
            raise ModelError(f"cannot be read: {reason_of(error)}", path=path) from error
        if not self._may_load(found):
            raise ModelError(
                "is in no family that the cluster has signed; sign it with `equipoise cluster sign FAMILY`",
                path=path,
            )

    def profile(self, identity: str, processor: str, variant: str) -> Profile | None:
        """What the pair costs, as far as that is known."""
        return self._profiles.get((identity, processor, variant))

    def profiles(self, identity: str, processor: str) -> tuple[Profile, ...]:
        """What the evaluated variants cost on a processor, in the order of the family."""
        found = (
            self.profile(identity, processor, model.name)
            for model in self._families[identity].models
            if model.accuracy is not None
        )
        return tuple(profile for profile in found if profile is not None)

    def status(self, identity: str, processors: tuple[str, ...]) -> FamilyStatus:
        """What others are told of a family."""
        family = self._families[identity]
        evaluated = any(model.accuracy is not None for model in family.models)
        return FamilyStatus(
            identity=identity,
            name=family.name,
            variants=family.described_variants() if evaluated else (),
            profiles={name: self.profiles(identity, name) for name in processors},
            missing=self._missing[identity],
        )
