"""A processor as it really is: tasks one after the other, each as long as chance, heat and load will have it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from equipoise.core.cluster import ProcessorId, Profile
from equipoise.core.plan import Condition
from equipoise.dispatch.commands import SendTask
from equipoise.node.turns import Turns
from equipoise.profiling.feedback import SpeedEstimator
from equipoise.simulation.agenda import Agenda
from equipoise.simulation.memory import LoadedVariants, NodeMemory
from equipoise.simulation.pace import Heat, Pace
from equipoise.simulation.scenario import Stragglers

if TYPE_CHECKING:
    from equipoise.simulation.world import Listener


@dataclass(slots=True, eq=False)
class Job:
    """A task on its way through a processor. Work is in seconds at the speed of the profile."""

    command: SendTask
    listener: Listener
    sent_s: float
    arrived_s: float = math.nan
    began_s: float = math.nan
    load_s: float = 0.0  # work before the first call
    run_s: float = 0.0  # work of all calls
    done_s: float = 0.0  # work done up to `since_s`
    since_s: float = 0.0
    others_s: float = 0.0  # how long it waited for the work of other requests
    turns: int = 0  # how often its end was computed; only the last one holds
    abandoned: bool = False

    @property
    def busy_s(self) -> float:
        """How long it has been worked on."""
        return self.since_s - self.began_s

    @property
    def loaded_s(self) -> float:
        """How much of that was loading, at the speed of the whole."""
        work_s = self.load_s + self.run_s  # 0 if it was abandoned before its first call
        return self.busy_s * self.load_s / work_s if work_s else 0.0

    @property
    def calls(self) -> int:
        """How many calls its items are inferred in."""
        return math.ceil(len(self.command.items) / self.command.batch)


OnEnd = Callable[[Job, str | None], None]  # a job, and why it was not done; None if it was


class SimulatedProcessor:
    """Works as a node's worker does, turns and books included: loads what is missing, infers, answers at the end.

    off_by       how much longer than profiled each variant really takes: 1.2 is 20 % longer
    chance       what decides how long each task takes; of this processor alone, so that strategies meet the same luck
    memory       of its node; None if there is no limit
    """

    def __init__(
        self,
        pid: ProcessorId,
        profiles: Mapping[str, Profile],
        agenda: Agenda,
        on_end: OnEnd,
        *,
        chance: Random,
        off_by: Mapping[str, float],
        stragglers: Stragglers | None = None,
        memory: NodeMemory | None = None,
    ) -> None:
        self.pid = pid
        self.busy_s = 0.0
        sizes_bytes = {variant: profile.memory_bytes for variant, profile in profiles.items()}
        self._loaded = LoadedVariants(memory or NodeMemory(agenda), sizes_bytes, self._needed)
        self._memory = memory
        self._profiles = profiles
        self._agenda = agenda
        self._on_end = on_end
        self._chance = chance
        self._off_by = off_by
        self._stragglers = stragglers
        self._quick_calls = self._until_straggler()
        self._pace = Pace()
        self._turns: Turns[Job] = Turns()
        self._done_s: dict[str, float] = {}  # when a request was last worked on
        self._speed = SpeedEstimator()
        self._running: Job | None = None
        self._blocked: Job | None = None  # it is its turn, but its variant has no room in memory yet
        self._idle_since_s = 0.0

    @property
    def pace(self) -> tuple[float, Heat | None]:
        """Its speed while cold, and how it heats up."""
        return self._pace.steady, self._pace.heat

    def true_item_s(self, variant: str) -> float:
        """Seconds of work per item that it really takes at the best batch size, stragglers aside."""
        return self._profiles[variant].item_s * self._off_by[variant]

    def arrive(self, job: Job) -> None:
        """A task has come through the network."""
        now_s, due_in_s = self._agenda.now_s, job.command.due_in_s
        job.arrived_s = now_s
        due_s = math.inf if due_in_s is None else now_s + due_in_s
        self._turns.add(job.listener.name, job, arrived_s=now_s, due_s=due_s)
        if self._running is None and self._blocked is None:
            self._begin_next()

    def abandon(self, job: Job) -> None:
        """Forget a task; one that is being run stops after the present call."""
        if job.abandoned:
            return
        job.abandoned = True
        if job is self._running:
            self._catch_up(job)
            call_s = job.run_s / job.calls
            begun = math.ceil(max(0.0, job.done_s - job.load_s) / call_s - 1e-9)
            job.abandoned = begun < job.calls
            job.run_s = begun * call_s
            self._expect_end(job)

    def forget_request(self, name: str) -> None:
        """A request is over."""
        self._done_s.pop(name, None)

    def condition(self) -> Condition:
        """What the node would say of it if it were asked."""
        jobs = [*filter(None, (self._running, self._blocked)), *self._turns]
        return Condition(
            speed=self._speed.speed,
            busy_s=sum(self._expected_s(job) for job in jobs if not job.abandoned),
            resident=self._loaded.names,
        )

    def forget_all(self, *, also_loaded: bool) -> None:
        """Drop every task without a word, as when the plug is pulled; then nothing is loaded any more either."""
        if self._running is not None:
            self._catch_up(self._running)
            self._running.turns += 1
            self._finish_with(self._running)
        self._turns, self._blocked = Turns(), None
        self._loaded.wait_no_more()
        if also_loaded:
            self._loaded.clear()

    def set_speed(self, speed: float) -> None:
        """So fast it is from now on while cold, against its profile."""
        self._change(speed, self._pace.heat)

    def set_heat(self, heat: Heat | None) -> None:
        """So it heats up under work from now on."""
        self._change(self._pace.steady, heat)

    def _change(self, steady: float, heat: Heat | None) -> None:
        running = self._running
        if running is not None:
            self._catch_up(running)
        else:
            self._cool()
        self._pace.steady, self._pace.heat = steady, heat
        if running is not None:
            self._expect_end(running)

    def _begin_next(self) -> None:
        while len(self._turns):
            job = self._turns.take()
            refusal = self._refusal(job)
            if refusal is None:
                self._begin(job)
                return
            self._on_end(job, refusal)

    def _refusal(self, job: Job) -> str | None:
        if job.abandoned:
            return "it was abandoned"
        expire_in_s = job.command.expire_in_s
        late = expire_in_s is not None and self._agenda.now_s > job.arrived_s + expire_in_s
        return "it came too late to be started" if late else None

    def _begin(self, job: Job) -> None:
        variant, now_s = job.command.variant, self._agenda.now_s
        job.others_s = now_s - max(job.arrived_s, self._done_s.get(job.listener.name, -math.inf))
        job.load_s = 0.0 if variant in self._loaded else self._profiles[variant].load_s
        self._blocked = job
        self._loaded.use(variant, lambda room: self._begin_or_refuse(job, room=room))

    def _begin_or_refuse(self, job: Job, *, room: bool) -> None:
        """There is room for its variant, or there will be none."""
        self._blocked = None
        refusal = self._refusal(job) if room else f"variant {job.command.variant!r} finds no room in memory"
        if refusal is not None:
            self._begin_next()
            self._on_end(job, refusal)
            return
        self._cool()
        self._running = job
        job.began_s = job.since_s = self._agenda.now_s
        job.run_s = self._run_s(job)
        self._expect_end(job)

    def _needed(self) -> frozenset[str] | None:
        """Of what is loaded; all of it while it works, and else what its next task wants."""
        if self._running is not None:
            return None
        following = self._turns.next()
        return frozenset() if following is None else frozenset({following.command.variant})

    def _run_s(self, job: Job) -> float:
        """How much work the calls of a task turn out to be."""
        command = job.command
        profile, items = self._profiles[command.variant], len(command.items)
        run_s = profile.run_s(items, command.batch)
        variance = profile.run_variance_s2(items, command.batch) if profile.latency_stddev_s else 0.0
        if variance > 0:  # log-normal of this mean and variance: never negative, and skewed as timings are
            log_variance = math.log1p(variance / run_s**2)
            run_s *= math.exp(self._chance.gauss(0.0, math.sqrt(log_variance)) - log_variance / 2)
        if self._stragglers is not None:
            run_s += self._delays(job.calls) * run_s / job.calls
        return run_s * self._off_by[command.variant]

    def _delays(self, calls: int) -> float:
        """What the stragglers among so many calls take beyond their due, in calls."""
        assert self._stragglers is not None
        beyond = 0.0
        while calls > self._quick_calls:
            calls -= self._quick_calls + 1
            factor = float((1.0 - self._chance.random()) ** (-1.0 / self._stragglers.tail))
            beyond += min(factor, self._stragglers.most) - 1.0
            self._quick_calls = self._until_straggler()
        self._quick_calls -= calls
        return beyond

    def _until_straggler(self) -> int:
        """How many calls go well before the next one does not: geometric."""
        if self._stragglers is None or self._stragglers.probability >= 1:
            return 0
        return int(math.log(1.0 - self._chance.random()) / math.log1p(-self._stragglers.probability))

    def _expect_end(self, job: Job) -> None:
        job.turns += 1
        seconds = self._pace.seconds_for(max(0.0, job.load_s + job.run_s - job.done_s))
        if not math.isinf(seconds):
            self._agenda.at(self._agenda.now_s + seconds, self._end, (job, job.turns))

    def _end(self, about: tuple[Job, int]) -> None:
        job, turn = about
        if job.turns != turn:
            return
        self._catch_up(job)
        self._finish_with(job)
        self._done_s[job.listener.name] = self._agenda.now_s
        if not job.abandoned:
            self._learn(job)
        if self._memory is not None and self._memory.short:
            self._memory.relieve()
        self._begin_next()
        self._on_end(job, "it was abandoned" if job.abandoned else None)

    def _finish_with(self, job: Job) -> None:
        self._running = None
        self._idle_since_s = self._agenda.now_s
        self.busy_s += self._agenda.now_s - job.began_s

    def _expected_s(self, job: Job) -> float:
        command = job.command
        profile = self._profiles[command.variant]
        load_s = 0.0 if command.variant in self._loaded else profile.load_s
        return load_s + profile.run_s(len(command.items), command.batch) / self._speed.speed

    def _learn(self, job: Job) -> None:
        command = job.command
        predicted_s = self._profiles[command.variant].run_s(len(command.items), command.batch)
        self._speed.observe(predicted_s=predicted_s, observed_s=job.busy_s - job.loaded_s)

    def _catch_up(self, job: Job) -> None:
        """Book what was done since the pace last changed."""
        seconds = self._agenda.now_s - job.since_s
        job.done_s += self._pace.work_in(seconds)
        self._pace.elapse(seconds, working=True)
        job.since_s = self._agenda.now_s

    def _cool(self) -> None:
        self._pace.elapse(self._agenda.now_s - self._idle_since_s, working=False)
        self._idle_since_s = self._agenda.now_s
