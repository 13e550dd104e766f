"""One processor at work: a queue of tasks, preparation ahead of inference, inference on a thread of its own."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np

from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor, pin, pinned
from equipoise.errors import EquipoiseError, ModelError
from equipoise.fabric.messages import ProcessorStatus, Tally, TaskMessage, TaskReply
from equipoise.node.answers import reason_told, reply_to
from equipoise.node.company import Company, Stay
from equipoise.node.engines import Key, LoadedModels
from equipoise.node.job import Job, OnReply
from equipoise.node.memory import ModelMemory
from equipoise.node.pacing import AsFastAsItCan, Pace
from equipoise.node.repertoire import Repertoire
from equipoise.node.turns import Turns
from equipoise.profiling.feedback import SpeedEstimator

_MOST_PREPARE_THREADS = 4  # decoding keeps up with inference long before that


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How far ahead of inference items are prepared (two batches at least), and how much may wait in a queue."""

    prepare_threads: int = 2
    ahead_items: int = 8
    queue_bytes: int = 512_000_000

    @classmethod
    def of(cls, processor: LocalProcessor) -> WorkerSettings:
        """Settings for a processor that has its machine's threads to itself."""
        return cls(prepare_threads=max(1, min(processor.threads, _MOST_PREPARE_THREADS)))


class TaskRefusedError(EquipoiseError):
    """A task is not done, for a reason that its sender may act upon."""


class Worker:
    """Runs the tasks that one processor is sent, whatever is due first before the rest; see `Turns`.

    `preload` names families and variants to load and run once before anything else; `ready` is done once they are,
    or carries why not. `company` is that of the node's processors: with it, a call is expected to be as fast as its
    profile says only as long as others are at work, too, and faster by its contention while it is alone.
    """

    def __init__(
        self,
        repertoire: Repertoire,
        processor: LocalProcessor,
        *,
        pace: Pace | None = None,
        preload: Iterable[Key] = (),
        settings: WorkerSettings | None = None,
        memory: ModelMemory | None = None,
        company: Company | None = None,
    ) -> None:
        self.ready: Future[None] = Future()
        self.processor = processor
        self._repertoire = repertoire
        self._pace = pace or AsFastAsItCan()
        self._company = company
        self._settings = settings or WorkerSettings()
        self._memory = memory or ModelMemory()
        self._models = LoadedModels(repertoire, processor, self._memory)
        self._resident: frozenset[Key] = frozenset()  # loaded as far as others are concerned: what is preloaded is not
        self._turns: Turns[Job] = Turns()
        self._current: Job | None = None
        self._done_s: dict[str, float] = {}  # when a request that has tasks here was last worked on
        self._closing = False
        self._changed = threading.Condition()
        self._free_s = time.monotonic()
        self._speed = SpeedEstimator()
        self._items_done = 0
        self._tally = Tally()
        name = f"equipoise-{processor.name}"
        self._preparers = ThreadPoolExecutor(
            self._settings.prepare_threads, f"{name}-prepare", initializer=pin, initargs=(processor.cpus,)
        )
        self._thread = threading.Thread(target=self._run, args=(tuple(preload),), name=f"{name}-infer", daemon=True)
        self._thread.start()
        self._memory.listen(self._wake)

    def submit(self, message: TaskMessage, arrived_s: float, on_reply: OnReply) -> None:
        """Queue a task that arrived then (time.monotonic); `on_reply` is called once, with what makes its reply.

        Raises TaskRefusedError if family or variant is unknown, the queue is full or the worker is closing.
        """
        job = Job(message, self._family_of(message).model(message.variant).input, arrived_s, on_reply)
        if message.batch < 1 or len(message.items) != len(message.payloads) or not message.items:
            raise TaskRefusedError(
                "the task is malformed: it needs items, a payload for each, and a batch of 1 or more"
            )
        with self._changed:
            if self._closing:
                raise TaskRefusedError("the node is closing")
            if sum(waiting.payload_bytes for waiting in self._jobs()) > self._settings.queue_bytes:
                raise TaskRefusedError(f"the queue is full: more than {self._settings.queue_bytes} bytes wait in it")
            self._turns.add(message.request, job, arrived_s=arrived_s, due_s=job.due_s)
            if self._current is not None:  # otherwise it begins at once, and does better than to wait for others
                self._prepare_ahead()
            self._changed.notify_all()

    def abandon(self, request: str, task: int | None) -> None:
        """Forget one task of a request, or all of them. One that is being inferred stops after the present call."""
        self._abandon(lambda message: message.request == request and task in (None, message.task))

    def abandon_work_of(self, coordinator: str) -> None:
        """Forget everything that a coordinator has asked for, as nobody waits for it any more."""
        self._abandon(lambda message: message.coordinator == coordinator)

    def abandon_everything(self) -> None:
        """Forget every task, as nobody can be told of it any more."""
        self._abandon(lambda message: True)

    @property
    def speed(self) -> float:
        """How fast it is, relative to its profiles, as far as it has worked."""
        return self._speed.speed

    def status(self) -> ProcessorStatus:
        """What the processor is doing now."""
        with self._changed:
            jobs = [job for job in self._jobs() if not job.abandoned]
            return ProcessorStatus(
                name=self.processor.name,
                threads=self.processor.threads,
                cpus=self.processor.cpus,
                provider=self.processor.provider,
                queue_tasks=len(jobs),
                queue_s=sum(self._expected_s(job) for job in jobs),
                speed=self._speed.speed,
                items_done=self._items_done,
                tally=self._tally,
                resident=tuple(self._resident),
            )

    def coordinators(self) -> set[str]:
        """Whose tasks are here."""
        with self._changed:
            return {job.message.coordinator for job in self._jobs() if not job.abandoned}

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until nothing is left in the queue; False if something still is after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._current is None and not len(self._turns), timeout_s)

    def close(self) -> None:
        """Answer what is waiting with a failure, and end every thread. Waits for the present call."""
        with self._changed:
            self._closing = True
            for job in self._jobs():
                job.abandoned = True
            self._changed.notify_all()
        self._thread.join()
        self._preparers.shutdown()

    def _family_of(self, message: TaskMessage) -> Family:
        try:
            family = self._repertoire.family(message.family)
        except KeyError:
            raise TaskRefusedError(f"family {message.family} is not known here") from None
        if message.variant not in {model.name for model in family.models}:
            known = ", ".join(model.name for model in family.models)
            raise TaskRefusedError(f"variant {message.variant!r} is not known here; known: {known}")
        return family

    def _jobs(self) -> Iterator[Job]:
        if self._current is not None:
            yield self._current
        yield from self._turns

    def _abandon(self, belongs: Callable[[TaskMessage], bool]) -> None:
        with self._changed:
            for job in self._jobs():
                if belongs(job.message):
                    job.abandoned = True

    def _expected_s(self, job: Job) -> float:
        message = job.message
        profile = self._repertoire.profile(message.family, self.processor.name, message.variant)
        if profile is None:
            return 0.0
        load_s = 0.0 if job.key in self._resident else profile.load_s
        batch = min(message.batch, max(profile.latency_s))
        return load_s + profile.run_s(len(message.items), batch) / self._speed.speed

    def _prepare_ahead(self) -> None:
        ahead_items = sum(job.prepared_items for job in self._jobs())
        for job in self._jobs():
            wanted_items = max(self._settings.ahead_items, 2 * job.message.batch)
            while not job.all_prepared:
                if ahead_items >= wanted_items:
                    return  # later jobs must not overtake this one, or it would wait for its turn for ever
                ahead_items -= job.prepared_items
                job.prepare_next(self._preparers, self._settings.prepare_threads)
                ahead_items += job.prepared_items

    def _run(self, preload: tuple[Key, ...]) -> None:
        with pinned(self.processor.cpus):
            try:
                for key in preload:
                    self._warm_up(key)
                self.ready.set_result(None)
            except Exception as error:  # handed on to whoever waits for `ready`
                self.ready.set_exception(error)
            while (job := self._next_job()) is not None:
                outcome = self._perform(job)
                self._finish(job)  # before it is told, so that whoever asks then hears of a free processor
                job.on_reply(partial(reply_to, job, outcome, self._repertoire.family(job.message.family)))
        self._models.close()

    def _warm_up(self, key: Key) -> None:
        spec = self._repertoire.family(key[0]).model(key[1]).input
        self._models.get(key).infer(np.zeros((1, *spec.item_shape), dtype=spec.dtype))  # the first call is slower

    def _next_job(self) -> Job | None:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: len(self._turns) or self._closing or self._may_give_way)
                if len(self._turns) or self._closing:
                    break
                self._give_way()
            self._current = self._turns.take() if len(self._turns) else None
            return self._current

    @property
    def _may_give_way(self) -> bool:
        return self._memory.short and bool(self._models.keys)

    def _give_way(self, needed: Key | None = None) -> None:
        self._models.give_way(needed)
        self._resident = self._resident.intersection(self._models.keys)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _finish(self, job: Job) -> None:
        with self._changed:
            job.forget()
            self._current = None
            waiting = {other.message.request for other in self._turns}
            self._done_s = {request: done_s for request, done_s in self._done_s.items() if request in waiting}
            self._done_s[job.message.request] = self._free_s
            self._changed.notify_all()

    def _perform(self, job: Job) -> TaskReply:
        started_s = max(job.arrived_s, self._free_s)
        others_s = started_s - max(job.arrived_s, self._done_s.get(job.message.request, -math.inf))
        load_s, stay, failure, outcome = 0.0, Stay(), None, "tasks_done"
        try:
            if time.monotonic() > job.expires_s:
                raise TaskRefusedError("it came too late to be started")
            self._refuse_abandoned(job)
            self._pace.begin(job.arrived_s)
            load_s = self._load(job)
            with self._company.joined() if self._company is not None else nullcontext(Stay()) as stay:
                for _ in range(job.batches):
                    self._infer_batch(job)
        except Exception as error:  # whatever happens in an engine must not end this thread; the sender is told
            failure = reason_told(error)
            outcome = "tasks_dropped" if isinstance(error, TaskRefusedError) else "tasks_failed"
        self._free_s = time.monotonic()
        self._count(**{outcome: 1}, busy_s=self._free_s - started_s, loads=int(load_s > 0), load_s=load_s)
        if failure is None:
            self._learn(job, self._free_s - started_s - load_s, stay.alone)
        return TaskReply(
            request=job.message.request,
            task=job.message.task,
            busy_s=self._free_s - started_s,
            load_s=load_s,
            others_s=others_s,
            failure=failure,
        )

    def _count(self, **more: float) -> None:
        now = {name: getattr(self._tally, name) + value for name, value in more.items()}
        self._tally = msgspec.structs.replace(self._tally, **now)

    def _learn(self, job: Job, run_s: float, alone: float) -> None:
        message = job.message
        self._items_done += len(message.items)
        profile = self._repertoire.profile(message.family, self.processor.name, message.variant)
        if profile is not None and message.batch <= max(profile.latency_s):
            in_company_s = profile.run_s(len(message.items), message.batch)
            predicted_s = in_company_s * (1 - alone + alone / profile.contention)
            self._speed.observe(predicted_s=predicted_s, observed_s=run_s)

    def _load(self, job: Job) -> float:
        self._give_way(job.key)
        if job.key in self._resident:
            return 0.0
        began_s = time.monotonic()
        self._models.get(job.key)
        self._resident = self._resident.intersection(self._models.keys) | {job.key}  # others may have had to leave
        self._pace.load(job.message.variant)
        return time.monotonic() - began_s

    def _infer_batch(self, job: Job) -> None:
        with self._changed:
            self._refuse_abandoned(job)
            if not job.prepared_items:
                job.prepare_next(self._preparers, self._settings.prepare_threads, needed_now=True)
            preparing = job.take()
            self._prepare_ahead()
        batch = preparing.finish()
        job.errors |= batch.errors
        if not batch.items:
            return
        scores = self._models.get(job.key).infer(batch.tensor)
        if not np.isfinite(scores).all():
            raise ModelError(f"variant {job.message.variant!r} answered with scores that are no numbers")
        self._pace.call(job.message.variant, len(batch.items))
        job.answered.extend(batch.items)
        job.scores.append(scores)

    @staticmethod
    def _refuse_abandoned(job: Job) -> None:
        if job.abandoned:
            raise TaskRefusedError("it was abandoned")
