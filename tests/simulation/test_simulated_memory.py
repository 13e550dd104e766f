"""Simulated nodes whose memory does not hold every variant."""

from __future__ import annotations

import msgspec
import pytest
from boards import asking, boards, scenario

from equipoise.core.cluster import Cluster
from equipoise.simulation import Scenario, simulate
from equipoise.simulation.agenda import Agenda
from equipoise.simulation.memory import GIVE_WAY_S, LoadedVariants, NodeMemory
from equipoise.simulation.records import Record, TaskRecord

SIZES = {"x": 60, "y": 50}


class TwoProcessors:
    """A and B of one node with room for 100 bytes; `needs` says what each cannot do without."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        self.memory = NodeMemory(self.agenda, 100)
        self.needs: dict[str, frozenset[str] | None] = {"a": frozenset(), "b": frozenset()}
        self.a, self.b = (LoadedVariants(self.memory, SIZES, lambda who=who: self.needs[who]) for who in "ab")
        self.told: list[tuple[float, bool]] = []

    def tell(self, room: bool) -> None:
        self.told.append((self.agenda.now_s, room))


def test_a_processor_unloads_its_own_before_others_have_to():
    node = TwoProcessors()

    node.a.use("x", node.tell)
    node.a.use("y", node.tell)

    assert node.told == [(0.0, True)] * 2
    assert node.a.names == {"y"}
    assert node.memory.used_bytes == 50


def test_who_is_idle_gives_way_at_once():
    node = TwoProcessors()
    node.a.use("x", node.tell)

    node.b.use("y", node.tell)

    assert node.told[-1] == (0.0, True)
    assert (node.a.names, node.b.names) == (frozenset(), {"y"})


@pytest.mark.parametrize(("needed", "room"), [(frozenset(), True), (frozenset({"x"}), False)])
def test_who_works_gives_way_at_the_end_of_its_task_unless_it_needs_the_same_next(needed: frozenset[str], room: bool):
    node = TwoProcessors()
    node.a.use("x", node.tell)
    node.needs["a"] = None
    node.b.use("y", node.tell)
    assert len(node.told) == 1, "it waits"

    node.needs["a"] = needed
    node.memory.relieve()
    node.agenda.run(until=lambda: False)

    assert node.told[-1] == ((0.0, True) if room else (GIVE_WAY_S, False))
    assert len(node.told) == 2


def test_what_fits_into_no_memory_is_refused_at_once():
    node = TwoProcessors()
    big = LoadedVariants(node.memory, {"z": 101}, frozenset)

    big.use("z", node.tell)

    assert node.told == [(0.0, False)]


def remembering(memory_bytes: int | None) -> Cluster:
    """One board; each variant takes 100 bytes and 50 ms to load."""
    one = boards(a=0.002, load_s=0.05)
    (node,) = one.nodes
    (processor,) = node.processors
    profiles = tuple(msgspec.structs.replace(profile, memory_bytes=100) for profile in processor.profiles)
    processors = (msgspec.structs.replace(processor, profiles=profiles),)
    node = msgspec.structs.replace(node, memory_bytes=memory_bytes, processors=processors)
    return msgspec.structs.replace(one, nodes=(node,))


@pytest.mark.parametrize(("memory_bytes", "loads"), [(100, 3), (None, 2)])
def test_a_variant_that_gave_way_is_loaded_again(memory_bytes: int | None, loads: int):
    floors = (0.6, 0.8, 0.6)  # the small variant, the large one, and the small one again
    asked = tuple(asking(50, at_s=10.0 * n, min_accuracy=floor) for n, floor in enumerate(floors))
    records: list[Record] = []

    outcome = simulate(remembering(memory_bytes), scenario(requests=asked), record=records.append)

    assert all(one.receipt is not None and one.receipt.outcome == "answered" for one in outcome.requests)
    assert sum(isinstance(record, TaskRecord) and record.load_s > 0 for record in records) == loads


def test_a_node_that_is_killed_while_a_task_waits_for_memory_loses_it_like_any_other():
    node = TwoProcessors()
    node.a.use("x", node.tell)
    node.needs["a"] = None
    node.b.use("y", node.tell)

    node.b.wait_no_more()
    node.a.clear()
    node.memory.relieve()
    node.agenda.run(until=lambda: False)

    assert node.told == [(0.0, True)]
    assert node.memory.used_bytes == 0


def test_two_processors_that_share_a_memory_answer_everything():
    two = boards(a=0.002, load_s=0.05)
    (processor,) = remembering(None).nodes[0].processors
    gpu = msgspec.structs.replace(processor, name="gpu")
    node = msgspec.structs.replace(two.nodes[0], memory_bytes=200, processors=(processor, gpu))
    asked = tuple(asking(100, at_s=0.1 * n, min_accuracy=floor) for n, floor in enumerate((0.6, 0.7, 0.8)))

    outcome = simulate(msgspec.structs.replace(two, nodes=(node,)), Scenario(requests=asked))

    assert [one.receipt.outcome for one in outcome.requests if one.receipt] == ["answered"] * 3
