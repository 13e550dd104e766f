"""What can happen to a board or a coordinator, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.chaos.boards import Board

SPARED = "ada"  # never killed, so that one node's memory can be watched from beginning to end
CUTS = ("both", "to-host", "from-host")
_ALONE_AFTER_S = 1.0


def _start_again(board: Board) -> None:
    if board.process is not None:
        board.process.wait()
    board.start()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of harm: how it begins, how it is undone, and for how long it lasts."""

    begin: Callable[[Board], None]
    undo: Callable[[Board], None]
    lasts_s: tuple[float, float]
    fatal: bool = False


def _cut(direction: str) -> Kind:
    return Kind(lambda board: board.host.cut(direction), lambda board: board.host.mend(), (0.3, 4.0))


KINDS = {
    "killed": Kind(Board.kill, _start_again, (0.0, 1.0), fatal=True),
    "frozen": Kind(Board.freeze, Board.thaw, (0.3, 4.0)),
    "restarted": Kind(Board.stop, _start_again, (0.0, 0.5), fatal=True),
    "slowed": Kind(lambda board: board.slow(0.5), lambda board: board.slow(1.0), (1.0, 4.0)),
    **{f"cut {direction}": _cut(direction) for direction in CUTS},
}
COORDINATOR_KILLED = "coordinator killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """Something that happens `at_s` seconds into a request, and is undone `for_s` later; to a board if one is named."""

    kind: str
    board: str | None
    at_s: float
    for_s: float

    def __str__(self) -> str:
        who = f"{self.board} " if self.board else ""
        return f"{who}{self.kind} at {self.at_s:.2f} s for {self.for_s:.2f} s"


def draw(chance: random.Random, boards: Sequence[str], within_s: float) -> tuple[Harm, ...]:
    """What happens in one request: mostly one harm, sometimes two to different boards, sometimes to the coordinator."""
    if chance.random() < 0.1:
        return (Harm(kind=COORDINATOR_KILLED, board=None, at_s=chance.uniform(0.0, within_s), for_s=0.0),)
    victims = chance.sample(sorted(boards), 1 if chance.random() < 0.75 else 2)
    return tuple(_harm(chance, board, within_s) for board in victims)


def _harm(chance: random.Random, board: str, within_s: float) -> Harm:
    kind = chance.choice([name for name, kind in KINDS.items() if not (kind.fatal and board == SPARED)])
    return Harm(kind=kind, board=board, at_s=chance.uniform(0.0, within_s), for_s=chance.uniform(*KINDS[kind].lasts_s))


def harms_one_at_a_time(lengths_s: Sequence[float], boards: Sequence[str]) -> Iterator[Harm]:
    """For each length a cut in one direction or both, a board that is frozen and one that is killed for so long."""
    victims = [board for board in boards if board != SPARED]
    for number, for_s in enumerate(lengths_s):
        for turn, kind in enumerate((f"cut {CUTS[number % 3]}", "frozen", "killed")):
            board = victims[(number + turn) % len(victims)]
            yield Harm(kind=kind, board=board, at_s=_ALONE_AFTER_S, for_s=for_s)
