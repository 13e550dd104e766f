"""What a task's sender is told: an answer per item, or why there is none."""

from __future__ import annotations

import msgspec
import numpy as np

from equipoise.core.family import Family
from equipoise.errors import EquipoiseError
from equipoise.fabric.messages import Answer, TaskReply
from equipoise.families.classify import best_classes
from equipoise.node.job import Job


def reply_to(job: Job, outcome: TaskReply, family: Family) -> TaskReply:
    """What came of a task, with its answers; never raises."""
    try:
        answers = _answers(job, family) if outcome.failure is None else ()
        return msgspec.structs.replace(outcome, answers=answers)
    except Exception as error:  # whatever it is: every task gets a reply
        return msgspec.structs.replace(outcome, failure=reason_told(error))


def _answers(job: Job, family: Family) -> tuple[Answer, ...]:
    errors = [Answer(item=item, error=reason) for item, reason in job.errors.items()]
    if not job.answered:
        return tuple(errors)
    output = family.model(job.message.variant).output
    rankings = best_classes(np.concatenate(job.scores), output, family.first_class)
    answers = [
        Answer(item=item, classes=ranking.classes, scores=ranking.scores)
        for item, ranking in zip(job.answered, rankings, strict=True)
    ]
    return (*answers, *errors)


def reason_told(error: Exception) -> str:
    """What a task's sender is told of an error."""
    return str(error) if isinstance(error, EquipoiseError) else f"{type(error).__name__}: {error}"
