"""Over a long way more tasks are under way at a time, so that a packet that is lost leaves neither end idle."""

from __future__ import annotations

import pytest

from equipoise.core.cluster import Cluster, Link, Node, Processor, Profile, Variant
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.dispatch.commands import SendTask
from equipoise.dispatch.dispatcher import Dispatcher
from equipoise.dispatch.events import TaskDone
from equipoise.planning.planner import plan as plan_with

ITEM_BYTES = 20_000
BANDWIDTH_BYTES_PER_S = 5e6  # 250 items a second; the processor could do 1000


def first_window(latency_s: float) -> list[SendTask]:
    """What a board at the end of such a link is sent at once, and then for the first answer."""
    link = Link(latency_s=latency_s, bandwidth_bytes_per_s=BANDWIDTH_BYTES_PER_S)
    processor = Processor(name="cpu", profiles=(Profile(variant="v", latency_s={1: 0.001}),))
    cluster = Cluster(
        family="f",
        variants=(Variant(name="v", accuracy=0.9, input_bytes=ITEM_BYTES),),
        nodes=(Node(name="far", link=link, processors=(processor,)),),
    )
    request = Request(items=2000, requirement=Requirement(prefer=Prefer.LATENCY))
    dispatcher = Dispatcher(request, cluster, range(request.items))
    commands = dispatcher.start(0.0, plan_with(request, cluster))
    commands += dispatcher.handle(TaskDone(now_s=0.1, task=0, busy_s=0.01))
    return [command for command in commands if isinstance(command, SendTask)]


@pytest.mark.parametrize(("latency_s", "lost_round_trips"), [(0.02, 4), (0.1, 4)])
def test_what_is_under_way_fills_a_long_link_for_several_round_trips(latency_s: float, lost_round_trips: int):
    under_way = first_window(latency_s)[1:]  # the first one is answered

    assert (
        sum(len(task.items) for task in under_way) * ITEM_BYTES / BANDWIDTH_BYTES_PER_S > lost_round_trips * latency_s
    )


def test_on_a_short_link_three_tasks_are_under_way_at_most():
    assert len(first_window(0.0002)) == 3 + 1  # and one is answered
