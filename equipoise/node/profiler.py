"""What the families of a node cost on its processors: asked of a survey, learned, and priced for those who plan."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from equipoise.core.cluster import Node, Profile
from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import EquipoiseError, ModelError
from equipoise.fabric.messages import DescribeMessage
from equipoise.families.identity import identity_of
from equipoise.node.log import NodeLog
from equipoise.node.repertoire import Repertoire
from equipoise.node.survey import PairAnswer, ProfilesQuestion, ask_profiles
from equipoise.profiling.local import LocalProfiles, local_node
from equipoise.profiling.measure import Measurement
from equipoise.profiling.preparation import prepare_times_s
from equipoise.profiling.together import Pair


@dataclass(kw_only=True, eq=False)
class Profiler:
    """Fills the repertoire with profiles. Lives on the event loop's thread, but for `price`."""

    repertoire: Repertoire
    data_folder: Path
    log: NodeLog
    processors: tuple[LocalProcessor, ...] = ()
    _measured: dict[str, dict[Pair, Measurement]] = field(default_factory=dict)
    _cannot_run: set[tuple[str, Pair]] = field(default_factory=set)  # families and pairs
    _unsigned: dict[str, Family] = field(default_factory=dict)  # families of which not every file may be loaded

    @property
    def unsigned(self) -> tuple[Family, ...]:
        """The families of which not every file may be loaded."""
        return tuple(self._unsigned.values())

    def take_in(self, family: Family) -> None:
        """Have it in the repertoire, with all to be measured."""
        self.repertoire.add(family, missing=len(family.models) * len(self.processors))

    async def profile(self, family: Family) -> None:
        """Learn what it costs here; what is not known yet is measured, but for files that may not be loaded."""
        identity, began_s = identity_of(family), time.monotonic()
        self._unsigned[identity] = family  # before the files are read: a charter may come meanwhile
        refused = await asyncio.to_thread(self._refused, family)
        self._settle_refused(identity, refused)
        variants = tuple(model.name for model in family.models if model.name not in refused)
        if await self._ask_profiles(family, variants, measure=True):
            self.log("profiled", family=family.name, after_s=time.monotonic() - began_s)

    async def _ask_profiles(self, family: Family, variants: Collection[str], *, measure: bool) -> bool:
        """Learn what these variants cost here; False, and why is logged, if that fails."""
        question = ProfilesQuestion(
            family=family,
            processors=self.processors,
            variants=tuple(variants),
            data_folder=self.data_folder,
            measure=measure,
        )
        try:
            async with aclosing(ask_profiles(question)) as pairs:
                async for pair in pairs:
                    self._learn(identity_of(family), family, pair)
        except EquipoiseError as error:
            self.log("profiling failed", family=family.name, reason=error)
            return False
        return True

    async def survey(self, family: Family, variants: Collection[str], measure: bool) -> None:
        """For the stock: until what it has measured is known, no plan is made with the family here."""
        identity = identity_of(family)
        try:
            if measure:
                self.repertoire.expect(identity, pairs=len(variants) * len(self.processors))
            if not await self._ask_profiles(family, variants, measure=measure) and measure:
                self._cannot_run |= {
                    (identity, (processor.name, variant)) for processor in self.processors for variant in variants
                }
        finally:
            self.repertoire.expect(identity, pairs=0)

    def unmeasured(self, family: Family) -> frozenset[str]:
        """The variants that some processor has not been measured with yet, and could be."""
        identity = identity_of(family)
        measured = self._measured.get(identity, {})
        return frozenset(
            model.name
            for model in family.models
            for processor in self.processors
            if (pair := (processor.name, model.name)) not in measured and (identity, pair) not in self._cannot_run
        )

    def _refused(self, family: Family) -> dict[str, ModelError]:
        """The variants whose files may not be loaded, and why."""
        found = {model.name: self._objection(identity_of(family), model.name) for model in family.models}
        return {variant: objection for variant, objection in found.items() if objection is not None}

    def _objection(self, identity: str, variant: str) -> ModelError | None:
        try:
            self.repertoire.refuse_unsigned(identity, variant)
        except ModelError as error:
            return error
        return None

    def _settle_refused(self, identity: str, refused: Mapping[str, ModelError]) -> None:
        if not refused:
            self._unsigned.pop(identity, None)
        for variant, reason in refused.items():
            self.log("not loaded", variant=variant, reason=reason)
            for _ in self.processors:
                self.repertoire.settle(identity)

    def _learn(self, identity: str, family: Family, pair: PairAnswer) -> None:
        if pair.measurement is None:
            self._cannot_run.add((identity, (pair.processor, pair.variant)))
            self.log("cannot run", variant=pair.variant, processor=pair.processor, reason=pair.failure)
        else:
            measured = self._measured.setdefault(identity, {})
            measured[pair.processor, pair.variant] = pair.measurement
            for processor in self._described(family, measured).processors:
                for profile in processor.profiles:
                    self.repertoire.learn(identity, processor.name, profile)
        self.repertoire.settle(identity)

    def price(self, identity: str, asked: DescribeMessage) -> Mapping[str, tuple[Profile, ...]]:
        """Profiles for items like the samples: what it takes to prepare them depends on them."""
        family = self.repertoire.family(identity)
        prepare_s = prepare_times_s(family, asked.samples, fits=asked.fits, left_out=asked.left_out)
        node = self._described(family, self._measured.get(identity, {}), prepare_s)
        return {processor.name: processor.profiles for processor in node.processors}

    def _described(
        self, family: Family, measured: Mapping[Pair, Measurement], prepare_s: Mapping[str, float] | None = None
    ) -> Node:
        return local_node(family, self.processors, LocalProfiles(measured=measured, failures={}), prepare_s)
