"""The log of a request: a line per event, with what was done about it."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from equipoise.core.cluster import Cluster, Link, Node, Processor, ProcessorId, Profile, Variant
from equipoise.core.plan import Condition
from equipoise.core.request import Prefer, Request, Requirement
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
from equipoise.dispatch.events import Interrupted, NodeLost, TaskDone, Tick, Travel
from equipoise.errors import OutputError
from equipoise.runtime.request_log import RequestLog, line_of

PI, NANO = ProcessorId("pi", "cpu"), ProcessorId("nano", "cpu")
CLUSTER = Cluster(
    family="tiny",
    variants=(Variant(name="small", accuracy=0.6),),
    nodes=(
        Node(name="pi", processors=(Processor(name="cpu", profiles=(Profile(variant="small", latency_s={1: 0.1}),)),)),
    ),
)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def send(task: int, pid: ProcessorId, *items: int) -> SendTask:
    return SendTask(task=task, pid=pid, variant="small", batch=1, items=items, expire_in_s=None)


def ask_without(pid: ProcessorId) -> AskForPlan:
    request = Request(items=3, requirement=Requirement(prefer=Prefer.LATENCY))
    return AskForPlan(request=request, cluster=CLUSTER, conditions={pid: Condition(available=False), PI: Condition()})


def test_a_loss_is_told_with_its_time_and_what_was_done_about_it(tmp_path: Path):
    began_s = time.monotonic()
    with RequestLog(tmp_path / "log.jsonl") as log:
        log(None, [send(0, PI, 4, 2), send(1, NANO, 1)])
        lost = NodeLost(now_s=began_s + 5.0, node="nano", reason="it left the network")
        log(lost, [send(2, PI, 1), ask_without(NANO), WakeAt(at_s=9.0)])

    start, loss = lines(tmp_path / "log.jsonl")
    assert (start["event"], start["after_s"]) == ("started", 0.0)
    assert [(sent["task"], sent["node"], sent["items"]) for sent in start["sent"]] == [
        (0, "pi", [4, 2]),
        (1, "nano", [1]),
    ]
    assert (loss["event"], loss["node"], loss["reason"]) == ("lost", "nano", "it left the network")
    assert loss["after_s"] == pytest.approx(5.0, abs=1.0)
    assert [sent["task"] for sent in loss["sent"]] == [2]
    assert loss["asked_for_plan"]["without"] == ["nano/cpu"]


def test_a_question_says_what_each_link_is_believed_to_be_unless_it_is_free(tmp_path: Path):
    slow = Link(latency_s=0.01, bandwidth_bytes_per_s=1e6)
    free = msgspec.structs.replace(CLUSTER.nodes[0], name="nano")
    nodes = (msgspec.structs.replace(CLUSTER.nodes[0], link=slow), free)
    cluster = msgspec.structs.replace(CLUSTER, nodes=nodes)
    asked = dataclasses.replace(ask_without(NANO), cluster=cluster)
    with RequestLog(tmp_path / "log.jsonl") as log:
        log(None, [asked])

    (line,) = lines(tmp_path / "log.jsonl")

    assert line["asked_for_plan"]["links"] == {"pi": {"latency_s": 0.01, "bandwidth_bytes_per_s": 1e6}}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (AcceptAnswers(task=3, items=(5, 6)), {"accepted": [5, 6]}),
        (AbandonTask(task=7, pid=PI), {"abandoned": [7]}),
        (
            Finish(outcome=Outcome.STOPPED, unanswered=(1,), reason="late"),
            {"finished": {"outcome": "stopped", "unanswered": [1], "reason": "late"}},
        ),
    ],
)
def test_every_command_that_matters_is_told(command: Command, told: dict[str, Any]):
    line = line_of(TaskDone(now_s=1.0, task=3, busy_s=0.5), [command])

    assert line.items() >= told.items()
    assert (line["event"], line["task"], line["busy_s"]) == ("answered", 3, 0.5)


def test_of_a_request_that_is_gone_on_with_items_are_told_by_their_place_in_all_the_inputs(tmp_path: Path):
    with RequestLog(tmp_path / "log.jsonl", left=(7, 9, 12)) as log:
        log(None, [send(0, PI, 2, 0)])
        done = TaskDone(now_s=time.monotonic(), task=0, busy_s=0.1, bad_items=(0,))
        log(done, [AcceptAnswers(task=0, items=(2, 0)), Finish(outcome=Outcome.STOPPED, unanswered=(1,))])

    start, answered = lines(tmp_path / "log.jsonl")
    assert start["sent"][0]["items"] == [12, 7]
    assert (answered["accepted"], answered["bad_items"]) == ([12, 7], [7])
    assert answered["finished"]["unanswered"] == [9]


def test_an_answer_is_told_with_how_long_its_task_was_on_its_way():
    line = line_of(TaskDone(now_s=1.0, task=3, busy_s=0.5, travel=Travel(sent_s=0.25, arrived_s=0.375)), [])

    assert line["travel_s"] == 0.125


def test_being_woken_for_nothing_is_not_worth_a_line(tmp_path: Path):
    with RequestLog(tmp_path / "log.jsonl") as log:
        log(None, [])
        log(Tick(now_s=1.0), [WakeAt(at_s=2.0)])
        log(Interrupted(now_s=2.0), [])

    assert [line["event"] for line in lines(tmp_path / "log.jsonl")] == ["started", "interrupted"]


def test_a_full_disk_ends_the_log_and_not_the_request():
    with RequestLog(Path("/dev/full")) as log:
        log(None, [])
        log(Interrupted(now_s=time.monotonic()), [])

    assert isinstance(log.error, OutputError)
    assert "No space left" in str(log.error)


def test_a_log_that_cannot_be_written_is_refused_at_once(tmp_path: Path):
    with pytest.raises(OutputError, match="No such file"):
        RequestLog(tmp_path / "nowhere" / "log.jsonl")
