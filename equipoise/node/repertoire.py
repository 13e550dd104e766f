"""What a node can run, and what that costs: families, and profiles by processor and variant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from equipoise.core.cluster import Node, Profile
from equipoise.core.family import Family, Model
from equipoise.core.ranges import SECONDS
from equipoise.errors import ModelError, reason_of
from equipoise.fabric.messages import FamilyStatus
from equipoise.families.identity import identity_of
from equipoise.families.manifest import sha256_of

MayLoad = Callable[[str], bool]  # SHA-256 of a model file, in hexadecimal


class Closing(Protocol):
    """Something that is kept until it is closed."""

    def close(self) -> None:
        """It is no longer needed."""


class Supply(Protocol):
    """Where the model files of a family come from that do not lie in a folder for good. Any thread may call."""

    def fetch_s(self, model: Model) -> float | None:
        """How long it takes until the file is here: 0 if it is, None if it cannot be had."""

    def hold(self, model: Model) -> Closing:
        """Have the file here, and keep it here, until that is closed. May take long. Raises ModelError."""


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
        self._supplies: dict[str, Supply] = {}
        self._to_fetch: dict[str, int] = {}

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

    def add(self, family: Family, *, missing: int = 0, supply: Supply | None = None) -> str:
        """Take a family in, or in place of what was known of it; so many pairs are still to be measured.

        With a `supply` its files are only here when that says so.
        """
        identity = identity_of(family)
        self._families[identity] = family
        self._missing[identity] = missing
        self._withdrawn.discard(identity)
        self._supplies.pop(identity, None)
        if supply is not None:
            self._supplies[identity] = supply
        return identity

    def withdraw(self, identity: str) -> None:
        """Offer a family no longer; requests that run with it go on."""
        self._withdrawn.add(identity)

    def learn(self, identity: str, processor: str, profile: Profile) -> None:
        """What a variant costs on a processor."""
        self._profiles[identity, processor, profile.variant] = profile

    def expect(self, identity: str, *, pairs: int | None = None, files: int | None = None) -> None:
        """So many pairs are being measured now, so many files are still to be fetched before theirs can be."""
        if pairs is not None:
            self._missing[identity] = pairs
        if files is not None:
            self._to_fetch[identity] = files

    def settle(self, identity: str) -> None:
        """A pair has been measured, or cannot be."""
        self._missing[identity] = max(0, self._missing[identity] - 1)

    def family(self, identity: str) -> Family:
        """The family of that identity. Raises KeyError."""
        return self._families[identity]

    def may_load(self, model_sha256: str) -> bool:
        """True if a model file with this SHA-256 may be loaded."""
        return self._may_load is None or self._may_load(model_sha256)

    def refuse_unsigned(self, identity: str, variant: str) -> None:
        """Raise ModelError if the file of a variant, as it is now, may not be loaded; KeyError if there is none."""
        if self._may_load is None:
            return
        family = self._families[identity]
        model = family.model(variant)
        path = family.path_of(model)
        try:  # what is supplied was checked when it came
            found = model.sha256 if identity in self._supplies else sha256_of(path)
        except OSError as error:
            raise ModelError(f"cannot be read: {reason_of(error)}", path=path) from error
        if not self.may_load(found):
            raise ModelError(
                "is in no family that the cluster has signed; sign it with `equipoise cluster sign FAMILY`",
                path=path,
            )

    def hold(self, identity: str, variant: str) -> Closing | None:
        """Have a variant's file here until that is closed; None if it is here for good. Raises ModelError, KeyError."""
        supply = self._supplies.get(identity)
        return supply.hold(self._families[identity].model(variant)) if supply is not None else None

    def profile(self, identity: str, processor: str, variant: str) -> Profile | None:
        """What the pair costs, as far as that is known, and as long as its file can be had."""
        profile = self._profiles.get((identity, processor, variant))
        return next(iter(self.offered(identity, (profile,))), None) if profile is not None else None

    def offered(self, identity: str, profiles: Iterable[Profile], speed: float = 1.0) -> tuple[Profile, ...]:
        """Those whose files can be had and may be loaded, loading with the time to fetch what is not here.

        Whoever plans divides what a profile says by the processor's `speed`, which fetching does not depend on.
        """
        models = {model.name: model for model in self._families[identity].models}
        found = ((profile, self._fetch_s(identity, models[profile.variant])) for profile in profiles)
        return tuple(_after(profile, fetch_s * speed) for profile, fetch_s in found if fetch_s is not None)

    def _fetch_s(self, identity: str, model: Model) -> float | None:
        if not self.may_load(model.sha256):
            return None
        supply = self._supplies.get(identity)
        return supply.fetch_s(model) if supply is not None else 0.0

    def profiles(self, identity: str, processor: str, speed: float = 1.0) -> tuple[Profile, ...]:
        """What the evaluated variants cost on a processor, in the order of the family; see `offered`."""
        found = (
            self._profiles.get((identity, processor, model.name))
            for model in self._families[identity].models
            if model.accuracy is not None
        )
        return self.offered(identity, (profile for profile in found if profile is not None), speed)

    def status(self, identity: str, speeds: Mapping[str, float]) -> FamilyStatus:
        """What others are told of a family, on processors that are so fast relative to their profiles."""
        family = self._families[identity]
        evaluated = any(model.accuracy is not None for model in family.models)
        return FamilyStatus(
            identity=identity,
            name=family.name,
            variants=family.described_variants() if evaluated else (),
            profiles={name: self.profiles(identity, name, speed) for name, speed in speeds.items()},
            missing=self._missing[identity],
            to_fetch=self._to_fetch.get(identity, 0),
        )


def _after(profile: Profile, fetch_s: float) -> Profile:
    if not fetch_s:
        return profile
    return msgspec.structs.replace(profile, load_s=min(profile.load_s + fetch_s, SECONDS.most))
