"""Processors that requests of several families share: what each is wanted for, and the judge of schedules.

Requests run in the order of their deadlines; on each processor one begins when the one before has finished. For amounts
of work that are given, this order keeps all deadlines if any order does (see `allotment.py`). Times are those of
the cost model (`predict.py`), where each request finds the processors busy with those before it. Four things are
charged with caution, because what families do to each other on a board is not described: every request loads what it
runs, even if an earlier one ran it too; it waits for the link's latency anew; it starts on a node when all inputs of
earlier requests have come; and what requests hold in memory on the processors of one node has to fit together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from equipoise.core.cluster import Cluster, Node, ProcessorId
from equipoise.core.plan import Condition, Conditions, Plan, Share
from equipoise.core.queue import QueuedRequest, check_clusters
from equipoise.planning.allotment import Demand
from equipoise.planning.fleet import Fleet
from equipoise.planning.problem import TOLERANCE, Problem

Floats = npt.NDArray[np.float64]

_AS_PROFILED = Condition()


@dataclass(frozen=True, kw_only=True)
class SharedFleet:
    """The fleets of several families on the same processors, P of them over all families."""

    fleets: dict[str, Fleet]  # by family
    conditions: Conditions

    @classmethod
    def of(cls, clusters: Iterable[Cluster], conditions: Conditions | None = None) -> SharedFleet:
        """Compile a cluster per family. Raises ValueError if they contradict each other (see `Queue`)."""
        clusters = tuple(clusters)
        check_clusters(clusters)
        return cls(fleets={cluster.family: Fleet.of(cluster) for cluster in clusters}, conditions=conditions or {})

    @cached_property
    def pids(self) -> tuple[ProcessorId, ...]:
        """Every processor that some family can run on."""
        return tuple(dict.fromkeys(pid for fleet in self.fleets.values() for pid in fleet.pids))

    @cached_property
    def index(self) -> dict[ProcessorId, int]:
        """Row of each processor."""
        return {pid: p for p, pid in enumerate(self.pids)}

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Nodes by name; their profiles are those of one family, their link and memory are everybody's."""
        return {node.name: node for fleet in self.fleets.values() for node in fleet.cluster.nodes}

    @cached_property
    def rows(self) -> dict[str, list[int]]:
        """Of each family, where its fleet's processors stand among all."""
        return {family: [self.index[pid] for pid in fleet.pids] for family, fleet in self.fleets.items()}

    @cached_property
    def start_s(self) -> Floats:
        """(P,) until each processor has done what it is busy with; inf where it is not available."""
        states = [self.conditions.get(pid, _AS_PROFILED) for pid in self.pids]
        return np.array([state.busy_s if state.available else np.inf for state in states])

    def problem(self, request: QueuedRequest, busy_s: Floats) -> Problem:
        """A request that finds each processor (P,) busy for that long, and nothing loaded."""
        fleet, conditions = self.fleets[request.family], {}
        for pid, row in zip(fleet.pids, self.rows[request.family], strict=True):
            state = self.conditions.get(pid, _AS_PROFILED)
            conditions[pid] = Condition(available=state.available, speed=state.speed, busy_s=float(busy_s[row]))
        return Problem(request=request.request, fleet=fleet, conditions=conditions)

    def demand(self, requests: Sequence[QueuedRequest]) -> Demand:
        """What requests, in the order of their deadlines, want of the processors."""
        fleets = [self.fleets[request.family] for request in requests]
        variants = max(len(fleet.names) for fleet in fleets)
        item_s = np.full((len(requests), len(self.pids), variants), np.inf)
        load_s = np.zeros(item_s.shape)
        accuracy, gain = np.zeros((len(requests), variants)), np.zeros((len(requests), variants))
        speed = np.array([self.conditions.get(pid, _AS_PROFILED).speed for pid in self.pids])
        for k, (request, fleet) in enumerate(zip(requests, fleets, strict=True)):
            rows, columns = self.rows[request.family], len(fleet.names)
            seconds = np.where(fleet.runnable, fleet.item_s, np.inf)
            item_s[k, rows, :columns] = seconds / speed[rows, None]
            load_s[k, rows, :columns] = fleet.load_s / speed[rows, None]
            accuracy[k, :columns] = fleet.accuracy
            gain[k] = accuracy[k] if request.wants_accuracy else 0.0
        link_s = np.array([self.nodes[pid.node].link.latency_s for pid in self.pids])
        ready_s = self.start_s + link_s
        item_s[:, ~np.isfinite(ready_s), :] = np.inf
        return Demand(
            item_s=item_s,
            accuracy=accuracy,
            gain=gain,
            items=np.array([float(request.items) for request in requests]),
            floor=np.array([request.requirement.min_accuracy for request in requests]),
            load_s=load_s,
            link_s=link_s,
            time_s=np.maximum(0.0, np.array([request.deadline_s for request in requests])[:, None] - ready_s),
        )

    def free_after(self, requests: Sequence[QueuedRequest], plans: Sequence[Plan]) -> Floats:
        """(P,) until when each processor looks busy to a request that comes after these plans."""
        clock = _Clock(self)
        for request, plan in zip(requests, plans, strict=True):
            clock.run(request, plan)
        return clock.busy_s

    def lined_up(self, requests: Sequence[QueuedRequest], plans: Sequence[Plan]) -> list[Plan]:
        """The plans one after the other, with the times at which they really finish."""
        clock = _Clock(self)
        return [clock.run(request, plan) for request, plan in zip(requests, plans, strict=True)]

    def timed(self, requests: Sequence[QueuedRequest], plans: Sequence[Plan]) -> tuple[Plan, ...] | None:
        """The same, or None if a promise breaks or a node has not enough memory."""
        clock = _Clock(self)
        runs: list[Plan] = []
        for request, plan in zip(requests, plans, strict=True):
            runs.append(clock.run(request, plan))
            if not runs[-1].feasible:
                return None
        return tuple(runs) if clock.fits_memory() else None


class _Clock:
    """Lets plans run one after the other."""

    def __init__(self, shared: SharedFleet) -> None:
        self._shared = shared
        self._free_s = shared.start_s.copy()
        self._sent_s: dict[str, float] = {}  # how long a node's link has been busy with inputs of earlier requests
        self._held_bytes: dict[ProcessorId, float] = {}

    @property
    def busy_s(self) -> Floats:
        """(P,) until each processor has finished, and its node's link has brought all inputs so far."""
        busy_s: Floats = np.maximum(self._free_s, [self._sent_s.get(pid.node, 0.0) for pid in self._shared.pids])
        return busy_s

    def run(self, request: QueuedRequest, plan: Plan) -> Plan:
        """The plan as it runs after all before it."""
        problem = self._shared.problem(request, self.busy_s)
        fleet, prediction = problem.fleet, problem.predict(plan.shares)
        arrived_s = self._send(fleet, prediction.shares)
        shares = tuple(
            msgspec.structs.replace(s, finish_s=max(s.finish_s, arrived_s.get(s.node, 0.0))) for s in prediction.shares
        )
        for share in shares:
            row = self._shared.index[share.pid]
            self._free_s[row] = max(self._free_s[row], share.finish_s)
        self._hold(fleet, shares)
        latency_s = max(share.finish_s for share in shares)
        return msgspec.structs.replace(
            plan,
            feasible=problem.keeps(prediction) and latency_s <= request.deadline_s * (1 + TOLERANCE),
            shares=shares,
            latency_s=latency_s,
            accuracy=prediction.accuracy,
            energy_j=prediction.energy_j,
            bound=None,
            gap=None,
        )

    def _send(self, fleet: Fleet, shares: Sequence[Share]) -> dict[str, float]:
        """When the last call on each node can have run that waits for inputs behind those of earlier requests."""
        sent_bytes: dict[str, int] = {}
        last_call_s: dict[str, float] = {}
        for share in shares:
            size = int(fleet.input_bytes[fleet.index[share.pid], fleet.column[share.variant]])
            if size:
                sent_bytes[share.node] = sent_bytes.get(share.node, 0) + size * share.items
                speed = self._shared.conditions.get(share.pid, _AS_PROFILED).speed
                call_s = fleet.cluster.profile(share.pid, share.variant).call_s(min(share.batch, share.items)) / speed
                last_call_s[share.node] = max(last_call_s.get(share.node, 0.0), call_s)
        arrived_s: dict[str, float] = {}
        for name, total in sent_bytes.items():
            earlier_s, link = self._sent_s.get(name, 0.0), self._shared.nodes[name].link
            self._sent_s[name] = earlier_s + total / link.bandwidth_bytes_per_s
            if earlier_s > 0:  # the first request's inputs are in its prediction, share by share
                arrived_s[name] = link.latency_s + self._sent_s[name] + last_call_s[name]
        return arrived_s

    def _hold(self, fleet: Fleet, shares: Sequence[Share]) -> None:
        held_bytes: dict[ProcessorId, float] = {}
        for share in shares:
            held = float(fleet.memory_bytes[fleet.index[share.pid], fleet.column[share.variant]])
            held_bytes[share.pid] = held_bytes.get(share.pid, 0.0) + held
        for pid, held in held_bytes.items():
            self._held_bytes[pid] = max(self._held_bytes.get(pid, 0.0), held)

    def fits_memory(self) -> bool:
        """True if no node has to hold more at any time than it has memory, whatever runs on its processors at once."""
        held_bytes: dict[str, float] = {}
        for pid, held in self._held_bytes.items():
            held_bytes[pid.node] = held_bytes.get(pid.node, 0.0) + held
        limits = ((self._shared.nodes[name].memory_bytes, held) for name, held in held_bytes.items())
        return all(limit is None or held <= limit for limit, held in limits)
