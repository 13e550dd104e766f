"""Everything outside the coordinator: the network and the nodes, as they really are."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from equipoise.core.cluster import Cluster, Link, Node, ProcessorId
from equipoise.core.plan import Condition, Conditions
from equipoise.dispatch.commands import AbandonTask, SendTask
from equipoise.dispatch.events import Event, NodeLost, NodeReturned, TaskDone, TaskFailed
from equipoise.simulation.agenda import Agenda
from equipoise.simulation.memory import NodeMemory
from equipoise.simulation.network import Network
from equipoise.simulation.pace import Heat
from equipoise.simulation.processors import Job, SimulatedProcessor
from equipoise.simulation.records import NodeRecord, Recorder, SpeedRecord, TaskRecord
from equipoise.simulation.scenario import Truth


class Listener(Protocol):
    """A coordinator that follows one request."""

    @property
    def name(self) -> str:
        """Of the request."""

    def hear(self, event: Event) -> None:
        """Something has happened to a task or a node."""


class SimulatedNode:
    """A board: there, silent (it works on unheard), or gone."""

    def __init__(self, node: Node, processors: dict[str, SimulatedProcessor]) -> None:
        self.name = node.name
        self.processors = processors
        self.heard = True  # messages come through
        self.known = True  # the coordinators count on it
        self.life = 0  # how often it lost all that it was sent; what was sent in an earlier life does not arrive
        self.silences = 0
        self.jobs: dict[tuple[Listener, int], Job] = {}  # sent and not yet replied to
        self.held: list[tuple[Callable[[Any], None], Any]] = []  # messages for when it is heard again


class World:
    """The nodes of a cluster and the way to them. What they reply reaches whoever asked, as the dispatcher's events."""

    def __init__(self, cluster: Cluster, truth: Truth, agenda: Agenda, seed: int, record: Recorder) -> None:
        self.network = Network(cluster)
        self.tasks = 0
        self._agenda = agenda
        self._record = record
        self._lease_s = truth.lease_s
        self._listeners: dict[Listener, None] = {}
        self._nodes = {node.name: self._made(node, truth, seed) for node in cluster.nodes}

    def _made(self, node: Node, truth: Truth, seed: int) -> SimulatedNode:
        made: dict[str, SimulatedProcessor] = {}
        simulated = SimulatedNode(node, made)
        memory = None if node.memory_bytes is None else NodeMemory(self._agenda, node.memory_bytes)
        for processor in node.processors:
            chance = Random(f"{seed}/{node.name}/{processor.name}")
            common = _factor(chance, truth.speed_error)
            made[processor.name] = SimulatedProcessor(
                ProcessorId(node.name, processor.name),
                {profile.variant: profile for profile in processor.profiles},
                self._agenda,
                lambda job, failure: self._ended(simulated, job, failure),
                chance=chance,
                off_by={p.variant: common * _factor(chance, truth.variant_error) for p in processor.profiles},
                stragglers=truth.stragglers,
                memory=memory,
            )
        return simulated

    # --- what coordinators do --------------------------------------------------------------------------------------

    def join(self, listener: Listener) -> None:
        """Have this coordinator hear of nodes that go and return; of those that are not there, at once."""
        self._listeners[listener] = None
        for node in self._nodes.values():
            if not node.known:
                self._agenda.at(self._agenda.now_s, listener.hear, self._lost(node, "it was not there at the start"))

    def leave(self, listener: Listener) -> None:
        """This coordinator is done: whatever it has sent and not heard of is forgotten."""
        self._listeners.pop(listener, None)
        for node in self._nodes.values():
            for job in node.jobs.values():
                if job.listener is listener:
                    node.processors[job.command.pid.processor].abandon(job)
            for processor in node.processors.values():
                processor.forget_request(listener.name)

    def conditions(self) -> Conditions:
        """What the nodes that are there say of themselves; the others are not available."""
        away = Condition(available=False)
        return {
            processor.pid: processor.condition() if node.known else away
            for node in self._nodes.values()
            for processor in node.processors.values()
        }

    def send(self, command: SendTask, listener: Listener) -> None:
        """A task sets out for its node; its one reply will be a TaskDone or a TaskFailed."""
        now_s = self._agenda.now_s
        node = self._nodes[command.pid.node]
        job = Job(command, listener, now_s)
        self.tasks += 1
        if not node.known:
            self._agenda.at(now_s, listener.hear, _failed(job, now_s, "the node is not on the network"))
            return
        node.jobs[listener, command.task] = job
        size_bytes = self.network.input_bytes(command.pid, command.variant, len(command.items))
        arrives_s = self.network.arrives_s(node.name, size_bytes, now_s)
        if arrives_s > now_s:
            self._agenda.at(arrives_s, self._arrive, (node, node.life, job))
        else:
            self._arrive((node, node.life, job))

    def abandon(self, command: AbandonTask, listener: Listener) -> None:
        """Tell a node to forget a task."""
        node = self._nodes[command.pid.node]
        after_s = self.network.links[node.name].latency_s
        self._agenda.at(self._agenda.now_s + after_s, self._abandoned, (node, (listener, command.task)))

    # --- what happens to nodes -------------------------------------------------------------------------------------

    def is_there(self, name: str) -> bool:
        """True unless the node has left."""
        return self._nodes[name].heard

    def kill(self, name: str) -> None:
        """The node's plug is pulled, and its connections break at once."""
        node = self._nodes[name]
        node.heard = False
        self._drop(node, also_loaded=True)
        self._record(NodeRecord(node=name, at_s=self._agenda.now_s, change="left"))
        self._notice_loss(node)

    def silence(self, name: str) -> None:
        """Nothing comes through to or from the node any more; it is given up when its lease has run out."""
        node = self._nodes[name]
        node.heard = False
        node.silences += 1
        self._record(NodeRecord(node=name, at_s=self._agenda.now_s, change="left"))
        self._agenda.at(self._agenda.now_s + self._lease_s, self._lease_ends, (node, node.silences))

    def bring_back(self, name: str) -> None:
        """The node is there again; what was held up comes through now, unless the node was given up meanwhile."""
        node = self._nodes[name]
        node.heard = True
        node.silences += 1
        self._record(NodeRecord(node=name, at_s=self._agenda.now_s, change="returned"))
        held, node.held = node.held, []
        for action, about in held:
            action(about)
        if not node.known:
            node.known = True
            for listener in tuple(self._listeners):
                listener.hear(NodeReturned(now_s=self._agenda.now_s, node=name))

    def set_speed(self, name: str, processor: str | None, speed: float) -> None:
        """So fast are the node's processors from now on, or one of them, while cold."""
        for pid_name, simulated in self._nodes[name].processors.items():
            if processor in {None, pid_name}:
                simulated.set_speed(speed)
                self._record(SpeedRecord(node=name, processor=pid_name, at_s=self._agenda.now_s, speed=speed))

    def set_heat(self, name: str, processor: str | None, heat: Heat | None) -> None:
        """So do they heat up under work; with None not at all."""
        for pid_name, simulated in self._nodes[name].processors.items():
            if processor in {None, pid_name}:
                simulated.set_heat(heat)

    def set_link(self, name: str, link: Link) -> None:
        """So does the node's link carry what is sent from now on."""
        self.network.change(name, link)

    def set_uplink(self, bandwidth_bytes_per_s: float) -> None:
        """So does the coordinators' uplink carry what is sent from now on."""
        self.network.uplink_bytes_per_s = bandwidth_bytes_per_s

    @property
    def nodes(self) -> tuple[SimulatedNode, ...]:
        """All of them, as they are now, in the order of the description."""
        return tuple(self._nodes.values())

    @property
    def busy_s(self) -> dict[ProcessorId, float]:
        """How long each processor has worked."""
        return {p.pid: p.busy_s for node in self._nodes.values() for p in node.processors.values()}

    # --- within ----------------------------------------------------------------------------------------------------

    def _arrive(self, about: tuple[SimulatedNode, int, Job]) -> None:
        node, life, job = about
        if node.life != life:
            return
        if node.heard:
            node.processors[job.command.pid.processor].arrive(job)
        else:
            node.held.append((self._arrive, about))

    def _abandoned(self, about: tuple[SimulatedNode, tuple[Listener, int]]) -> None:
        node, key = about
        job = node.jobs.get(key)
        if job is not None and node.heard:
            node.processors[job.command.pid.processor].abandon(job)

    def _ended(self, node: SimulatedNode, job: Job, failure: str | None) -> None:
        if not node.heard:
            node.held.append((self._reply, (node, job, failure)))
        else:
            self._reply((node, job, failure))

    def _reply(self, about: tuple[SimulatedNode, Job, str | None]) -> None:
        node, job, failure = about
        if node.jobs.pop((job.listener, job.command.task), None) is None:
            return
        now_s = self._agenda.now_s
        if failure is not None:
            self._record_task(job, 0.0, "refused", failure)
            job.listener.hear(_failed(job, now_s, failure))
            return
        self._record_task(job, job.loaded_s, "answered", "")
        done = TaskDone(
            now_s=now_s, task=job.command.task, busy_s=job.busy_s, load_s=job.loaded_s, others_s=job.others_s
        )
        job.listener.hear(done)

    def _lease_ends(self, about: tuple[SimulatedNode, int]) -> None:
        node, silence = about
        if node.silences == silence:
            self._drop(node, also_loaded=False)
            self._notice_loss(node)

    def _drop(self, node: SimulatedNode, *, also_loaded: bool) -> None:
        node.life += 1
        node.held.clear()
        self.network.forget(node.name)
        for processor in node.processors.values():
            processor.forget_all(also_loaded=also_loaded)

    def _notice_loss(self, node: SimulatedNode) -> None:
        """All are told that the node is gone, then whoever waits for an answer: the order of the real fabric."""
        if not node.known:
            return
        node.known = False
        self._record(NodeRecord(node=node.name, at_s=self._agenda.now_s, change="lost"))
        waiting, node.jobs = node.jobs, {}
        lost = self._lost(node, "it left the network")
        for listener in tuple(self._listeners):
            listener.hear(lost)
        for job in waiting.values():
            self._record_task(job, 0.0, "lost", "")
            job.listener.hear(_failed(job, self._agenda.now_s, "it left the network before it answered"))

    def _lost(self, node: SimulatedNode, reason: str) -> NodeLost:
        return NodeLost(now_s=self._agenda.now_s, node=node.name, reason=reason)

    def _record_task(self, job: Job, load_s: float, ending: str, reason: str) -> None:
        command = job.command
        self._record(
            TaskRecord(
                request=job.listener.name,
                task=command.task,
                node=command.pid.node,
                processor=command.pid.processor,
                variant=command.variant,
                items=len(command.items),
                sent_s=job.sent_s,
                began_s=None if math.isnan(job.began_s) else job.began_s,
                ended_s=self._agenda.now_s,
                load_s=load_s,
                ending=ending,
                reason=reason,
            )
        )


def _factor(chance: Random, error: float) -> float:
    """How much longer than profiled something takes when its speed may be off by so much, either way."""
    return 1.0 / (1.0 + chance.uniform(-error, error)) if error else 1.0


def _failed(job: Job, now_s: float, reason: str) -> TaskFailed:
    return TaskFailed(now_s=now_s, task=job.command.task, reason=reason)
