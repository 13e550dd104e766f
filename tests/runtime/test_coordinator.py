"""The shell with everything real but the network: nodes with real models in this process, faults injected."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Callable

import msgspec
import pytest
from grey_items import GreyItems, Kept
from played import boards, playing

from equipoise.core.cluster import Cluster, Link, Node, ProcessorId
from equipoise.core.family import Family
from equipoise.core.plan import Conditions
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.dispatch.commands import AskForPlan, Command, Outcome
from equipoise.dispatch.coordination import CachingPlanner
from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.dispatch.events import Event, Interrupted, NodeLost, NodeReturned, TaskDone
from equipoise.dispatch.progress import Progress
from equipoise.dispatch.settings import Settings
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import OutputError
from equipoise.fabric.base import Verb
from equipoise.fabric.inprocess import InProcessFabric
from equipoise.fabric.messages import Answer, TaskMessage, TaskReply
from equipoise.families.identity import identity_of
from equipoise.node.agent import NodeAgent
from equipoise.node.pacing import Wire
from equipoise.runtime.coordinator import CoordinatorSettings, Hooks, Ran, Survey, run_request
from equipoise.runtime.interrupt import Interrupt, interrupted_by
from equipoise.runtime.local import LocalCluster

FASTEST = Requirement(prefer=Prefer.LATENCY)
FAMILY: list[str] = []  # the identity of the tiny family


@pytest.fixture(autouse=True)
def _family(tiny_family: Family) -> None:
    FAMILY.append(identity_of(tiny_family))


async def run(
    cluster: Cluster,
    fabric: InProcessFabric,
    items: GreyItems,
    sink: Kept,
    *,
    interrupt: Interrupt | None = None,
    hooks: Hooks | None = None,
    survey: Survey | None = None,
    patience_s: float = 10.0,
    shell: CoordinatorSettings | None = None,
) -> Ran:
    request = Request(items=len(items), requirement=FASTEST)
    order = random.Random(7).sample(range(len(items)), len(items))
    settings = Settings(patience_s=patience_s, belief_margin_s=0.3)
    return await asyncio.wait_for(
        run_request(
            Dispatcher(request, cluster, order, settings=settings),
            cluster=cluster,
            family=FAMILY[-1],
            fabric=fabric,
            items=items,
            sink=sink,
            planner=CachingPlanner(),
            classes=range(4),
            survey=survey,
            interrupt=interrupt,
            hooks=hooks,
            settings=shell,
        ),
        60,
    )


def when_answered(sink: Kept, items: int, act: Callable[[], None]) -> Hooks:
    """Hooks that `act` once, as soon as the sink has so many answers."""
    pending = [act]

    def look(*_: object) -> None:
        if pending and len(sink.answers) >= items:
            pending.pop()()

    return Hooks(on_step=look)


async def test_every_item_is_answered_once_by_boards_of_different_speed(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.001, 0.003), Kept()
    async with playing(tiny_family, cluster) as fabric:
        ran = await run(cluster, fabric, GreyItems(200), sink)

    assert ran.finish.outcome is Outcome.ANSWERED
    sink.assert_all_right(200)
    assert {pid.node for pid in sink.by.values()} == {"b0", "b1"}
    assert ran.progress.answered == 200


async def test_a_machine_of_its_own_answers_everything(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.0005), Kept()
    async with LocalCluster(tiny_family, cluster, [LocalProcessor(name="cpu", threads=2)]) as local:
        ran = await run(cluster, local.fabric, GreyItems(64), sink)

    assert ran.finish.outcome is Outcome.ANSWERED
    sink.assert_all_right(64)


async def test_items_that_cannot_be_read_or_decoded_are_answered_with_the_reason(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.001), Kept()
    async with playing(tiny_family, cluster) as fabric:
        ran = await run(cluster, fabric, GreyItems(30, broken={3}, missing={5, 6}), sink)

    assert {item for item, answer in sink.answers.items() if answer.error is not None} == {3, 5, 6}
    assert "is gone" in str(sink.answers[5].error)
    assert len(sink.answers) == 30
    assert ran.progress.bad == 3


async def test_a_request_of_nothing_readable_ends(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.001), Kept()
    async with playing(tiny_family, cluster) as fabric:
        await run(cluster, fabric, GreyItems(5, missing={0, 1, 2, 3, 4}), sink)

    assert len(sink.answers) == 5


async def test_the_items_of_a_lost_node_are_answered_by_the_others(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.002, 0.002), Kept()
    async with playing(tiny_family, cluster) as fabric:
        await run(cluster, fabric, GreyItems(200), sink, hooks=when_answered(sink, 20, lambda: fabric.lose("b1")))

    sink.assert_all_right(200)


async def test_a_silent_node_is_given_up_though_it_is_present(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.002, 0.002), Kept()
    async with playing(tiny_family, cluster) as fabric:
        await run(cluster, fabric, GreyItems(200), sink, hooks=when_answered(sink, 20, lambda: fabric.mute("b1")))

    sink.assert_all_right(200)


async def test_a_node_that_returns_is_told_to_the_dispatcher(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.002, 0.002), Kept()
    seen: list[type] = []
    async with playing(tiny_family, cluster) as fabric:

        def come_and_go() -> None:
            fabric.lose("b1")
            fabric.restore("b1")

        going = when_answered(sink, 20, come_and_go)

        def look(event: object, commands: object) -> None:
            seen.append(type(event))
            assert going.on_step is not None
            going.on_step(event, commands)  # type: ignore[arg-type]

        await run(cluster, fabric, GreyItems(200), sink, hooks=Hooks(on_step=look))

    assert seen.count(NodeLost) == seen.count(NodeReturned) == 1
    sink.assert_all_right(200)


async def test_a_node_that_comes_while_it_runs_is_asked_what_it_is_and_used(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.004), Kept()
    both = boards(tiny_family, 0.004, 0.002)
    asked: list[str] = []

    async def survey(name: str) -> tuple[Node, Conditions] | None:
        asked.append(name)
        return both.node(name), {}

    async with playing(tiny_family, both) as fabric:
        fabric.lose("b1")
        hooks = when_answered(sink, 20, lambda: fabric.restore("b1"))
        ran = await run(cluster, fabric, GreyItems(300), sink, hooks=hooks, survey=survey)

    sink.assert_all_right(300)
    assert asked == ["b1"]
    assert {pid.node for pid in sink.by.values()} == {"b0", "b1"}
    assert ran.lost == ()


async def test_a_link_that_gets_slow_while_it_runs_is_planned_with_as_it_is_then(tiny_family: Family) -> None:
    link = Link(latency_s=0.001, bandwidth_bytes_per_s=2e6)
    described, sink = boards(tiny_family, 0.004, 0.004), Kept()
    cluster = Cluster(
        family=described.family,
        variants=tuple(msgspec.structs.replace(variant, input_bytes=700) for variant in described.variants),
        nodes=tuple(msgspec.structs.replace(node, link=link) for node in described.nodes),
    )
    believed: list[float] = []
    agents: dict[str, NodeAgent] = {}

    def slow_down() -> None:
        agents["b1"]._wire = Wire(Link(latency_s=0.001, bandwidth_bytes_per_s=2e4))

    when_slow = when_answered(sink, 100, slow_down).on_step
    assert when_slow is not None

    def look(event: Event | None, commands: list[Command]) -> None:
        when_slow(event, commands)
        asked = [command.cluster.node("b1") for command in commands if isinstance(command, AskForPlan)]
        believed.extend(node.link.bandwidth_bytes_per_s for node in asked)

    async with playing(tiny_family, cluster, agents) as fabric:
        ran = await run(cluster, fabric, GreyItems(600), sink, hooks=Hooks(on_step=look))

    sink.assert_all_right(600)
    assert min(believed) < 1e5
    assert ran.progress.replanned > 0


async def test_a_way_that_gets_longer_while_it_runs_is_planned_with_as_it_is_then(tiny_family: Family) -> None:
    link = Link(latency_s=0.001, bandwidth_bytes_per_s=1e7)
    described, sink = boards(tiny_family, 0.01, 0.01), Kept()
    nodes = tuple(msgspec.structs.replace(node, link=link) for node in described.nodes)
    cluster = msgspec.structs.replace(described, nodes=nodes)
    believed_s: list[float] = []
    agents: dict[str, NodeAgent] = {}

    def lengthen() -> None:
        agents["b1"]._wire = Wire(Link(latency_s=0.3, bandwidth_bytes_per_s=1e7))

    when_longer = when_answered(sink, 20, lengthen).on_step
    assert when_longer is not None

    def look(event: Event | None, commands: list[Command]) -> None:
        when_longer(event, commands)
        asked = [command.cluster for command in commands if isinstance(command, AskForPlan)]
        believed_s.extend(cluster.node("b1").link.latency_s for cluster in asked)

    async with playing(tiny_family, cluster, agents) as fabric:
        pings = CoordinatorSettings(ping_period_s=0.02)
        await run(cluster, fabric, GreyItems(800), sink, hooks=Hooks(on_step=look), shell=pings)

    sink.assert_all_right(800)
    assert max(believed_s) > 0.2


async def test_a_node_that_goes_before_it_has_said_what_it_is_concerns_nobody(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.004), Kept()
    both = boards(tiny_family, 0.004, 0.002)
    surveying = asyncio.Event()

    async def survey(_: str) -> tuple[Node, Conditions] | None:
        surveying.set()
        await asyncio.Event().wait()
        return None

    async def lose_it(fabric: InProcessFabric) -> None:
        await surveying.wait()
        fabric.lose("b1")

    async with playing(tiny_family, both) as fabric:  # b1 is there, but not planned with
        losing = asyncio.ensure_future(lose_it(fabric))
        ran = await run(cluster, fabric, GreyItems(100), sink, survey=survey)
        await losing

    sink.assert_all_right(100)
    assert (ran.lost, {pid.node for pid in sink.by.values()}) == ((), {"b0"})


async def test_a_node_that_was_never_there_is_lost_from_the_start(tiny_family: Family) -> None:
    there, described = boards(tiny_family, 0.001), boards(tiny_family, 0.001, 0.0001)
    sink = Kept()
    async with playing(tiny_family, there) as fabric:
        await run(described, fabric, GreyItems(50), sink)

    sink.assert_all_right(50)


async def test_a_request_that_has_lost_every_node_ends_with_what_it_has(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.002), Kept()
    async with playing(tiny_family, cluster) as fabric:
        hooks = when_answered(sink, 20, lambda: fabric.lose("b0"))
        ran = await run(cluster, fabric, GreyItems(500), sink, hooks=hooks, patience_s=0.1)

    assert ran.finish.outcome is Outcome.ABANDONED
    assert len(ran.finish.unanswered) + len(sink.answers) == 500


def sane(task: TaskMessage) -> TaskReply:
    answers = tuple(Answer(item=item, classes=(item % 4,), scores=(1.0,)) for item in task.items)
    return TaskReply(request=task.request, task=task.task, answers=answers, busy_s=0.001)


def first(reply: TaskReply, **changes: object) -> TaskReply:
    """The reply with a change to its first answer."""
    answer = msgspec.structs.replace(reply.answers[0], **changes)
    return msgspec.structs.replace(reply, answers=(answer, *reply.answers[1:]))


GARBAGE: dict[str, Callable[[TaskReply], TaskReply]] = {
    "other items": lambda reply: first(reply, item=10_000),
    "an item twice": lambda reply: msgspec.structs.replace(reply, answers=reply.answers[:1] + reply.answers),
    "too few items": lambda reply: msgspec.structs.replace(reply, answers=reply.answers[:-1]),
    "another task": lambda reply: msgspec.structs.replace(reply, task=reply.task + 1),
    "another request": lambda reply: msgspec.structs.replace(reply, request="another"),
    "no class": lambda reply: first(reply, classes=(), scores=()),
    "an unknown class": lambda reply: first(reply, classes=(4,)),
    "a class before the first": lambda reply: first(reply, classes=(-1,)),
    "no score": lambda reply: first(reply, scores=()),
    "no number": lambda reply: first(reply, scores=(float("nan"),)),
    "negative time": lambda reply: msgspec.structs.replace(reply, busy_s=-1.0),
    "endless time": lambda reply: msgspec.structs.replace(reply, others_s=float("inf")),
    "more loading than work": lambda reply: msgspec.structs.replace(reply, load_s=1.0),
}


@pytest.mark.parametrize("garbage", ["nonsense", *GARBAGE])
async def test_a_node_that_answers_garbage_costs_no_item(tiny_family: Family, garbage: str) -> None:
    async def garble(payload: bytes) -> bytes:
        task = msgspec.msgpack.decode(payload, type=TaskMessage)
        return b"\xc1" if garbage == "nonsense" else msgspec.msgpack.encode(GARBAGE[garbage](sane(task)))

    async def forget(_: bytes) -> bytes:
        return b""

    cluster, sink = boards(tiny_family, 0.002, 0.002), Kept()
    async with playing(tiny_family, boards(tiny_family, 0.002)) as fabric:
        await fabric.host().serve("b1", {Verb.INFER: garble, Verb.ABANDON: forget})
        ran = await run(cluster, fabric, GreyItems(100), sink)

    sink.assert_all_right(100)
    assert {pid.node for pid in sink.by.values()} == {"b0"}
    assert ran.progress.resent > 0


async def test_an_interrupt_keeps_what_is_answered(tiny_family: Family) -> None:
    cluster, sink, interrupt = boards(tiny_family, 0.002), Kept(), Interrupt()
    async with playing(tiny_family, cluster) as fabric:
        ran = await run(
            cluster, fabric, GreyItems(1000), sink, interrupt=interrupt, hooks=when_answered(sink, 20, interrupt.set)
        )

    assert ran.finish.outcome is Outcome.INTERRUPTED
    assert sorted([*ran.finish.unanswered, *sink.answers]) == list(range(1000))


async def test_an_interrupt_before_the_start_answers_nothing(tiny_family: Family) -> None:
    cluster, sink, interrupt = boards(tiny_family, 0.5), Kept(), Interrupt()
    interrupt.set()
    steps: list[type] = []
    async with playing(tiny_family, cluster) as fabric:
        hooks = Hooks(on_step=lambda event, _: steps.append(type(event)))
        ran = await run(cluster, fabric, GreyItems(10), sink, interrupt=interrupt, hooks=hooks)

    assert ran.finish.outcome is Outcome.INTERRUPTED
    assert Interrupted in steps
    assert TaskDone not in steps


async def test_a_sink_that_fails_ends_the_run_with_its_error(tiny_family: Family, tmp_path: object) -> None:
    class Full(Kept):
        def accept(self, answer: Answer, pid: ProcessorId, variant: str) -> None:
            raise OutputError("no space left", path=tmp_path)  # type: ignore[arg-type]

    cluster = boards(tiny_family, 0.001)
    async with playing(tiny_family, cluster) as fabric:
        with pytest.raises(OutputError, match="no space left"):
            await run(cluster, fabric, GreyItems(50), Full())
        sink = Kept()
        await run(cluster, fabric, GreyItems(50), sink)  # the nodes have forgotten the first request

    sink.assert_all_right(50)


async def test_a_cancelled_run_leaves_nothing_on_the_loop(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.002), Kept()
    async with playing(tiny_family, cluster) as fabric:
        going = asyncio.create_task(run(cluster, fabric, GreyItems(1000), sink))
        while len(sink.answers) < 20:
            await asyncio.sleep(0.01)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going

        left = [task for task in asyncio.all_tasks() if "_Run" in str(task.get_coro())]
    assert left == []


async def test_progress_is_reported_while_it_runs_and_at_the_end(tiny_family: Family) -> None:
    cluster, sink = boards(tiny_family, 0.002), Kept()
    seen: list[Progress] = []
    async with playing(tiny_family, cluster) as fabric:
        await run(cluster, fabric, GreyItems(200), sink, hooks=Hooks(on_progress=seen.append))

    answered = [progress.answered for progress in seen]
    assert answered == sorted(answered)
    assert answered[-1] == 200
    assert len(seen) > 2


async def test_several_requests_share_the_nodes(tiny_family: Family) -> None:
    cluster, sinks = boards(tiny_family, 0.001, 0.002), (Kept(), Kept(), Kept())
    async with playing(tiny_family, cluster) as fabric:
        await asyncio.gather(*(run(cluster, fabric, GreyItems(60), sink) for sink in sinks))

    for sink in sinks:
        sink.assert_all_right(60)


async def test_no_thread_is_left_when_the_nodes_are_closed(tiny_family: Family) -> None:
    await asyncio.to_thread(lambda: None)  # the loop's own threads do not count
    cluster = boards(tiny_family, 0.001, 0.001)
    async with playing(tiny_family, cluster) as fabric:
        await run(cluster, fabric, GreyItems(50), Kept())
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("equipoise")]

    assert left == []


async def test_the_first_signal_interrupts_and_the_second_is_none_of_ours() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        with interrupted_by(signal.SIGUSR1) as interrupt:
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.wait_for(interrupt.wait(), 10)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert heard == []


async def test_an_interrupt_is_told_once_to_whoever_still_listens() -> None:
    interrupt, told = Interrupt(), []
    interrupt.listen(lambda: told.append("early"))
    interrupt.listen(lambda: told.append("gone"))()
    interrupt.set()
    interrupt.set()
    interrupt.listen(lambda: told.append("late"))

    assert told == ["early", "late"]
