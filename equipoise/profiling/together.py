"""What processors of this machine that run a variant at the same time cost each other: known, or measured and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.profiling.measure import Effort, Measurement
from equipoise.profiling.probe import contention_apart
from equipoise.profiling.store import ProfileStore, Subject, subject_of

Pair = tuple[str, str]  # names of a processor and of a variant
Contention = dict[str, float]  # by name of a processor, how many times longer a call takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Those of `processors` that run `variant`."""

    family: Family
    variant: str
    processors: tuple[LocalProcessor, ...]

    @classmethod
    def of(
        cls, family: Family, variant: str, processors: Sequence[LocalProcessor], measured: Mapping[Pair, Measurement]
    ) -> Together:
        """Those that were measured."""
        running = tuple(processor for processor in processors if (processor.name, variant) in measured)
        return cls(family=family, variant=variant, processors=running)

    def known(self, store: ProfileStore) -> Contention | None:
        """What the store knows; None if it has to be measured. One that is alone has nobody who costs it anything."""
        return store.load_contention(self._subjects()) if len(self.processors) > 1 else {}

    def measure(self, store: ProfileStore, measured: Mapping[Pair, Measurement], effort: Effort) -> Contention:
        """Measure it at each one's best batch, and keep it. Raises ModelError, and OutputError if it cannot be kept."""
        batches = {one.name: measured[one.name, self.variant].best_batch for one in self.processors}
        found = contention_apart(self.family, self.variant, self.processors, batches, effort)
        store.save_contention(self._subjects(), found)
        return found

    def as_if_in_turns(self) -> Contention:
        """What it comes to if nothing is gained by working at the same time."""
        return dict.fromkeys((one.name for one in self.processors), float(len(self.processors)))

    def _subjects(self) -> tuple[Subject, ...]:
        return tuple(subject_of(self.family, self.variant, one) for one in self.processors)
