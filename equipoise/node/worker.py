"""One processor at work: a queue of tasks, preparation ahead of inference, inference on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np

from equipoise.core.family import Family
from equipoise.engines.base import Engine
from equipoise.engines.processors import LocalProcessor, pinned
from equipoise.engines.registry import load_engine
from equipoise.errors import EquipoiseError, ModelError
from equipoise.fabric.messages import Answer, TaskMessage, TaskReply
from equipoise.families.classify import best_classes
from equipoise.node.job import Job
from equipoise.node.pacing import AsFastAsItCan, Pace

OnReply = Callable[[TaskReply], None]  # called on any thread


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How far ahead of inference items are prepared (two batches at least), and how much may wait in a queue."""

    prepare_threads: int = 2
    ahead_items: int = 8
    queue_bytes: int = 512_000_000


class TaskRefusedError(EquipoiseError):
    """A task is not done, for a reason that its sender may act upon."""


class Worker:
    """Runs the tasks that one processor is sent, in the order in which they arrive.

    `preload` names variants to load and run once before anything else; `ready` is done once they are, or carries
    why not.
    """

    def __init__(
        self,
        family: Family,
        processor: LocalProcessor,
        *,
        pace: Pace | None = None,
        preload: Iterable[str] = (),
        settings: WorkerSettings | None = None,
    ) -> None:
        self.ready: Future[None] = Future()
        self._family = family
        self._processor = processor
        self._pace = pace or AsFastAsItCan()
        self._settings = settings or WorkerSettings()
        self._engines: dict[str, Engine] = {}
        self._resident: set[str] = set()
        self._jobs: deque[Job] = deque()  # the first one stays until it is done
        self._closing = False
        self._changed = threading.Condition()
        self._free_s = time.monotonic()
        name = f"equipoise-{processor.name}"
        self._preparers = ThreadPoolExecutor(self._settings.prepare_threads, f"{name}-prepare")
        self._answerer = ThreadPoolExecutor(1, f"{name}-answer")
        self._thread = threading.Thread(target=self._run, args=(tuple(preload),), name=f"{name}-infer", daemon=True)
        self._thread.start()

    def submit(self, message: TaskMessage, arrived_s: float, on_reply: OnReply) -> None:
        """Queue a task that arrived then (time.monotonic); its one reply goes to `on_reply`.

        Raises TaskRefusedError if the variant is unknown, the queue is full or the worker is closing.
        """
        try:
            spec = self._family.model(message.variant).input
        except KeyError:
            known = ", ".join(model.name for model in self._family.models)
            raise TaskRefusedError(f"variant {message.variant!r} is not known here; known: {known}") from None
        if message.batch < 1 or len(message.items) != len(message.payloads) or not message.items:
            raise TaskRefusedError(
                "the task is malformed: it needs items, a payload for each, and a batch of 1 or more"
            )
        job = Job(message, spec, arrived_s, on_reply)
        with self._changed:
            if self._closing:
                raise TaskRefusedError("the node is closing")
            if self._jobs and sum(waiting.payload_bytes for waiting in self._jobs) > self._settings.queue_bytes:
                raise TaskRefusedError(f"the queue is full: more than {self._settings.queue_bytes} bytes wait in it")
            self._jobs.append(job)
            self._prepare_ahead()
            self._changed.notify()

    def abandon(self, request: str, task: int | None) -> None:
        """Forget one task of a request, or all of them. One that is being inferred stops after the present call."""
        with self._changed:
            for job in tuple(self._jobs):
                if job.message.request == request and task in (None, job.message.task):
                    job.abandoned = True

    def close(self) -> None:
        """Answer what is waiting with a failure, and end every thread. Waits for the present call."""
        with self._changed:
            self._closing = True
            for job in self._jobs:
                job.abandoned = True
            self._changed.notify()
        self._thread.join()
        self._preparers.shutdown()
        self._answerer.shutdown()

    def _prepare_ahead(self) -> None:
        ahead_items = sum(job.prepared_items for job in self._jobs)
        for job in self._jobs:
            wanted_items = max(self._settings.ahead_items, 2 * job.message.batch)
            while not job.all_prepared:
                if ahead_items >= wanted_items:
                    return  # later jobs must not overtake this one, or it would wait for its turn for ever
                ahead_items -= job.prepared_items
                job.prepare_next(self._preparers, self._settings.prepare_threads)
                ahead_items += job.prepared_items

    def _run(self, preload: tuple[str, ...]) -> None:
        with pinned(self._processor.cpus):
            try:
                for variant in preload:
                    self._warm_up(variant)
                self.ready.set_result(None)
            except Exception as error:  # handed on to whoever waits for `ready`
                self.ready.set_exception(error)
            while (job := self._next_job()) is not None:
                self._perform(job)
                with self._changed:
                    job.forget()
                    self._jobs.popleft()
        for engine in self._engines.values():
            engine.close()

    def _warm_up(self, variant: str) -> None:
        spec = self._family.model(variant).input
        self._engines[variant] = load_engine(self._family, variant, self._processor)
        self._engines[variant].infer(np.zeros((1, *spec.item_shape), dtype=spec.dtype))  # the first call is slower

    def _next_job(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closing)
            return self._jobs[0] if self._jobs else None

    def _perform(self, job: Job) -> None:
        started_s = max(job.arrived_s, self._free_s)
        load_s, failure = 0.0, None
        try:
            if time.monotonic() > job.expires_s:
                raise TaskRefusedError("it came too late to be started")
            self._pace.begin(job.arrived_s)
            load_s = self._load(job.message.variant)
            for _ in range(job.batches):
                self._infer_batch(job)
        except Exception as error:  # whatever happens in an engine must not end this thread; the sender is told
            failure = _reason(error)
        self._free_s = time.monotonic()
        reply = TaskReply(
            request=job.message.request,
            task=job.message.task,
            busy_s=self._free_s - started_s,
            load_s=load_s,
            failure=failure,
        )
        self._answerer.submit(_answer, job, reply, self._family)

    def _load(self, variant: str) -> float:
        if variant in self._resident:
            return 0.0
        began_s = time.monotonic()
        if variant not in self._engines:
            self._engines[variant] = load_engine(self._family, variant, self._processor)
        self._resident.add(variant)
        self._pace.load(variant)
        return time.monotonic() - began_s

    def _infer_batch(self, job: Job) -> None:
        with self._changed:
            if job.abandoned:
                raise TaskRefusedError("it was abandoned")
            self._prepare_ahead()
            preparing = job.take()
            self._prepare_ahead()
        batch = preparing.finish()
        job.errors |= batch.errors
        if not batch.items:
            return
        scores = self._engines[job.message.variant].infer(batch.tensor)
        if not np.isfinite(scores).all():
            raise ModelError(f"variant {job.message.variant!r} answered with scores that are no numbers")
        self._pace.call(job.message.variant, len(batch.items))
        job.answered.extend(batch.items)
        job.scores.append(scores)


def _answer(job: Job, reply: TaskReply, family: Family) -> None:
    try:
        answers = _answers(job, family) if reply.failure is None else ()
        reply = msgspec.structs.replace(reply, answers=answers)
    except Exception as error:  # as above: every task gets a reply
        reply = msgspec.structs.replace(reply, failure=_reason(error))
    job.on_reply(reply)


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


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, EquipoiseError) else f"{type(error).__name__}: {error}"
