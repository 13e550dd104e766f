"""Proven optima of random instances, kept in a file: they take HiGHS minutes, and never change.

One line of JSON per instance. A line belongs to an instance by the SHA-256 of the instance's own JSON, so a generator
that draws something else, or another cost model's input, finds nothing here and is solved anew.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import msgspec
from checker import complaints
from instances import Instance

from equipoise.core.plan import Plan
from equipoise.core.request import Prefer
from equipoise.errors import PlanningError
from equipoise.planning import exact
from equipoise.planning.fleet import Fleet
from equipoise.planning.problem import Problem

PROVEN = 1e-5  # relative gap up to which a plan of the exact solver counts as optimal


class Status(str, Enum):
    """What the exact solver could say within its time."""

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"
    UNPROVEN = "unproven"


class Optimum(msgspec.Struct, frozen=True, kw_only=True):
    """The exact solver's answer to one instance.

    value, bound   in the preferred objective: the accuracy or latency (s) of its plan, and what no plan can beat;
                   None where it found no plan
    took_s         of this machine
    wrong          what the independent checker says about its plan
    """

    key: str
    seed: int
    prefer: Prefer
    status: Status
    value: float | None
    bound: float | None
    limit_s: float
    took_s: float
    wrong: tuple[str, ...] = ()


def key_of(instance: Instance) -> str:
    """SHA-256 of the instance's JSON."""
    return hashlib.sha256(msgspec.json.encode([instance.cluster, instance.request])).hexdigest()


def value_of(plan: Plan) -> float:
    """What was to be as large (accuracy) or as small (latency, energy) as possible."""
    figures = {Prefer.ACCURACY: plan.accuracy, Prefer.LATENCY: plan.latency_s, Prefer.ENERGY: plan.energy_j}
    value = figures[plan.prefer]
    assert value is not None, "every instance describes its watts"
    return value


def solved(instance: Instance, seed: int, limit_s: float) -> Optimum:
    """The exact solver's answer within so many seconds."""
    problem = Problem(request=instance.request, fleet=Fleet.of(instance.cluster), conditions={})
    began_s = time.perf_counter()
    try:
        found, gave_up = exact.solve(problem, time_limit_s=limit_s), False
    except PlanningError:
        found, gave_up = None, True
    took_s = time.perf_counter() - began_s
    status = Status.UNPROVEN
    if found is not None and found.feasible and found.gap is not None and found.gap <= PROVEN:
        status = Status.OPTIMAL
    elif found is None and not gave_up and took_s < 0.9 * limit_s:  # it stops early only with a proof
        status = Status.INFEASIBLE
    return Optimum(
        key=key_of(instance),
        seed=seed,
        prefer=instance.request.requirement.prefer,
        status=status,
        value=None if found is None or not found.feasible else value_of(found),
        bound=None if found is None else found.bound,
        limit_s=limit_s,
        took_s=took_s,
        wrong=() if found is None else tuple(complaints(instance.request, instance.cluster, found)),
    )


@dataclass
class Optima:
    """The file of optima. Lines are added as they are found, so that nothing is lost when it is stopped."""

    path: Path
    known: dict[str, Optimum] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> Optima:
        """What the file holds; of several lines for one instance the last. A file that is not there holds nothing."""
        lines = path.read_bytes().splitlines() if path.exists() else []
        read = (msgspec.json.decode(line, type=Optimum) for line in lines)
        return cls(path=path, known={optimum.key: optimum for optimum in read})

    def find(self, instance: Instance, seed: int, limit_s: float) -> Optimum:
        """What is known of the instance, or else what the exact solver now says.

        What was not proven in less time than `limit_s` is tried again.
        """
        known = self.known.get(key_of(instance))
        if known is None or (known.status is Status.UNPROVEN and known.limit_s < limit_s):
            known = self._add(solved(instance, seed, limit_s))
        return known

    def _add(self, optimum: Optimum) -> Optimum:
        self.known[optimum.key] = optimum
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(optimum) + b"\n")
        return optimum
