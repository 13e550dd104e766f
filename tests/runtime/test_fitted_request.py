"""Requests whose items are fitted before they travel, on real nodes in this process: other bytes, the same answers."""

from __future__ import annotations

import asyncio
import io
import random
import threading
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from grey_items import Kept
from PIL import Image
from played import boards, playing

from equipoise.core.cluster import Cluster, Link, Node
from equipoise.core.family import Family
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.dispatch.commands import Outcome
from equipoise.dispatch.coordination import CachingPlanner
from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.engines.processors import LocalProcessor
from equipoise.engines.registry import load_engine
from equipoise.fabric.base import Fabric, OnChange, Payload, Verb
from equipoise.fabric.messages import TaskMessage
from equipoise.families.classify import best_classes
from equipoise.families.identity import identity_of
from equipoise.families.preprocess import blank, pack_array, prepare
from equipoise.runtime.coordinator import Hooks, Ran, run_request
from equipoise.runtime.earlier import RestItems
from equipoise.runtime.fitting import Fitting
from equipoise.runtime.inputs import Items

ITEMS = 60
SLOW = Link(bandwidth_bytes_per_s=1e5)


class MixedItems:
    """Every third item is a tiny icon, every third a photo as JPEG, every third one as a raw image; some are broken."""

    def __init__(self, *, broken: frozenset[int] = frozenset()) -> None:
        self._broken = broken

    def __len__(self) -> int:
        return ITEMS

    def name(self, index: int) -> str:
        return f"item {index}"

    def payload(self, index: int) -> bytes:
        if index in self._broken:
            return b"junk" * 50_000
        random_ = np.random.default_rng(index)
        brightness = random_.integers(0, 256)
        if index % 3 == 0:
            return pack_array(np.full((4, 4, 3), brightness, np.uint8))
        pixels = np.clip(random_.normal(brightness, 30, (200, 300, 3)), 0, 255).astype(np.uint8)
        return pack_array(pixels) if index % 3 == 1 else jpeg(pixels)


def unequal(family: Family, *item_s: float) -> Cluster:
    """Boards whose large variant takes three times as long as the small one."""
    cluster = boards(family, *item_s)

    def slower(node: Node) -> Node:
        (processor,) = node.processors
        small, large = processor.profiles
        latency_s = {batch: 3 * seconds for batch, seconds in large.latency_s.items()}
        profiles = (small, msgspec.structs.replace(large, latency_s=latency_s))
        return msgspec.structs.replace(node, processors=(msgspec.structs.replace(processor, profiles=profiles),))

    return msgspec.structs.replace(cluster, nodes=tuple(map(slower, cluster.nodes)))


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@dataclass
class Overheard:
    """A fabric that keeps the tasks that pass; the nodes in `dead` no longer answer them."""

    inner: Fabric
    tasks: list[tuple[str, TaskMessage]] = field(default_factory=list)

    @property
    def identity(self) -> str:
        return self.inner.identity

    async def ask(self, node: str, verb: Verb, payload: Payload, *, timeout_s: float) -> bytes:
        def overheard() -> bytes:
            made = payload if isinstance(payload, bytes) else payload()
            if verb is Verb.INFER:
                self.tasks.append((node, msgspec.msgpack.decode(made, type=TaskMessage)))
            return made

        return await self.inner.ask(node, verb, overheard, timeout_s=timeout_s)

    def watch(self, on_change: OnChange):
        return self.inner.watch(on_change)

    def sizes(self, node: str, item: int) -> set[tuple[str, int]]:
        """As what an item came to a node: variant and bytes."""
        return {
            (task.variant, len(payload))
            for name, task in self.tasks
            if name == node
            for number, payload in zip(task.items, task.payloads, strict=True)
            if number == item
        }


@dataclass
class Variants(Kept):
    """A sink that keeps which variant answered, too."""

    def __init__(self) -> None:
        super().__init__()
        self.variants: dict[int, str] = {}

    def accept(self, answer, pid, variant) -> None:
        super().accept(answer, pid, variant)
        self.variants[answer.item] = variant


def fitting_for(family: Family, *nodes: str) -> Fitting:
    fitting = Fitting(family=family, samples=[MixedItems().payload(1)], fit_s=1e-3, threads=2)
    fitting.choose(dict.fromkeys(nodes, SLOW))
    assert set(fitting.nodes) == set(nodes)
    return fitting


async def run(
    family: Family,
    cluster: Cluster,
    fabric: Fabric,
    items: Items,
    sink: Kept,
    *,
    fitting: Fitting | None,
    hooks: Hooks | None = None,
) -> Ran:
    requirement = Requirement(prefer=Prefer.LATENCY, min_accuracy=0.75)  # which takes both variants
    order = random.Random(7).sample(range(len(items)), len(items))
    return await asyncio.wait_for(
        run_request(
            Dispatcher(Request(items=len(items), requirement=requirement), cluster, order),
            cluster=cluster,
            family=identity_of(family),
            fabric=fabric,
            items=items,
            sink=sink,
            planner=CachingPlanner(),
            classes=family.classes,
            fitting=fitting,
            hooks=hooks,
        ),
        60,
    )


class Direct:
    """What each variant says of an item that it gets as it is, computed without any of the network."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._engines = {
            model.name: load_engine(family, model.name, LocalProcessor(name="cpu")) for model in family.models
        }

    def answer(self, payload: bytes, variant: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
        model = self._family.model(variant)
        scores = self._engines[variant].infer(prepare(payload, model.input)[np.newaxis])
        (ranking,) = best_classes(scores, model.output, self._family.first_class)
        return ranking.classes, ranking.scores


@pytest.fixture
def direct(tiny_family: Family) -> Direct:
    return Direct(tiny_family)


def assert_right(direct: Direct, items: Items, sink: Variants) -> None:
    for item, answer in sink.answers.items():
        assert answer.error is None
        assert (answer.classes, answer.scores) == direct.answer(items.payload(item), sink.variants[item])


async def test_answers_are_those_of_the_files_and_every_item_travels_in_its_smaller_form(
    tiny_family: Family, direct: Direct
) -> None:
    cluster, items, sink = unequal(tiny_family, 0.001, 0.001), MixedItems(), Variants()
    async with playing(tiny_family, cluster) as fabric:
        overheard = Overheard(fabric)
        ran = await run(tiny_family, cluster, overheard, items, sink, fitting=fitting_for(tiny_family, "b0"))

    assert ran.finish.outcome is Outcome.ANSWERED
    assert len(sink.answers) == ITEMS
    assert set(sink.variants.values()) == {"small", "large"}
    assert_right(direct, items, sink)
    for node, task in overheard.tasks:
        for item, payload in zip(task.items, task.payloads, strict=True):
            as_it_is = items.payload(item)
            fitted_bytes = len(blank(tiny_family.model(task.variant).input))
            assert len(payload) == (min(len(as_it_is), fitted_bytes) if node == "b0" else len(as_it_is))


async def test_an_item_that_is_sent_again_is_fitted_to_the_variant_that_it_is_sent_for_then(
    tiny_family: Family, direct: Direct
) -> None:
    cluster, items, sink = unequal(tiny_family, 0.002, 0.002), MixedItems(), Variants()
    agents: dict = {}
    async with playing(tiny_family, cluster, agents) as fabric:
        overheard = Overheard(fabric)
        lost: list[asyncio.Task[None]] = []

        def lose_one(*_: object) -> None:
            if not lost and len(sink.answers) >= 10:
                lost.append(asyncio.ensure_future(agents["b0"].close()))

        ran = await run(
            tiny_family,
            cluster,
            overheard,
            items,
            sink,
            fitting=fitting_for(tiny_family, "b0", "b1"),
            hooks=Hooks(on_step=lose_one),
        )

    assert ran.finish.outcome is Outcome.ANSWERED
    assert len(sink.answers) == ITEMS
    assert_right(direct, items, sink)
    photos = [item for item in range(ITEMS) if item % 3]
    twice = [item for item in photos if overheard.sizes("b0", item) and overheard.sizes("b1", item)]
    assert twice  # what the lost node had was sent again
    for item in photos:
        for variant, size in overheard.sizes("b0", item) | overheard.sizes("b1", item):
            assert size == len(blank(tiny_family.model(variant).input))


async def test_items_that_cannot_be_fitted_are_answered_with_the_reason_that_a_node_would_give(
    tiny_family: Family, direct: Direct
) -> None:
    broken = frozenset({1, 2, 30, 31})
    cluster, items = unequal(tiny_family, 0.001), MixedItems(broken=broken)
    said: dict[bool, dict[int, str | None]] = {}
    async with playing(tiny_family, cluster) as fabric:
        for fits in (False, True):
            sink = Kept()
            fitting = fitting_for(tiny_family, "b0") if fits else None
            ran = await run(tiny_family, cluster, fabric, items, sink, fitting=fitting)
            assert ran.finish.outcome is Outcome.ANSWERED
            assert ran.progress.bad == len(broken)
            said[fits] = {item: sink.answers[item].error for item in sorted(broken)}

    assert said[True] == said[False]
    assert all(said[True].values())


async def test_what_is_left_of_an_earlier_run_is_fitted_under_its_own_numbers(
    tiny_family: Family, direct: Direct
) -> None:
    left = tuple(range(1, ITEMS, 2))
    cluster, sink = unequal(tiny_family, 0.001), Variants()
    rest = RestItems(MixedItems(), left)
    async with playing(tiny_family, cluster) as fabric:
        ran = await run(tiny_family, cluster, fabric, rest, sink, fitting=fitting_for(tiny_family, "b0"))

    assert ran.finish.outcome is Outcome.ANSWERED
    assert len(sink.answers) == len(left)
    assert_right(direct, rest, sink)


async def test_a_request_that_is_interrupted_leaves_nobody_fitting(tiny_family: Family) -> None:
    cluster, sink = unequal(tiny_family, 0.02), Variants()
    async with playing(tiny_family, cluster) as fabric:
        task = asyncio.ensure_future(
            run(tiny_family, cluster, fabric, MixedItems(), sink, fitting=fitting_for(tiny_family, "b0"))
        )
        while not sink.answers:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for thread in threading.enumerate():
            if thread.name.startswith("equipoise-fit"):
                await asyncio.to_thread(thread.join, 10)
                assert not thread.is_alive()
