"""How long it took to notice a harm, to have others do the work, and to use again what was mended; out of a log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Line = Mapping[str, Any]


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """Of one harm to a board; None is what did not come to pass before the request was over.

    noticed_s       until the coordinator knew: the network said so, or an answer was late beyond belief
    ending_s        of that, until the process was gone, for one that is killed
    taken_over_s    from then until the first task of the new plan was sent to another board
    tasks_between   that this board answered in that time; with one its window is full at first
    back_s          from the mending until a task that was sent after it was answered by the board again
    """

    kind: str
    board: str
    for_s: float
    noticed_s: float | None = None
    ending_s: float | None = None
    taken_over_s: float | None = None
    tasks_between: int | None = None
    back_s: float | None = None


def recovery_of(
    log: Sequence[Line], *, kind: str, board: str, began: float, done: float, mended: float | None, for_s: float
) -> Recovery:
    """Read off a request's log; `began`, `done` and `mended` are by the wall clock of this very machine, in seconds."""
    offset_s = began - started(log)
    noticed = _noticed(log, board, offset_s)
    taken_over_s, tasks_between = _taken_over(log, board, noticed) if noticed is not None else (None, None)
    back_s = None
    if mended is not None:
        mended_s = mended - started(log)
        at_s = back_at_s(log, board, mended_s)
        back_s = at_s - mended_s if at_s is not None else None
    return Recovery(
        kind=kind,
        board=board,
        for_s=for_s,
        noticed_s=log[noticed]["after_s"] - offset_s if noticed is not None else None,
        ending_s=done - began if kind == "killed" else None,
        taken_over_s=taken_over_s,
        tasks_between=tasks_between,
        back_s=back_s,
    )


def started(log: Sequence[Line]) -> float:
    """When the request began, in seconds since the epoch."""
    return dt.datetime.fromisoformat(log[0]["time"]).timestamp()


def back_at_s(log: Sequence[Line], board: str, mended_s: float) -> float | None:
    """When the board answered a task that it was sent after the mending, in seconds from the start."""
    sent = {
        task["task"]
        for line in log
        if line["after_s"] >= mended_s
        for task in line.get("sent", ())
        if task["node"] == board
    }
    return next((line["after_s"] for line in log if line["event"] == "answered" and line["task"] in sent), None)


def _noticed(log: Sequence[Line], board: str, after_s: float) -> int | None:
    """Which line first says that the board is not counted on any more."""
    for number, line in enumerate(log):
        without = line.get("asked_for_plan", {}).get("without", ())
        lost = line["event"] == "lost" and line["node"] == board
        if line["after_s"] >= after_s and (lost or any(pid.startswith(f"{board}/") for pid in without)):
            return number
    return None


def _taken_over(log: Sequence[Line], board: str, noticed: int) -> tuple[float | None, int | None]:
    noticed_s = log[noticed]["after_s"]
    answers: dict[str, int] = {}
    owner = {task["task"]: task["node"] for line in log for task in line.get("sent", ())}
    planned = False
    for line in log[noticed:]:
        if line["event"] == "answered":
            answers[owner[line["task"]]] = answers.get(owner[line["task"]], 0) + 1
        planned |= line["event"] == "planned"
        others = [task["node"] for task in line.get("sent", ()) if task["node"] != board]
        if planned and others:
            return line["after_s"] - noticed_s, answers.get(others[0], 0)
    return None, None
