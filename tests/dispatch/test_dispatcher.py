"""The machine by plain calls: one event in, these commands out."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from world import cluster_of, pid, request_of

from equipoise.core.cluster import Link, ProcessorId
from equipoise.core.plan import Condition, Plan, Share
from equipoise.core.request import Prefer, WhenLate
from equipoise.dispatch.commands import (
    AbandonTask,
    AcceptAnswers,
    AskForPlan,
    Command,
    Finish,
    Outcome,
    SendTask,
    WakeAt,
)
from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.dispatch.events import (
    Interrupted,
    NodeJoined,
    NodeLost,
    NodeReturned,
    PlanReady,
    RoundTrip,
    TaskDone,
    TaskFailed,
    Tick,
    Travel,
)
from equipoise.dispatch.settings import Settings

TWO_BOARDS = cluster_of(fast=0.1, slow=0.2, batch=1)


def plan_of(**items: int) -> Plan:
    """A plan in which each node runs so many items with the large variant."""
    return Plan(
        feasible=True,
        strategy="test",
        prefer=Prefer.LATENCY,
        items=sum(items.values()),
        latency_s=1.0,
        accuracy=0.8,
        energy_j=None,
        bound=None,
        gap=None,
        solve_s=0.0,
        shares=tuple(
            Share(node=node, processor="cpu", variant="large", batch=1, items=count, finish_s=1.0)
            for node, count in items.items()
            if count
        ),
    )


def dispatcher_of(items: int, *, settings: Settings | None = None, **requirement: object) -> Dispatcher:
    return Dispatcher(request_of(items, **requirement), TWO_BOARDS, range(items), settings=settings)


def sends(commands: list[Command]) -> list[SendTask]:
    return [command for command in commands if isinstance(command, SendTask)]


def only(commands: list[Command], kind: type[Command]) -> Command:
    (found,) = [command for command in commands if isinstance(command, kind)]
    return found


def done(task: SendTask, now_s: float, **more: object) -> TaskDone:
    return TaskDone(now_s=now_s, task=task.task, busy_s=0.6 * len(task.items), **more)


def test_it_asks_for_a_plan_of_the_whole_request_first():
    commands = dispatcher_of(10, deadline_s=10.0, when_late=WhenLate.KEEP_DEADLINE).start(100.0)

    ask = only(commands, AskForPlan)
    assert ask.request.items == 10
    assert ask.request.requirement.min_accuracy == pytest.approx(0.65)
    assert 9.9 < ask.request.requirement.deadline_s < 10.0  # less a reserve
    assert ask.cluster is TWO_BOARDS
    assert sends(commands) == []


def test_given_a_plan_it_fills_the_windows_at_once():
    tasks = sends(dispatcher_of(4).start(0.0, plan_of(fast=3, slow=1)))

    assert [(task.pid.node, task.items) for task in tasks] == [("fast", (0,)), ("fast", (1,)), ("slow", (2,))]
    assert {(task.variant, task.batch, task.expire_in_s) for task in tasks} == {("large", 1, None)}


def test_an_answer_makes_room_for_the_next_task():
    dispatcher = dispatcher_of(4)
    first, *_ = sends(dispatcher.start(0.0, plan_of(fast=3, slow=1)))

    commands = dispatcher.handle(done(first, 0.6))

    assert commands[0] == AcceptAnswers(task=first.task, items=(0,))
    assert [task.items for task in sends(commands)] == [(3,)]


def test_the_last_answer_finishes_the_request():
    dispatcher = dispatcher_of(2)
    first, second = sends(dispatcher.start(0.0, plan_of(fast=1, slow=1)))
    dispatcher.handle(done(first, 0.6))

    commands = dispatcher.handle(done(second, 1.2))

    assert commands[-1] == Finish(outcome=Outcome.ANSWERED, unanswered=())
    assert dispatcher.handle(Tick(now_s=2.0)) == []


def test_the_same_answer_twice_is_taken_once():
    dispatcher = dispatcher_of(4)
    first, *_ = sends(dispatcher.start(0.0, plan_of(fast=3, slow=1)))
    dispatcher.handle(done(first, 0.6))

    assert not any(isinstance(command, AcceptAnswers) for command in dispatcher.handle(done(first, 0.7)))


def test_items_of_a_lost_node_are_planned_again_for_the_others():
    dispatcher = dispatcher_of(6)
    dispatcher.start(0.0, plan_of(fast=3, slow=3))

    ask = only(dispatcher.handle(NodeLost(now_s=0.1, node="fast", reason="gone")), AskForPlan)

    assert ask.request.items == 4  # all but the two that slow works on
    assert not ask.conditions[pid("fast")].available
    assert ask.conditions[pid("slow")].busy_s == pytest.approx(2.3)
    assert ask.conditions[pid("slow")].resident == {"large"}


def test_what_is_owed_is_what_earned_answers_leave():
    dispatcher = dispatcher_of(6, min_accuracy=0.7)
    first, *_ = sends(dispatcher.start(0.0, plan_of(fast=3, slow=3)))
    dispatcher.handle(done(first, 0.6))

    ask = only(dispatcher.handle(NodeLost(now_s=0.7, node="fast", reason="gone")), AskForPlan)

    assert ask.request.items == 3
    assert ask.request.requirement.min_accuracy == pytest.approx((0.7 * 6 - 0.8 - 2 * 0.8) / 3)


def test_bad_items_are_answered_but_neither_earn_nor_owe():
    dispatcher = dispatcher_of(6, min_accuracy=0.7)
    first, *_ = sends(dispatcher.start(0.0, plan_of(fast=3, slow=3)))

    accept = only(dispatcher.handle(done(first, 0.6, bad_items=(0,))), AcceptAnswers)
    ask = only(dispatcher.handle(NodeLost(now_s=0.7, node="fast", reason="gone")), AskForPlan)

    assert accept.items == (0,)
    assert ask.request.requirement.min_accuracy == pytest.approx((0.7 * 5 - 2 * 0.8) / 3)
    assert dispatcher.progress(0.7).bad == 1


def test_a_late_answer_of_a_lost_node_is_used_if_the_item_has_none():
    dispatcher = dispatcher_of(6)
    _, second, *_ = sends(dispatcher.start(0.0, plan_of(fast=3, slow=3)))
    dispatcher.handle(NodeLost(now_s=0.1, node="fast", reason="gone"))

    assert only(dispatcher.handle(done(second, 0.8)), AcceptAnswers).items == second.items
    assert dispatcher.progress(0.8).answered == 1


def test_a_late_answer_is_dropped_if_the_item_has_one():
    dispatcher = dispatcher_of(2)
    first, second = sends(dispatcher.start(0.0, plan_of(fast=1, slow=1)))
    dispatcher.handle(NodeLost(now_s=0.1, node="fast", reason="gone"))
    (again,) = sends(dispatcher.handle(PlanReady(now_s=0.1, plan=plan_of(slow=1))))
    assert again.items == first.items

    dispatcher.handle(done(second, 1.2))
    commands = dispatcher.handle(done(first, 1.3))

    assert commands[0].items == first.items  # the late answer was first
    assert commands[1] == AbandonTask(task=again.task, pid=again.pid)
    assert isinstance(commands[-1], Finish)


def test_a_plan_that_nobody_asked_for_is_ignored():
    dispatcher = dispatcher_of(4)
    dispatcher.start(0.0, plan_of(fast=3, slow=1))

    assert sends(dispatcher.handle(PlanReady(now_s=0.1, plan=plan_of(fast=1)))) == []
    assert dispatcher.progress(0.1).replanned == 0


def test_a_plan_that_does_not_come_is_asked_for_again():
    dispatcher = dispatcher_of(4, settings=Settings(ask_again_s=1.0))
    wake = only(dispatcher.start(0.0), WakeAt)

    assert wake.at_s == pytest.approx(1.0)
    assert only(dispatcher.handle(Tick(now_s=1.0)), AskForPlan).request.items == 4


def test_a_processor_that_is_late_beyond_belief_gets_no_new_work():
    dispatcher = dispatcher_of(6)
    _, second, *_ = sends(dispatcher.start(0.0, plan_of(fast=6)))

    commands = dispatcher.handle(Tick(now_s=10.0))

    assert only(commands, AbandonTask) == AbandonTask(task=second.task, pid=second.pid)
    assert not only(commands, AskForPlan).conditions[pid("fast")].available
    assert not dispatcher.progress(10.0).processors[0].usable


def test_a_suspected_processor_that_answers_is_trusted_again():
    dispatcher = dispatcher_of(6)
    first, *_ = sends(dispatcher.start(0.0, plan_of(fast=6)))
    dispatcher.handle(Tick(now_s=10.0))
    dispatcher.handle(PlanReady(now_s=10.0, plan=plan_of(slow=6)))

    commands = dispatcher.handle(done(first, 11.0))

    assert dispatcher.progress(11.0).processors[0].usable
    assert only(commands, AskForPlan).conditions[pid("fast")].available


def test_a_variant_that_keeps_failing_on_a_processor_is_excluded_there():
    dispatcher = dispatcher_of(100)
    queue = sends(dispatcher.start(0.0, plan_of(fast=50, slow=50)))
    asked_on = TWO_BOARDS
    while any(lane_task := [task for task in queue if task.pid.node == "fast"]):
        queue.remove(lane_task[0])
        commands = dispatcher.handle(TaskFailed(now_s=0.1, task=lane_task[0].task, reason="out of memory"))
        queue += sends(commands)
        asked_on = next((command.cluster for command in commands if isinstance(command, AskForPlan)), asked_on)
        if "large" not in [profile.variant for profile in asked_on.nodes[0].processors[0].profiles]:
            break
        queue += sends(dispatcher.handle(PlanReady(now_s=0.1, plan=plan_of(fast=50, slow=50))))

    assert [profile.variant for profile in asked_on.nodes[0].processors[0].profiles] == ["small", "medium"]
    assert len(asked_on.nodes[1].processors[0].profiles) == 3


def test_an_idle_processor_does_the_straggler_s_items_once_more_and_the_first_answer_wins():
    dispatcher = dispatcher_of(2)
    quick, late = sends(dispatcher.start(0.0, plan_of(fast=1, slow=1)))
    assert sends(dispatcher.handle(done(quick, 0.6))) == []  # slow should answer before fast could

    (again,) = sends(dispatcher.handle(Tick(now_s=2.2)))
    assert (again.items, again.pid, again.variant) == (late.items, quick.pid, late.variant)

    commands = dispatcher.handle(done(again, 2.9))
    assert commands == [
        AcceptAnswers(task=again.task, items=late.items),
        AbandonTask(task=late.task, pid=late.pid),
        Finish(outcome=Outcome.ANSWERED, unanswered=()),
    ]
    assert dispatcher.progress(3.0).duplicated == 1


def test_a_straggler_s_items_wait_for_a_processor_at_work_if_the_idle_one_would_be_late_with_them():
    boards = cluster_of(quick=0.1, slow=0.2, slower=0.3, batch=1)
    dispatcher = Dispatcher(request_of(7, deadline_s=4.5), boards, range(7), settings=Settings(replan=False))
    first, second, late = sends(dispatcher.start(0.0, plan_of(quick=6, slow=1)))
    queue, now_s = [first, second], 0.0
    while len(queue) > 1:  # until the quick one works on its last
        now_s += 0.6
        queue += sends(dispatcher.handle(done(queue.pop(0), now_s)))

    assert sends(dispatcher.handle(Tick(now_s=3.2))) == []  # slower would need until 5.0, and quick will until 4.2
    (again,) = sends(dispatcher.handle(done(queue[0], 3.6)))

    assert (again.items, again.pid.node) == (late.items, "quick")


def test_interrupted_it_forgets_what_is_in_flight_and_says_what_is_missing():
    dispatcher = dispatcher_of(4)
    first, *_ = sends(dispatcher.start(0.0, plan_of(fast=3, slow=1)))
    dispatcher.handle(done(first, 0.6))

    commands = dispatcher.handle(Interrupted(now_s=0.7))

    assert sum(isinstance(command, AbandonTask) for command in commands) == 3
    assert commands[-1] == Finish(outcome=Outcome.INTERRUPTED, unanswered=(1, 2, 3), reason="interrupted")


@pytest.mark.parametrize("policy", [WhenLate.KEEP_DEADLINE, WhenLate.STOP])
def test_at_the_deadline_a_request_that_keeps_it_is_over(policy: WhenLate):
    dispatcher = dispatcher_of(4, deadline_s=1.0, when_late=policy)
    first, *_ = sends(dispatcher.start(0.0, plan_of(fast=3, slow=1)))
    assert first.expire_in_s == pytest.approx(1.0)
    dispatcher.handle(done(first, 0.6))

    finish = dispatcher.handle(Tick(now_s=1.0))[-1]

    assert finish == Finish(outcome=Outcome.STOPPED, unanswered=(1, 2, 3), reason="the deadline has passed")


def test_past_the_deadline_a_request_that_keeps_the_floor_goes_on_as_fast_as_it_can():
    dispatcher = dispatcher_of(6, deadline_s=1.0)
    dispatcher.start(0.0, plan_of(fast=3, slow=3))

    ask = only(dispatcher.handle(NodeLost(now_s=1.5, node="fast", reason="gone")), AskForPlan)

    assert ask.request.requirement.deadline_s is None
    assert ask.request.requirement.prefer is Prefer.LATENCY


def test_with_everybody_gone_it_waits_for_a_return():
    dispatcher = dispatcher_of(4, settings=Settings(patience_s=5.0))
    dispatcher.start(0.0, plan_of(fast=3, slow=1))
    for node in ("fast", "slow"):
        dispatcher.handle(NodeLost(now_s=1.0, node=node, reason="power cut"))
    assert only(dispatcher.handle(Tick(now_s=3.0)), WakeAt).at_s == pytest.approx(6.0)

    ask = only(dispatcher.handle(NodeReturned(now_s=4.0, node="slow")), AskForPlan)

    assert ask.conditions[pid("slow")] == Condition()
    assert ask.request.items == 4


def test_with_everybody_gone_for_good_it_gives_up():
    dispatcher = dispatcher_of(4, settings=Settings(patience_s=5.0))
    dispatcher.start(0.0, plan_of(fast=3, slow=1))
    for node in ("fast", "slow"):
        dispatcher.handle(NodeLost(now_s=1.0, node=node, reason="power cut"))

    (finish,) = dispatcher.handle(Tick(now_s=6.0))

    assert (finish.outcome, finish.unanswered) == (Outcome.ABANDONED, (0, 1, 2, 3))
    assert "power cut" in finish.reason


def test_nodes_that_it_does_not_know_do_not_concern_it():
    dispatcher = dispatcher_of(4)
    dispatcher.start(0.0, plan_of(fast=3, slow=1))

    assert dispatcher.handle(NodeReturned(now_s=0.1, node="stranger")) == []
    assert dispatcher.handle(NodeLost(now_s=0.2, node="stranger", reason="gone")) == []


def test_a_link_that_gets_slow_has_the_rest_planned_over_it_as_it_is_now():
    cluster = cluster_of(fast=0.1, slow=0.2, batch=1, link=Link(bandwidth_bytes_per_s=10_000.0))
    variants = tuple(msgspec.structs.replace(variant, input_bytes=1000) for variant in cluster.variants)
    cluster = msgspec.structs.replace(cluster, variants=variants)
    dispatcher = Dispatcher(request_of(40), cluster, range(40))
    pending, now_s, asked = sends(dispatcher.start(0.0, plan_of(fast=20, slow=20))), 0.0, []

    for _ in range(3):
        task = next(task for task in pending if task.pid.node == "fast")
        pending.remove(task)
        travel = Travel(sent_s=now_s, arrived_s=now_s + 1000 * len(task.items) / 200)
        now_s = travel.arrived_s + 0.6
        commands = dispatcher.handle(done(task, now_s, travel=travel))
        pending += sends(commands)
        asked += [command for command in commands if isinstance(command, AskForPlan)]

    links = {node.name: node.link.bandwidth_bytes_per_s for node in asked[-1].cluster.nodes}
    assert links == {"fast": pytest.approx(200.0), "slow": 10_000.0}


def test_a_way_that_has_become_longer_is_planned_with_as_long_as_it_is():
    cluster = cluster_of(fast=0.1, slow=0.2, batch=1, link=Link(latency_s=0.01, bandwidth_bytes_per_s=1e6))
    dispatcher = Dispatcher(request_of(40), cluster, range(40))
    dispatcher.start(0.0, plan_of(fast=20, slow=20))

    commands = [dispatcher.handle(RoundTrip(now_s=0.4 + 0.1 * n, node="fast", sent_s=0.1 * n)) for n in range(1, 6)]
    ask = only(commands[-1], AskForPlan)

    assert not any(sends(earlier) for earlier in commands)
    assert ask.cluster.node("fast").link.latency_s == pytest.approx(0.4)
    assert ask.cluster.node("slow").link.latency_s == 0.01


def test_round_trips_to_a_node_that_is_not_planned_with_concern_nobody():
    dispatcher = dispatcher_of(40)
    dispatcher.start(0.0, plan_of(fast=20, slow=20))

    assert dispatcher.handle(RoundTrip(now_s=0.4, node="stranger", sent_s=0.1)) == []


def joined(now_s: float, **item_s: float) -> NodeJoined:
    """A node that describes itself as taking so long for an item."""
    (node,) = cluster_of(batch=1, **item_s).nodes
    return NodeJoined(now_s=now_s, node=node, conditions={ProcessorId(node.name, "cpu"): Condition(speed=0.5)})


def test_a_node_that_joins_is_planned_with_and_gets_work():
    dispatcher = dispatcher_of(40)
    dispatcher.start(0.0, plan_of(fast=30, slow=10))

    ask = only(dispatcher.handle(joined(0.5, third=0.05)), AskForPlan)
    tasks = sends(dispatcher.handle(PlanReady(now_s=0.6, plan=plan_of(fast=12, slow=4, third=20))))

    assert [node.name for node in ask.cluster.nodes] == ["fast", "slow", "third"]
    assert ask.conditions[pid("third")].speed == 0.5
    assert {task.pid.node for task in tasks} == {"third"}
    assert [one.pid.node for one in dispatcher.progress(0.6).processors] == ["fast", "slow", "third"]


def test_a_node_that_was_started_anew_is_what_it_says_now_and_keeps_what_it_was_sent():
    dispatcher = dispatcher_of(40)
    first, *_ = sends(dispatcher.start(0.0, plan_of(fast=30, slow=10)))

    ask = only(dispatcher.handle(joined(0.5, fast=0.4)), AskForPlan)
    answered = dispatcher.handle(done(first, 0.6))

    assert ask.cluster.profile(pid("fast"), "large").call_s(1) > TWO_BOARDS.profile(pid("fast"), "large").call_s(1)
    assert ask.cluster.node("fast").link == TWO_BOARDS.node("fast").link
    assert only(answered, AcceptAnswers).items == first.items


def test_a_processor_that_a_node_no_longer_has_loses_its_work_to_others():
    dispatcher = dispatcher_of(40)
    dispatcher.start(0.0, plan_of(fast=30, slow=10))
    event = joined(0.5, fast=0.1)
    other = msgspec.structs.replace(event.node.processors[0], name="gpu")
    event = replace(event, node=msgspec.structs.replace(event.node, processors=(other,)))

    ask = only(dispatcher.handle(event), AskForPlan)

    assert not ask.conditions[pid("fast")].available
    assert ask.conditions[ProcessorId("fast", "gpu")].available
    assert ask.request.items == 40 - 2  # what the slow one holds


def test_the_progress_says_who_does_what():
    dispatcher = dispatcher_of(4, deadline_s=9.0)
    first, *_ = sends(dispatcher.start(10.0, plan_of(fast=3, slow=1)))
    dispatcher.handle(done(first, 10.6))

    progress = dispatcher.progress(11.0)

    assert (progress.items, progress.answered, progress.in_flight) == (4, 1, 3)
    assert (progress.elapsed_s, progress.deadline_s) == (1.0, 9.0)
    assert progress.accuracy == pytest.approx(0.8)
    fast, _ = progress.processors
    assert (fast.items_done, fast.items_in_flight, fast.variant) == (1, 2, "large")
    assert fast.items_per_s == pytest.approx(1.0)
    assert progress.shares[0].busy_s == pytest.approx(0.6)
    assert progress.shares[0].last_answer_s == pytest.approx(0.6)
