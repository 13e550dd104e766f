"""What happened to a request and what was done about it, a line of JSON per event, as it happens."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from equipoise.core.cluster import Link
from equipoise.dispatch.commands import AbandonTask, AcceptAnswers, AskForPlan, Command, Finish, SendTask, WakeAt
from equipoise.dispatch.events import (
    Event,
    Interrupted,
    NodeJoined,
    NodeLost,
    NodeReturned,
    PlanReady,
    RoundTrip,
    TaskDone,
    TaskFailed,
    Tick,
)
from equipoise.errors import OutputError

_WORDS: dict[type[Event], str] = {
    PlanReady: "planned",
    TaskDone: "answered",
    TaskFailed: "failed",
    NodeLost: "lost",
    NodeReturned: "returned",
    NodeJoined: "joined",
    RoundTrip: "round trip",
    Tick: "woken",
    Interrupted: "interrupted",
}
_SHARE = ("node", "processor", "variant", "items")


class RequestLog:
    """Writes a line per event to a file; it may be given to `Hooks.on_step`.

    Every line is handed to the operating system whole. A disk that is full ends the log, not the request: `error`
    then says so. Creating it empties an existing file. Items are told by their place in the inputs; `left` has the
    places of those that the request is about, if not all.
    """

    def __init__(self, path: Path, left: Sequence[int] | None = None) -> None:
        self.path = path
        self._left = left
        self.error: OutputError | None = None
        self._began_s: float | None = None
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as e:
            raise OutputError(f"cannot be written: {e.strerror}", path=path) from e

    def __enter__(self) -> RequestLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __call__(self, event: Event | None, commands: list[Command]) -> None:
        """Note an event, None for the start, and the commands that it led to."""
        if self._began_s is None:
            self._began_s = time.monotonic()  # the event loop's clock, and so that of events
            began = dt.datetime.now(dt.timezone.utc).isoformat()
            self._write({"after_s": 0.0, "event": "started", "time": began} | _done_about_it(commands, self._left))
        elif event is not None and (told := line_of(event, commands, self._left)):
            self._write({"after_s": round(event.now_s - self._began_s, 6)} | told)

    def _write(self, line: dict[str, Any]) -> None:
        if self.error is not None:
            return
        try:
            self._file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
        except OSError as e:
            self.error = OutputError(f"cannot be written any more: {e.strerror}", path=self.path)


def line_of(event: Event, commands: Iterable[Command], left: Sequence[int] | None = None) -> dict[str, Any]:
    """What happened and what was done about it as plain data; empty if that is nothing worth a line."""
    done = _done_about_it(commands, left)
    if isinstance(event, (RoundTrip, Tick)) and not done:
        return {}
    return _told(event, left) | done


def _told(event: Event, left: Sequence[int] | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"event": _WORDS[type(event)]}
    if isinstance(event, PlanReady):
        shares = [{name: getattr(share, name) for name in _SHARE} for share in event.plan.shares]
        return facts | {"feasible": event.plan.feasible, "shares": shares}
    if isinstance(event, NodeJoined):
        processors = {processor.name: [p.variant for p in processor.profiles] for processor in event.node.processors}
        return facts | {"node": event.node.name, "processors": processors}
    facts |= msgspec.to_builtins(event)
    del facts["now_s"]
    if isinstance(event, RoundTrip):
        facts["took_s"] = round(event.now_s - facts.pop("sent_s"), 6)
    if isinstance(event, TaskDone):
        facts["bad_items"] = _places(event.bad_items, left)
        del facts["travel"]
        if event.travel is not None:
            facts["travel_s"] = round(event.travel.arrived_s - event.travel.sent_s, 6)
    return facts


def _done_about_it(commands: Iterable[Command], left: Sequence[int] | None) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for command in commands:
        match command:
            case SendTask():
                done.setdefault("sent", []).append(_sent(command) | {"items": _places(command.items, left)})
            case AbandonTask(task=task):
                done.setdefault("abandoned", []).append(task)
            case AcceptAnswers(items=items):
                done["accepted"] = _places(items, left)
            case AskForPlan():
                done["asked_for_plan"] = _asked(command)
            case Finish(outcome=outcome, unanswered=unanswered, reason=reason):
                places = _places(unanswered, left)
                done["finished"] = {"outcome": outcome.value, "unanswered": places, "reason": reason}
            case WakeAt():
                pass  # whatever comes of it is an event of its own
            case _:
                _assert_never(command)
    return done


def _sent(command: SendTask) -> dict[str, Any]:
    return {
        "task": command.task,
        "node": command.pid.node,
        "processor": command.pid.processor,
        "variant": command.variant,
    }


def _places(items: Sequence[int], left: Sequence[int] | None) -> list[int]:
    return list(items) if left is None else [left[item] for item in items]


def _asked(ask: AskForPlan) -> dict[str, Any]:
    requirement = msgspec.to_builtins(ask.request.requirement)
    unusable = [str(pid) for pid, condition in ask.conditions.items() if not condition.available]
    links = {node.name: msgspec.to_builtins(node.link) for node in ask.cluster.nodes if node.link != Link()}
    asked = {"items": ask.request.items, "requirement": requirement, "without": unusable}
    return asked | ({"links": links} if links else {})


def _assert_never(value: NoReturn) -> NoReturn:
    raise AssertionError(f"no way to tell of {value!r}")
