"""Measures the accuracy of variants on labelled items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np

from equipoise.core.accuracy import wilson_interval
from equipoise.core.family import Accuracy, Family, InputSpec, Model
from equipoise.engines.base import Engine
from equipoise.engines.processors import LocalProcessor, usable_cpus
from equipoise.engines.registry import load_engine
from equipoise.errors import InputError
from equipoise.families.classify import Ranking, best_classes
from equipoise.families.items import read_item
from equipoise.families.preprocess import Array, prepare

BATCH_ITEMS = 8
_PREPARING_THREADS = len(usable_cpus())
_DIGITS = 6  # finer than any data set can tell apart, and still readable in a manifest

OnProgress = Callable[[int], None]  # items that one more variant has answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Accuracy per variant, and the items that no image could be made of, with the reason."""

    accuracy: dict[str, Accuracy]
    unreadable: dict[str, str]


def evaluate(
    family: Family,
    labels: Mapping[str, int],
    processor: LocalProcessor,
    *,
    dataset: str,
    measured_on: str,
    variants: Sequence[str] | None = None,
    on_progress: OnProgress = lambda items: None,
) -> Evaluation:
    """Measure top-1 and top-5 of the named variants, or of all, on every item that can be read.

    `labels` are class indices by item name (see `labels.load_labels`); `measured_on` is an ISO date. Variants
    with the same input share its preparation, which runs ahead in threads of its own.
    Raises KeyError for an unknown variant, ModelError, and InputError if no item can be read.
    """
    models = family.models if variants is None else tuple(family.model(name) for name in variants)
    tallies = {model.name: _Tally() for model in models}
    unreadable: dict[str, str] = {}
    with ThreadPoolExecutor(_PREPARING_THREADS, "prepare") as pool:
        for spec, group in _by_input(models).items():
            with _engines(family, group, processor) as engines:
                for prepared in _prepare_ahead(list(labels), spec, pool):
                    unreadable |= prepared.unreadable
                    expected = [labels[name] for name in prepared.names]
                    for model, engine in zip(group, engines, strict=True):
                        tallies[model.name].count(_answer(prepared, model, engine, family.first_class), expected)
                        on_progress(prepared.items)
    if any(tally.items == 0 for tally in tallies.values()):
        item, reason = next(iter(unreadable.items()))
        raise InputError(f"none of the {len(labels)} labelled items can be used; the first: {reason}", source=item)
    return Evaluation(
        accuracy={name: tally.accuracy(dataset, measured_on) for name, tally in tallies.items()}, unreadable=unreadable
    )


@dataclass(slots=True)
class _Tally:
    """What one variant got right so far."""

    items: int = 0
    hits: int = 0
    hits_in_5: int = 0

    def count(self, rankings: Sequence[Ranking], expected: Sequence[int]) -> None:
        for ranking, class_index in zip(rankings, expected, strict=True):
            self.items += 1
            self.hits += ranking.classes[0] == class_index
            self.hits_in_5 += class_index in ranking.classes

    def accuracy(self, dataset: str, measured_on: str) -> Accuracy:
        low, high = wilson_interval(self.hits, self.items)
        return Accuracy(
            value=round(self.hits / self.items, _DIGITS),
            items=self.items,
            dataset=dataset,
            top5=round(self.hits_in_5 / self.items, _DIGITS),
            interval=(round(low, _DIGITS), round(high, _DIGITS)),
            measured_on=measured_on,
        )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Some items: names and tensors of those that could be prepared, and why the others could not."""

    names: list[str]
    tensors: list[Array]
    unreadable: dict[str, str]

    @property
    def items(self) -> int:
        return len(self.names) + len(self.unreadable)


def _answer(prepared: _Prepared, model: Model, engine: Engine, first_class: int) -> list[Ranking]:
    if not prepared.names:
        return []
    return best_classes(engine.infer(np.stack(prepared.tensors)), model.output, first_class, k=5)


@contextmanager
def _engines(family: Family, models: Sequence[Model], processor: LocalProcessor) -> Iterator[list[Engine]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(load_engine(family, model.name, processor))) for model in models]


def _by_input(models: Sequence[Model]) -> dict[InputSpec, list[Model]]:
    groups: dict[InputSpec, list[Model]] = {}
    for model in models:
        groups.setdefault(model.input, []).append(model)
    return groups


def _prepare_ahead(names: list[str], spec: InputSpec, pool: ThreadPoolExecutor) -> Iterator[_Prepared]:
    """The items in batches, in order; the next ones are being prepared while the caller works on one."""
    starts = iter(range(0, len(names), BATCH_ITEMS))
    ahead: deque[Future[_Prepared]] = deque()
    while True:
        for start in islice(starts, 1 + _PREPARING_THREADS - len(ahead)):
            ahead.append(pool.submit(_prepare, names[start : start + BATCH_ITEMS], spec))
        if not ahead:
            return
        yield ahead.popleft().result()


def _prepare(names: list[str], spec: InputSpec) -> _Prepared:
    prepared = _Prepared([], [], {})
    for name in names:
        try:
            prepared.tensors.append(prepare(read_item(name), spec))
            prepared.names.append(name)
        except InputError as error:  # noqa: PERF203 - reading an image costs far more
            prepared.unreadable[name] = str(error)
    return prepared
