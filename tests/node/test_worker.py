"""One processor at work, with a real model."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.core.cluster import Node, Processor, Profile
from equipoise.core.family import Family, InputSpec
from equipoise.engines.processors import LocalProcessor, usable_cpus
from equipoise.fabric.messages import TaskMessage, TaskReply
from equipoise.families.identity import identity_of
from equipoise.families.preprocess import pack_array, prepare
from equipoise.node.company import Company
from equipoise.node.memory import ModelMemory
from equipoise.node.pacing import AsDescribed
from equipoise.node.repertoire import Repertoire
from equipoise.node.worker import TaskRefusedError, Worker, WorkerSettings
from equipoise.profiling.feedback import SpeedEstimator

CPU = LocalProcessor(name="cpu")
FAMILY: list[str] = []  # the identity of the tiny family


@pytest.fixture(autouse=True)
def _family(tiny_family: Family) -> None:
    FAMILY.append(identity_of(tiny_family))


def grey(item: int) -> bytes:
    """An image of class `item % 4`."""
    return pack_array(np.full((20, 30, 3), 32 + 64 * (item % 4), dtype=np.uint8))


def task(
    *items: int,
    number: int = 0,
    variant: str = "small",
    batch: int = 4,
    expire_in_s: float | None = None,
    due_in_s: float | None = None,
    request: str = "r",
) -> TaskMessage:
    return TaskMessage(
        coordinator="c",
        request=request,
        family=FAMILY[-1],
        task=number,
        processor="cpu",
        variant=variant,
        batch=batch,
        expire_in_s=expire_in_s,
        due_in_s=due_in_s,
        items=items,
        payloads=tuple(grey(item) for item in items),
    )


def send(worker: Worker, message: TaskMessage, arrived_s: float | None = None) -> Future[TaskReply]:
    reply: Future[TaskReply] = Future()
    worker.submit(message, time.monotonic() if arrived_s is None else arrived_s, lambda make: reply.set_result(make()))
    return reply


def far_slower_than_this_test() -> AsDescribed:
    """So slow that no call is over before the test has said what it wants."""
    return AsDescribed({"small": Profile(variant="small", latency_s={1: 1.0})})


@pytest.fixture
def worker(tiny_family: Family) -> Iterator[Worker]:
    worker = Worker(Repertoire.of(tiny_family), CPU)
    yield worker
    worker.close()


@pytest.mark.parametrize("items", [1, 3, 4, 5, 64])
def test_every_item_is_answered_with_its_own_class_whatever_the_batches(worker: Worker, items: int) -> None:
    reply = send(worker, task(*range(items))).result(10)

    assert {answer.item: answer.classes[0] for answer in reply.answers} == {item: item % 4 for item in range(items)}
    assert len(reply.answers) == items


def test_queued_tasks_of_different_variants_and_batches_are_each_answered(worker: Worker) -> None:
    sizes = [(1, "small"), (16, "large"), (3, "small"), (1, "large")]
    replies = [
        send(worker, task(*range(20), number=n, batch=batch, variant=variant))
        for n, (batch, variant) in enumerate(sizes)
    ]

    assert [len(reply.result(10).answers) for reply in replies] == [20] * 4
    assert [reply.result().task for reply in replies] == [0, 1, 2, 3]


def test_an_undecodable_item_is_answered_with_the_reason_and_the_others_as_ever(worker: Worker) -> None:
    message = task(0, 1, 2, 3, 4)
    broken = TaskMessage(**{**_fields(message), "payloads": (b"junk", grey(1), b"", grey(3), grey(4))})
    answers = {answer.item: answer for answer in send(worker, broken).result(10).answers}

    assert "no image" in str(answers[0].error)
    assert "empty" in str(answers[2].error)
    assert [answers[item].classes[0] for item in (1, 3, 4)] == [1, 3, 0]


def test_a_task_of_nothing_but_junk_is_answered(worker: Worker) -> None:
    broken = TaskMessage(**{**_fields(task(0, 1)), "payloads": (b"junk", b"junk")})

    assert [answer.error is None for answer in send(worker, broken).result(10).answers] == [False, False]


def test_a_variant_is_loaded_once_and_the_first_task_pays_for_it(worker: Worker) -> None:
    first, second = (send(worker, task(0, number=n)).result(10) for n in (0, 1))

    assert first.load_s > 0
    assert first.busy_s > first.load_s
    assert second.load_s == 0


def test_an_unknown_variant_is_refused_with_the_known_ones(worker: Worker) -> None:
    with pytest.raises(TaskRefusedError, match="known: small, large"):
        worker.submit(task(0, variant="huge"), 0.0, lambda _: None)


def test_a_task_without_items_is_refused(worker: Worker) -> None:
    with pytest.raises(TaskRefusedError, match="malformed"):
        worker.submit(task(), 0.0, lambda _: None)


def test_a_task_that_came_too_late_is_not_started(worker: Worker) -> None:
    assert "too late" in str(send(worker, task(0, expire_in_s=1.0), arrived_s=-10.0).result(10).failure)


def test_a_model_that_cannot_be_loaded_fails_the_task_and_not_the_worker(tiny_family: Family, tmp_path) -> None:
    import shutil

    from equipoise.families.manifest import load_family

    shutil.copytree(tiny_family.folder, tmp_path / "family")
    family = load_family(tmp_path / "family")
    (tmp_path / "family" / "tiny.onnx").write_bytes(b"not a model any more")
    worker = Worker(Repertoire.of(family), CPU)

    failures = [send(worker, task(0, number=n)).result(10).failure for n in (0, 1)]

    assert all(failure is not None and "tiny.onnx" in failure for failure in failures)
    worker.close()


def test_a_full_queue_refuses_more(tiny_family: Family) -> None:
    slow = far_slower_than_this_test()
    worker = Worker(Repertoire.of(tiny_family), CPU, pace=slow, settings=WorkerSettings(queue_bytes=100))
    reply = send(worker, task(0, batch=1))

    with pytest.raises(TaskRefusedError, match="full"):
        send(worker, task(1, batch=1))
    assert reply.result(10).failure is None
    worker.close()


def test_an_abandoned_task_is_forgotten_and_the_next_one_done(tiny_family: Family) -> None:
    worker = Worker(Repertoire.of(tiny_family), CPU, pace=far_slower_than_this_test())
    started, waiting = (send(worker, task(*range(5), number=n, batch=1)) for n in range(2))
    wanted = send(worker, task(0, number=2, batch=1))
    worker.abandon("r", 0)
    worker.abandon("r", 1)
    worker.abandon("somebody else's", None)

    assert started.result(10).failure == waiting.result(10).failure == "it was abandoned"
    assert len(wanted.result(10).answers) == 1
    worker.close()


def test_closing_answers_what_waits_and_leaves_no_thread(tiny_family: Family) -> None:
    before = set(threading.enumerate())
    worker = Worker(Repertoire.of(tiny_family), CPU, pace=far_slower_than_this_test())
    replies = [send(worker, task(*range(5), number=n, batch=1)) for n in range(3)]
    worker.close()

    assert [reply.result(0).failure for reply in replies] == ["it was abandoned"] * 3
    assert set(threading.enumerate()) == before
    with pytest.raises(TaskRefusedError, match="closing"):
        send(worker, task(0))


def test_preloaded_variants_cost_no_task_its_loading_when_loading_is_not_described(tiny_family: Family) -> None:
    described = AsDescribed({"small": Profile(variant="small", latency_s={1: 0.001})})
    worker = Worker(Repertoire.of(tiny_family), CPU, pace=described, preload=[(identity_of(tiny_family), "small")])
    worker.ready.result(10)

    assert send(worker, task(0, batch=1)).result(10).failure is None
    worker.close()


def test_what_keeps_a_worker_from_being_ready_is_told(tiny_family: Family) -> None:
    worker = Worker(Repertoire.of(tiny_family), CPU, preload=[(identity_of(tiny_family), "huge")])

    with pytest.raises(KeyError, match="huge"):
        worker.ready.result(10)
    worker.close()


def _fields(message: TaskMessage) -> dict[str, object]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


def test_what_is_due_first_is_done_first_whoever_asked_first(tiny_family: Family) -> None:
    worker = Worker(Repertoire.of(tiny_family), CPU, pace=far_slower_than_this_test())
    order: list[str] = []
    replies = []
    for request, due_in_s in (("first", None), ("patient", 500.0), ("urgent", 0.5)):
        reply = send(worker, task(0, request=request, due_in_s=due_in_s))
        reply.add_done_callback(lambda done: order.append(done.result().request))
        replies.append(reply)

    for reply in replies:
        assert reply.result(30).failure is None
    assert order[-1] == "patient"
    assert replies[1].result().others_s > replies[1].result().busy_s  # it waited for both
    worker.close()


def test_nothing_is_left_of_the_work_of_a_coordinator_that_is_gone(tiny_family: Family) -> None:
    worker = Worker(Repertoire.of(tiny_family), CPU, pace=far_slower_than_this_test())
    replies = [send(worker, task(*range(5), number=n, batch=1)) for n in range(3)]
    worker.abandon_work_of("c")

    assert [reply.result(10).failure for reply in replies] == ["it was abandoned"] * 3
    assert worker.wait_until_idle(10)
    worker.close()


def test_a_variant_leaves_when_memory_has_no_room_for_two(tiny_family: Family) -> None:
    profiles = tuple(Profile(variant=name, latency_s={1: 0.01}, memory_bytes=60) for name in ("small", "large"))
    node = Node(name="pi", processors=(Processor(name="cpu", profiles=profiles),))
    worker = Worker(Repertoire.of(tiny_family, node), CPU, memory=ModelMemory(100))

    loads = [send(worker, task(0, variant=variant)).result(10) for variant in ("small", "large", "large", "small")]

    assert [reply.failure for reply in loads] == [None] * 4
    assert [reply.load_s > 0 for reply in loads] == [True, True, False, True]
    assert [variant for _, variant in worker.status().resident] == ["small"]
    worker.close()


def test_a_variant_that_alone_is_too_large_for_the_memory_fails_its_tasks(tiny_family: Family) -> None:
    profile = Profile(variant="small", latency_s={1: 0.01}, memory_bytes=101)
    node = Node(name="pi", processors=(Processor(name="cpu", profiles=(profile,)),))
    worker = Worker(Repertoire.of(tiny_family, node), CPU, memory=ModelMemory(100))

    assert "needs 101 bytes" in str(send(worker, task(0)).result(10).failure)
    worker.close()


def sharing(family: Family, memory: ModelMemory, **needs_bytes: int) -> tuple[Worker, Worker]:
    """Two processors of one node, whose models need so much."""
    profiles = tuple(
        Profile(variant=name, latency_s={1: 0.01}, memory_bytes=size) for name, size in needs_bytes.items()
    )
    names = ("one", "two")
    node = Node(name="pi", processors=tuple(Processor(name=name, profiles=profiles) for name in names))
    repertoire = Repertoire.of(family, node)
    one, two = (Worker(repertoire, LocalProcessor(name=name), memory=memory) for name in names)
    return one, two


def test_what_a_processor_loaded_for_earlier_work_gives_way_to_what_another_needs_now(tiny_family: Family) -> None:
    one, two = sharing(tiny_family, ModelMemory(150), small=60, large=90)
    earlier = [send(one, task(0, variant="large")), send(two, task(0, variant="small"))]
    assert [reply.result(30).failure for reply in earlier] == [None, None]

    swapped = [send(two, task(0, variant="large")), send(one, task(0, variant="small"))]

    assert [reply.result(30).failure for reply in swapped] == [None, None]
    assert [variant for _, variant in two.status().resident] == ["large"]
    assert [variant for _, variant in one.status().resident] == ["small"]
    one.close()
    two.close()


def test_what_a_processor_needs_for_its_next_task_does_not_give_way(tiny_family: Family) -> None:
    memory = ModelMemory(100)
    one, two = sharing(tiny_family, memory, small=60, large=90)
    assert send(one, task(0, variant="small")).result(30).failure is None
    replies = [send(one, task(*range(40), number=number, batch=1, variant="small")) for number in range(3)]

    assert send(two, task(0, variant="large")).result(30).failure is None  # once the other had nothing more to do
    assert [reply.result(30).failure for reply in replies] == [None] * 3
    assert memory.used_bytes == 90
    one.close()
    two.close()


def test_the_queue_is_told_in_seconds_by_the_profiles(tiny_family: Family) -> None:
    profile = Profile(variant="small", latency_s={1: 1.0}, load_s=0.5)
    node = Node(name="pi", processors=(Processor(name="cpu", profiles=(profile,)),))
    worker = Worker(Repertoire.of(tiny_family, node), CPU, pace=AsDescribed({"small": profile}))
    for number in range(2):
        send(worker, task(0, 1, number=number, batch=1))

    status = worker.status()

    assert status.queue_tasks == 2
    assert 4.0 <= status.queue_s <= 5.0  # four items, and the load until it is over
    worker.abandon("r", None)
    worker.close()


def test_a_pinned_processor_prepares_and_infers_on_its_own_cpus(
    tiny_family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = usable_cpus()[-1:]
    seen: set[tuple[int, ...]] = set()

    def noted(payload: bytes, spec: InputSpec) -> NDArray[Any]:
        seen.add(usable_cpus())
        return prepare(payload, spec)

    monkeypatch.setattr("equipoise.node.job.prepare", noted)
    worker = Worker(Repertoire.of(tiny_family), LocalProcessor(name="cpu0", cpus=last))

    assert send(worker, task(*range(8), batch=2)).result(10).failure is None
    assert seen == {last}
    worker.close()


@pytest.mark.parametrize(("others_at_work", "expected_s"), [(False, 2.0), (True, 3.0)])
def test_a_processor_is_expected_to_be_faster_while_it_is_alone(
    tiny_family: Family, monkeypatch: pytest.MonkeyPatch, others_at_work: bool, expected_s: float
) -> None:
    predicted: list[float] = []

    class Noting(SpeedEstimator):
        def observe(self, *, predicted_s: float, observed_s: float) -> None:
            predicted.append(predicted_s)

    monkeypatch.setattr("equipoise.node.worker.SpeedEstimator", Noting)
    profile = Profile(variant="small", latency_s={1: 3.0}, contention=1.5)
    node = Node(name="pi", processors=(Processor(name="cpu", profiles=(profile,)),))
    company = Company()
    worker = Worker(Repertoire.of(tiny_family, node), CPU, company=company)
    with company.joined() if others_at_work else nullcontext():
        assert send(worker, task(0, batch=1)).result(10).failure is None

    assert predicted == pytest.approx([expected_s])
    worker.close()


def test_a_processor_that_waits_prepares_its_next_call_itself_and_one_at_work_has_it_prepared(
    tiny_family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared_by: list[str] = []

    def noted(payload: bytes, spec: InputSpec) -> NDArray[Any]:
        prepared_by.append(threading.current_thread().name)
        return prepare(payload, spec)

    monkeypatch.setattr("equipoise.node.job.prepare", noted)
    worker = Worker(Repertoire.of(tiny_family), CPU)
    send(worker, task(0, batch=1)).result(10)
    assert prepared_by == ["equipoise-cpu-infer"]

    send(worker, task(0, 1, 2, 3, batch=1)).result(10)
    assert sorted(name[:17] for name in prepared_by[1:]) == ["equipoise-cpu-inf", *["equipoise-cpu-pre"] * 3]
    worker.close()
