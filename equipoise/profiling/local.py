"""This machine as a node of a cluster, with profiles that were measured on it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import psutil

from equipoise.core.cluster import Cluster, Node, Processor, Profile
from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import ModelError
from equipoise.profiling.costs import call_cost_s
from equipoise.profiling.measure import Effort, Measurement
from equipoise.profiling.probe import measure_apart
from equipoise.profiling.store import ProfileStore, subject_of
from equipoise.profiling.together import Pair, Together

OnPair = Callable[[str, str, bool], None]  # processor, variant, whether it had to be measured

TOGETHER = "all together"  # in place of a processor's name


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

    Where several processors run a variant, what they cost each other is measured, too. `on_pair` is called after each
    of `steps_of`. Raises KeyError for an unknown variant, and ModelError if no pair can be run at all.
    """
    names = [model.name for model in family.models] if variants is None else variants
    effort = effort or Effort()
    measured: dict[Pair, Measurement] = {}
    failures: dict[Pair, str] = {}
    for processor in processors:
        for variant in names:
            pair = (processor.name, variant)
            try:
                subject = subject_of(family, variant, processor)
                known = None if again else store.load(subject)
                measured[pair] = known or measure_apart(family, variant, processor, effort)
                if known is None:
                    store.save(subject, measured[pair])
            except ModelError as error:
                failures[pair] = str(error)
                known = None
            on_pair(processor.name, variant, known is None)
    if not measured:
        raise ModelError(f"no variant of family {family.name!r} runs here; the first: {next(iter(failures.values()))}")
    for variant in names if len(processors) > 1 else ():
        together = Together.of(family, variant, processors, measured)
        found = None if again else together.known(store)
        try:
            contention = found if found is not None else together.measure(store, measured, effort)
        except ModelError as error:
            failures[TOGETHER, variant] = str(error)
            contention = together.as_if_in_turns()
        measured |= _contended(variant, contention, measured)
        on_pair(TOGETHER, variant, found is None)
    return LocalProfiles(measured=measured, failures=failures)


def known_here(family: Family, processors: Sequence[LocalProcessor], store: ProfileStore) -> dict[Pair, Measurement]:
    """What the store knows of this machine's pairs; measures nothing.

    Pairs of which is not known what they cost each other are not known.
    """
    measured = dict(_known(family, processors, store))
    known: dict[Pair, Measurement] = {}
    for model in family.models:
        together = Together.of(family, model.name, processors, measured)
        contention = together.known(store)
        if contention is not None:
            known |= {(one.name, model.name): measured[one.name, model.name] for one in together.processors}
            known |= _contended(model.name, contention, measured)
    return known


def steps_of(family: Family, processors: Sequence[LocalProcessor]) -> int:
    """In how many steps all of a family is measured: each pair, and each variant on all processors together."""
    return len(family.models) * (len(processors) + (len(processors) > 1))


def steps_known(family: Family, processors: Sequence[LocalProcessor], store: ProfileStore) -> int:
    """How many of these steps need not be taken any more."""
    measured = dict(_known(family, processors, store))
    if len(processors) == 1:
        return len(measured)
    together = (Together.of(family, model.name, processors, measured) for model in family.models)
    return len(measured) + sum(bool(those.processors) and those.known(store) is not None for those in together)


def _contended(
    variant: str, contention: Mapping[str, float], measured: Mapping[Pair, Measurement]
) -> dict[Pair, Measurement]:
    return {
        (name, variant): msgspec.structs.replace(measured[name, variant], contention=factor)
        for name, factor in contention.items()
    }


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

    A call costs its inference and the preparation of its items, which no item is answered without, see `call_cost_s`;
    that is measured alone, and the other processors at work add their contention. `prepare_s` is by variant the
    preparation of an item on one thread, where the items are known; the default is that of the measured sample image.
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
    contention = measurement.contention

    def call_s(batch: int) -> float:
        infer_s = measurement.calls[batch].median_s
        return contention * call_cost_s(processor, infer_s=infer_s, prepare_s=batch * prepare_s)

    return Profile(
        variant=variant,
        latency_s={batch: call_s(batch) for batch in measurement.calls},
        latency_stddev_s={batch: contention * times.stddev_s for batch, times in measurement.calls.items()},
        load_s=measurement.load_s,
        memory_bytes=measurement.memory_bytes,
        contention=contention,
    )


def _host_name() -> str:
    name = platform.node().replace("/", "-").replace("*", "-")
    return name or "local"
