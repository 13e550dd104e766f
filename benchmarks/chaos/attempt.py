"""One request under faults, as a process of its own: started, harmed, followed to its end and checked."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.chaos import checks
from benchmarks.chaos.boards import Boards, Footprint
from benchmarks.chaos.harm import COORDINATOR_KILLED, KINDS, Harm
from benchmarks.chaos.recovery import Recovery, back_at_s, recovery_of, started
from benchmarks.chaos.work import Work, json_lines
from tests.network.lan import Process

_LOOK_AGAIN_S = 0.005
_ENDS_WITHIN_S = 90.0
_BEGINS_WITHIN_S = 120.0
_ENOUGH_S = 20.0  # until a board that is not back in use is given up on
KEPT, BROKEN = 0, 4


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How a request went. `wrong` has a sentence for everything that must not be."""

    number: int
    harms: tuple[str, ...]
    code: int  # of the command, or of the one that went on with it
    resumed: bool  # because its coordinator was killed
    latency_s: float | None
    answered: int
    unanswered: int
    resent: int
    wrong: tuple[str, ...]
    recoveries: tuple[Recovery, ...]


@dataclass(eq=False, kw_only=True)
class Course:
    """A request under way, and what has been done to it."""

    boards: Boards
    process: Process
    log: Path
    began: dict[Harm, float] = field(default_factory=dict)  # by the wall clock
    done: dict[Harm, float] = field(default_factory=dict)  # when it was: a process that is killed takes a while to end
    undone: dict[Harm, float] = field(default_factory=dict)
    killed: bool = False

    def is_over(self) -> bool:
        """True once the command has ended."""
        return self.process.popen.poll() is not None

    def begin(self, harm: Harm) -> None:
        """Do it."""
        self.began[harm] = time.time()
        if harm.kind == COORDINATOR_KILLED:
            self.killed = True
            self.process.kill()
        elif harm.board is not None:
            KINDS[harm.kind].begin(self.boards.boards[harm.board])
        self.done[harm] = time.time()

    def undo(self, harm: Harm) -> None:
        """Undo it, if it can be."""
        if harm.board is not None:
            KINDS[harm.kind].undo(self.boards.boards[harm.board])
        self.undone[harm] = time.time()

    def lines(self) -> Sequence[dict[str, Any]]:
        """The log so far."""
        return json_lines(self.log)


def attempt(
    boards: Boards, work: Work, number: int, harms: Sequence[Harm], *, deadline_s: float, until_back: bool = False
) -> Attempt:
    """Run a request and do it these harms; `until_back` interrupts it once the harmed board is in use again."""
    files = Files(boards.laptop.folder, number)
    process = boards.coordinate(
        [
            *(str(work.inputs), "--family", str(boards.family), "--cluster", "live"),
            *("--deadline-s", f"{deadline_s:g}", "--min-accuracy", f"{work.floor:g}", "--best-effort"),
            *("--nodes", str(len(boards.boards) - 1), "--seed", str(number)),
            *("--out", files.out.name, "--log", files.log.name, "--receipt", files.receipt.name),
        ]
    )
    course = Course(boards=boards, process=process, log=files.log)
    _follow(course, harms, until_back=until_back)
    wrong: list[str] = []
    if course.killed:
        wrong += checks.wrong_remains(json_lines(files.out), files.told())
        process = _go_on(boards, files, deadline_s)
    rows, told = json_lines(files.out), files.told()
    wrong += _wrong_ending(process, told)
    wrong += checks.wrong_answers(work, rows, [course.lines(), json_lines(files.log_of_the_rest)])
    if told is not None:
        wrong += checks.wrong_receipt(work, rows, told)
    return Attempt(
        number=number,
        harms=tuple(map(str, harms)),
        code=process.popen.returncode,
        resumed=course.killed,
        latency_s=told["latency_s"] if told else None,
        answered=len(rows),
        unanswered=len(work.items) - len(rows),
        resent=told["resent"] if told else 0,
        wrong=tuple(wrong),
        recoveries=tuple(_recoveries(course, course.lines())),
    )


class Files:
    """What a request writes."""

    def __init__(self, folder: Path, number: int) -> None:
        self.out, self.receipt = folder / f"{number}.jsonl", folder / f"{number}.receipt.json"
        self.log, self.log_of_the_rest = folder / f"{number}.log.jsonl", folder / f"{number}.rest.log.jsonl"

    def told(self) -> dict[str, Any] | None:
        """The receipt, if there is one."""
        return msgspec.json.decode(self.receipt.read_bytes()) if self.receipt.exists() else None


def _go_on(boards: Boards, files: Files, deadline_s: float) -> Process:
    """Have another coordinator go on with the request of one that was killed, to its end."""
    anew = ("--deadline-s", f"{deadline_s:g}", "--log", files.log_of_the_rest.name)
    process = boards.coordinate(["--resume", files.receipt.name, *anew])
    process.wait()
    return process


def _follow(course: Course, harms: Sequence[Harm], *, until_back: bool) -> None:
    """Watch the request to its end; what was begun is undone then at the latest."""
    _wait_for_begin(course)
    began_s = time.monotonic()
    ahead = sorted(
        [(harm.at_s, 0, harm) for harm in harms] + [(harm.at_s + harm.for_s, 1, harm) for harm in harms],
        key=lambda step: step[:2],
    )
    while not course.is_over():
        for board in course.boards.boards.values():
            board.settle()
        while ahead and time.monotonic() >= began_s + ahead[0][0] and not course.is_over():
            _, ending, harm = ahead.pop(0)
            (course.undo if ending else course.begin)(harm)
        if until_back and not ahead and _is_back_or_hopeless(course, harms):
            course.process.send(signal.SIGINT)
            until_back = False
        if time.monotonic() > began_s + _ENDS_WITHIN_S:
            course.process.kill()
            return
        time.sleep(_LOOK_AGAIN_S)
    for harm in course.began.keys() - course.undone.keys():
        course.undo(harm)


def _wait_for_begin(course: Course) -> None:
    give_up_s = time.monotonic() + _BEGINS_WITHIN_S
    while not course.is_over() and not course.lines() and time.monotonic() < give_up_s:
        time.sleep(_LOOK_AGAIN_S)


def _is_back_or_hopeless(course: Course, harms: Sequence[Harm]) -> bool:
    lines = course.lines()
    mended = {harm.board: course.undone[harm] for harm in harms if harm.board is not None}
    if any(time.time() > at + _ENOUGH_S for at in mended.values()):
        return True
    return bool(lines) and all(back_at_s(lines, board, at - started(lines)) for board, at in mended.items())


def _wrong_ending(process: Process, receipt: dict[str, Any] | None) -> Sequence[str]:
    code = process.popen.returncode
    if code not in (KEPT, BROKEN):
        return (f"the command ended with {code}: {process.stderr[-2000:]}",)
    return () if receipt is not None else (f"the command ended with {code} and without a receipt",)


def _recoveries(course: Course, lines: Sequence[dict[str, Any]]) -> list[Recovery]:
    return [
        recovery_of(
            lines,
            kind=harm.kind,
            board=harm.board,
            began=began,
            done=course.done[harm],
            mended=course.undone.get(harm),
            for_s=course.undone[harm] - began,
        )
        for harm, began in course.began.items()
        if harm.board is not None and lines
    ]


def settled(boards: Boards, limits: dict[str, Footprint], *, within_s: float) -> tuple[dict[str, Footprint], list[str]]:
    """What every node has once nothing of a request is left, and what still is after `within_s`."""
    give_up_s = time.monotonic() + within_s
    while True:
        for board in boards.boards.values():
            if board.running:
                board.until_ready()
        found = {name: board.footprint() for name, board in boards.boards.items()}
        wrong = list(checks.left_behind(found, limits, boards.processes())) if limits else []
        if not wrong or time.monotonic() > give_up_s:
            return {name: footprint for name, footprint in found.items() if footprint is not None}, wrong
        time.sleep(0.1)
