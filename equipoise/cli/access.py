"""The cluster that a request runs on: this machine alone, or described boards that this machine plays."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rich.console import Console

from equipoise.cli.clusters import load_cluster
from equipoise.cli.profile import profiling_progress
from equipoise.core.cluster import Cluster
from equipoise.core.family import Family
from equipoise.core.plan import Conditions, Plan
from equipoise.engines.processors import LocalProcessor, local_processors
from equipoise.errors import InputError, OutputError
from equipoise.fabric.base import Fabric
from equipoise.profiling.local import LocalProfiles, local_cluster, profile_here, steps_known, steps_of
from equipoise.profiling.preparation import prepare_times_s
from equipoise.profiling.store import ProfileStore, Record, default_data_folder
from equipoise.runtime.coordinator import Survey
from equipoise.runtime.emulation import EmulatedCluster
from equipoise.runtime.fitting import Fitting
from equipoise.runtime.inputs import Items
from equipoise.runtime.local import LocalCluster
from equipoise.runtime.reach import OutOfReach, check_reach, without

_SAMPLES = 4  # items on which it is measured whether this machine can play the boards
_NAMED_PAIRS = 3


class Reached(Protocol):
    """A cluster that is there: what may be planned on from now on, and how to ask its nodes."""

    @property
    def cluster(self) -> Cluster:
        """Its description."""

    @property
    def fabric(self) -> Fabric:
        """The network that its nodes are on."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What to plan on, and how to reach it once there is a plan for these items."""

    cluster: Cluster
    title: str
    emulated: bool
    conditions: Conditions = field(default_factory=dict)
    open: Callable[[Plan, Items], AbstractAsyncContextManager[Reached]]
    survey: Survey | None = None  # of nodes that come while a request runs, where any can
    fitting: Fitting | None = None  # of items that have a link to cross


def emulated_boards(family: Family, cluster: Cluster, *, title: str, notes: Console) -> Access:
    """Described boards, each played by a process that really infers and is paced to the described speed.

    Raises ConfigError if the family lacks a variant of the description. `open` raises EmulationError if this
    machine is too slow for the plan; what else it is too slow for is noted, and left alone when the rest is
    planned anew.
    """
    described = EmulatedCluster(family, cluster)

    @asynccontextmanager
    async def play(plan: Plan, items: Items) -> AsyncIterator[Reached]:
        unreachable = check_reach(cluster, family, plan, samples_of(items))
        boards = described
        if unreachable:
            notes.print(_too_fast(unreachable))
            boards = EmulatedCluster(family, without(cluster, unreachable))
        async with boards:
            yield boards

    return Access(cluster=cluster, title=title, emulated=True, open=play)


def boards_of(family: Family, description: Path, notes: Console) -> Access:
    """The boards of a cluster description file. Raises ConfigError if it is wrong."""
    cluster = load_cluster(description)
    family.refuse_description(cluster, path=description)
    title = f"Plan for {len(cluster.nodes)} emulated nodes ({description.name})"
    return emulated_boards(family, cluster, title=title, notes=notes)


def samples_of(items: Items) -> list[bytes]:
    """A few of the items as they would be sent, spread over all of them; fewer where some cannot be read."""
    samples = []
    for index in range(0, len(items), max(1, len(items) // _SAMPLES)):
        with suppress(InputError):
            samples.append(items.payload(index))
    return samples[:_SAMPLES]


def _too_fast(pairs: tuple[OutOfReach, ...]) -> str:
    named = "; ".join(map(str, pairs[:_NAMED_PAIRS]))
    more = f"; and {len(pairs) - _NAMED_PAIRS} more" if len(pairs) > _NAMED_PAIRS else ""
    return f"Not used, because this machine cannot play it: {named}{more}."


def this_machine(
    family: Family, items: Items, *, notes: Console, split_cpu: Sequence[Sequence[int]] | None = None
) -> Access:
    """This machine's own processors; what has not been measured on them yet is measured now.

    `split_cpu` as in `local_processors`, which raises UsageError where it makes no sense. Raises ConfigError if no
    variant has a measured accuracy, ModelError if none runs here.
    """
    family.described_variants()  # refuses, before minutes of measuring, a family that cannot be planned with
    processors = local_processors(split_cpu)
    profiles = _profiles_here(family, processors, notes)
    for (processor, variant), reason in profiles.failures.items():
        notes.print(f"Not used: {variant} on {processor}: {reason}.", markup=False)
    cluster = local_cluster(family, processors, profiles, prepare_times_s(family, samples_of(items)))

    @asynccontextmanager
    async def here(_plan: Plan, _items: Items) -> AsyncIterator[Reached]:
        async with LocalCluster(family, cluster, processors) as node:
            yield node

    return Access(cluster=cluster, title="Plan for this machine", emulated=False, open=here)


def _profiles_here(family: Family, processors: Sequence[LocalProcessor], notes: Console) -> LocalProfiles:
    store = _WillingStore(default_data_folder(os.environ), notes)
    missing = steps_of(family, processors) - steps_known(family, processors, store)
    if missing == 0:
        return profile_here(family, processors, store)
    notes.print(f"Measuring what {missing} pairs of processor and variant take, this once ...")
    with profiling_progress(steps_of(family, processors)) as on_pair:
        return profile_here(family, processors, store, on_pair=on_pair)


class _WillingStore(ProfileStore):
    """A store without which a request can do: what it cannot keep it tells, once, and measures again next time."""

    def __init__(self, data_folder: Path, notes: Console) -> None:
        super().__init__(data_folder)
        self._notes = notes
        self._told = False

    def _save(self, path: Path, record: Record) -> None:
        try:
            super()._save(path, record)
        except OutputError as error:
            if not self._told:
                self._notes.print(f"equipoise: warning: {error}", markup=False, soft_wrap=True)
            self._told = True
