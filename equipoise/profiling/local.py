"""This machine as a node of a cluster, with profiles that were measured on it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psutil

from equipoise.core.cluster import Cluster, Node, Processor, Profile
from equipoise.core.family import Family
from equipoise.engines.processors import CPU_PROVIDER, LocalProcessor, usable_cpus
from equipoise.errors import ModelError
from equipoise.profiling.measure import Effort, Measurement
from equipoise.profiling.probe import measure_apart
from equipoise.profiling.store import ProfileStore, subject_of

Pair = tuple[str, str]  # names of a processor and of a variant
OnPair = Callable[[str, str, bool], None]  # processor, variant, whether it had to be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalProfiles:
    """What every pair costs here, and why some pairs cannot be run."""

    measured: Mapping[Pair, Measurement]
    failures: Mapping[Pair, str]


def profile_here(
    family: Family,
    processors: Sequence[LocalProcessor],
    store: ProfileStore,
    *,
    variants: Sequence[str] | None = None,
    again: bool = False,
    effort: Effort | None = None,
    on_pair: OnPair = lambda processor, variant, measured: None,
) -> LocalProfiles:
    """What the store knows of this machine's pairs; what it does not know is measured and kept, `again` all.

    `on_pair` is called after each pair. Raises KeyError for an unknown variant, and ModelError if no pair can
    be run at all.
    """
    names = [model.name for model in family.models] if variants is None else variants
    measured: dict[Pair, Measurement] = {}
    failures: dict[Pair, str] = {}
    for processor in processors:
        for variant in names:
            pair = (processor.name, variant)
            try:
                subject = subject_of(family, variant, processor)
                known = None if again else store.load(subject)
                measured[pair] = known or measure_apart(family, variant, processor, effort or Effort())
                if known is None:
                    store.save(subject, measured[pair])
            except ModelError as error:
                failures[pair] = str(error)
                known = None
            on_pair(processor.name, variant, known is None)
    if not measured:
        raise ModelError(f"no variant of family {family.name!r} runs here; the first: {next(iter(failures.values()))}")
    return LocalProfiles(measured=measured, failures=failures)


def known_here(family: Family, processors: Sequence[LocalProcessor], store: ProfileStore) -> dict[Pair, Measurement]:
    """What the store knows of this machine's pairs; measures nothing."""
    return dict(_known(family, processors, store))


def local_cluster(
    family: Family,
    processors: Sequence[LocalProcessor],
    profiles: LocalProfiles,
    prepare_s: Mapping[str, float] | None = None,
) -> Cluster:
    """A cluster of this machine alone, with the evaluated variants. See `local_node`."""
    return Cluster(
        family=family.name,
        variants=family.described_variants(),
        nodes=(local_node(family, processors, profiles, prepare_s),),
    )


def local_node(
    family: Family,
    processors: Sequence[LocalProcessor],
    profiles: LocalProfiles,
    prepare_s: Mapping[str, float] | None = None,
) -> Node:
    """This machine, named after its host, with the evaluated variants that run on each processor.

    A call costs its inference and the preparation of its items, which no item is answered without: a CPU does
    both with the same cores, so they add up; beside an accelerator the CPU prepares, so the slower of the two
    counts. `prepare_s` is by variant the preparation of an item on one thread, where the items are known; the
    default is that of the measured sample image.
    """
    evaluated = [model.name for model in family.models if model.accuracy is not None]
    described = []
    for processor in processors:
        found = {variant: profiles.measured.get((processor.name, variant)) for variant in evaluated}
        costs = tuple(
            _profile(variant, measurement, processor, (prepare_s or {}).get(variant, measurement.prepare_s))
            for variant, measurement in found.items()
            if measurement is not None
        )
        described.append(Processor(name=processor.name, profiles=costs))
    return Node(
        name=_host_name(),
        processors=tuple(described),
        memory_bytes=psutil.virtual_memory().total,
    )


def _known(
    family: Family, processors: Sequence[LocalProcessor], store: ProfileStore
) -> Iterator[tuple[Pair, Measurement]]:
    for processor in processors:
        for model in family.models:
            try:
                found = store.load(subject_of(family, model.name, processor))
            except ModelError:
                continue
            if found is not None:
                yield (processor.name, model.name), found


def _profile(variant: str, measurement: Measurement, processor: LocalProcessor, prepare_s: float) -> Profile:
    def call_s(batch: int) -> float:
        infer_s = measurement.calls[batch].median_s
        if processor.provider == CPU_PROVIDER:
            return infer_s + batch * prepare_s / processor.threads
        return max(infer_s, batch * prepare_s / len(usable_cpus()))

    return Profile(
        variant=variant,
        latency_s={batch: call_s(batch) for batch in measurement.calls},
        latency_stddev_s={batch: times.stddev_s for batch, times in measurement.calls.items()},
        load_s=measurement.load_s,
        memory_bytes=measurement.memory_bytes,
    )


def _host_name() -> str:
    name = platform.node().replace("/", "-").replace("*", "-")
    return name or "local"
