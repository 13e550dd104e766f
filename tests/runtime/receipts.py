"""Builders of receipts for tests."""

from __future__ import annotations

from typing import Any

from equipoise.core.cluster import ProcessorId
from equipoise.core.plan import Plan, Share
from equipoise.core.receipt import Receipt
from equipoise.core.request import Prefer, Request, Requirement
from equipoise.dispatch.commands import Finish, Outcome
from equipoise.dispatch.progress import Progress, ShareDone
from equipoise.fabric.messages import Answer
from equipoise.runtime.outputs import Scorecard
from equipoise.runtime.receipt import make_receipt

PI, NANO = ProcessorId("pi4", "cpu"), ProcessorId("nano", "gpu")
NANO_RAN = ShareDone(pid=NANO, variant="v", items=4, busy_s=1.2, load_s=0.1, first_sent_s=0.1, last_answer_s=1.6)
REQUEST = Request(items=4, requirement=Requirement(deadline_s=2.0, min_accuracy=0.7))


def plan_of(*shares: Share) -> Plan:
    return Plan(
        feasible=True,
        strategy="equipoise",
        prefer=Prefer.ACCURACY,
        items=sum(share.items for share in shares),
        latency_s=1.5,
        accuracy=0.75,
        energy_j=None,
        bound=0.75,
        gap=0.0,
        solve_s=0.0001,
        shares=shares,
    )


def share_of(pid: ProcessorId, items: int) -> Share:
    return Share(node=pid.node, processor=pid.processor, variant="v", batch=1, items=items, finish_s=1.5)


def progress_of(
    *,
    bad: int = 0,
    accuracy: float = 0.75,
    last_answer_s: float | None = 1.6,
    shares: tuple[ShareDone, ...] = (NANO_RAN,),
) -> Progress:
    return Progress(
        items=4,
        answered=4,
        bad=bad,
        in_flight=0,
        elapsed_s=1.7,
        deadline_s=2.0,
        accuracy=accuracy,
        replanned=2,
        resent=1,
        duplicated=0,
        dropped=0,
        first_sent_s=0.1,
        last_answer_s=last_answer_s,
        processors=(),
        shares=shares,
    )


def receipt_of(scorecard: Scorecard, *, unanswered: tuple[int, ...] = (), **progress: Any) -> Receipt:
    return make_receipt(
        request=REQUEST,
        family="digits",
        plan=plan_of(share_of(PI, 3), share_of(NANO, 1)),
        progress=progress_of(**progress),
        finish=Finish(outcome=Outcome.ANSWERED, unanswered=unanswered, reason="the deadline passed"),
        scorecard=scorecard,
        name_of="abcd".__getitem__,
        emulated=True,
        seed=7,
    )


def scored(*classes: int, truth: dict[int, int] | None = None) -> Scorecard:
    scorecard = Scorecard(truth or {})
    for item, index in enumerate(classes):
        scorecard.accept(Answer(item=item, classes=(index,), scores=(1.0,)), PI, "v")
    return scorecard
