"""What the simulated coordinators of batches and of streams have in common. Like the real one they decide nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from equipoise.dispatch.commands import AbandonTask, SendTask, WakeAt
from equipoise.dispatch.events import Event, Tick
from equipoise.simulation.agenda import Agenda
from equipoise.simulation.records import Recorder, RequestRecord
from equipoise.simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and when a run takes place. `planning_s` is how long a coordinator takes to plan."""

    world: World
    agenda: Agenda
    record: Recorder
    seed: int
    planning_s: float


class Coordinator(ABC):
    """Commands to the world, the world's events to whoever follows the request or stream; from admission to its end."""

    def __init__(self, name: str, setting: Setting, on_end: Callable[[Coordinator], None]) -> None:
        self.name = name
        self._world, self._agenda, self._record = setting.world, setting.agenda, setting.record
        self._seed, self._planning_s = setting.seed, setting.planning_s
        self._on_end = on_end
        self._wake = 0  # only the last wake-up asked for counts

    @abstractmethod
    def begin(self, _: object) -> None:
        """Admit what is asked for, or decline it."""

    @abstractmethod
    def hear(self, event: Event) -> None:
        """The world, the planner or the clock has something to say."""

    def _pass_on(self, command: SendTask | AbandonTask | WakeAt) -> None:
        """To the world, or the clock."""
        match command:
            case SendTask():
                self._world.send(command, self)
            case AbandonTask():
                self._world.abandon(command, self)
            case WakeAt(at_s=at_s):
                self._wake += 1
                self._agenda.at(at_s, self._tick, self._wake)

    def _tick(self, wake: int) -> None:
        if wake == self._wake:
            self.hear(Tick(now_s=self._agenda.now_s))

    def _decline(self, reason: str) -> None:
        self._tell("declined", reason)
        self._on_end(self)

    def _tell(self, change: str, reason: str = "") -> None:
        self._record(RequestRecord(request=self.name, at_s=self._agenda.now_s, change=change, reason=reason))
