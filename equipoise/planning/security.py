"""How soon a request should be safe against what may happen to any one node, and what that is worth.

A plan that spends all slack on accuracy fills its deadline. If a node is lost while the others could not do the rest in
the time that is left, the deadline is broken. Power grids are run so that the loss of any one component can be borne
(the N-1 criterion). Here an event is the loss of a node, a node at half its speed, or a node lost and the largest of
the others at half its speed. A request is *safe* against an event once

    T_e(rest) <= (1 - MARGIN) x time left,       T_e: the least time for the rest at the floor, after the event

Where that does not hold from the start, working faster at first makes it hold sooner, and what is saved then is
accuracy's again later. For a rest whose owed accuracy is f, with r seconds left:

    q_e = T_e / ((1 - MARGIN) r)                  safe already if q_e <= 1
    x_e(p) = p (q_e - 1) / (q_e - p)              the part of r until it is safe, working as if p r seconds were left
    A(p, x) = accuracy of working so for x r seconds, and then as if all of the rest were left
    worth   = A(p, x) - RISK (A(1, 0) - f) sum_e u_e,    u_e = x_e where x_e <= x, else 1

and the pair (p, x) of the greatest worth is chosen, (1, 0) among them: to hurry is paid for in accuracy, as far as
being safe sooner is worth it. RISK is larger once a node has been lost or has slowed down. Every event of the nodes
that matter is taken to be equally likely, whence the sum. Accuracies and times are those of divisible items (fluid.py)
and leave links and loads out. That what is done before the event is more accurate than is owed is left out, too, and
on the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from equipoise.core.request import Prefer, Requirement
from equipoise.planning.fluid import fill, least_time_s
from equipoise.planning.problem import TOLERANCE, Floats, Problem

_MARGIN = 0.15  # of the time left: for what is in flight, for noticing the event, and for whole items
_RISK = 0.5  # of what slack is worth, to be safe for all of the time rather than for none of it
_RISK_ONCE_STRUCK = 2.0  # the same where something has happened already: it may happen again
_STRUCK = 0.75  # of its speed: slower than profiles are wrong
_SLOW = 0.5  # of its speed: what heat or another program leaves of a node
_NODES = 4  # looked at, those that can do most: what happens to the others is easier to bear
_PACES = 8  # tried


@dataclass(frozen=True, kw_only=True)
class Hurry:
    """Plan as if only `deadline_s` were left, and look again after `for_s` seconds."""

    deadline_s: float
    for_s: float


def is_cautious(requirement: Requirement) -> bool:
    """True if what may happen to nodes is worth some accuracy: then confidence was asked for, beside accuracy."""
    return requirement.confidence is not None and requirement.prefer is Prefer.ACCURACY


def hurry(problem: Problem) -> Hurry | None:
    """How to be safe sooner; None if all is safe already, if nothing can be done, or if it is not worth its price.

    Only where a confidence is asked for and slack within a deadline goes to accuracy: least latency hurries anyway.
    """
    left_s = problem.deadline_s
    if not is_cautious(problem.request.requirement) or not math.isfinite(left_s):
        return None
    fluid = _Fluid(problem)
    unsafe = [q for q in fluid.strains((1 - _MARGIN) * left_s) if q > 1]
    least, patient = fluid.least_time_s() / left_s, fluid.accuracy(left_s)
    if not unsafe or least >= 1 or patient is None:
        return None
    price = _risk(problem) * max(0.0, patient - problem.floor)
    chosen, best = None, patient - price * len(unsafe)
    for pace, until in _choices(unsafe, least):
        accuracy = fluid.accuracy_in_two_steps(pace, until)
        if accuracy is None:
            continue
        worth = accuracy - price * sum(_unsafe_for(q, pace, until) for q in unsafe)
        if worth > best + TOLERANCE:
            chosen, best = Hurry(deadline_s=pace * left_s, for_s=until * left_s), worth
    return chosen


def _risk(problem: Problem) -> float:
    states = problem.conditions.values()
    struck = any(not state.available or state.speed < _STRUCK for state in states)
    return _RISK_ONCE_STRUCK if struck else _RISK


def _choices(unsafe: list[float], least: float) -> Iterator[tuple[float, float]]:
    """Paces, each until one event more can be borne."""
    for step in range(_PACES):
        pace = least + (1 - least) * step / _PACES
        for q in unsafe:
            yield pace, _safe_after(q, pace)


def _safe_after(q: float, pace: float) -> float:
    return pace * (q - 1) / (q - pace)


def _unsafe_for(q: float, pace: float, until: float) -> float:
    safe_after = _safe_after(q, pace)
    return safe_after if safe_after <= until * (1 + TOLERANCE) else 1.0


class _Fluid:
    """The rest as divisible items."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._hulls = problem, problem.fleet.hulls
        self._start_s, self._speed = problem.readiness.start_s, problem.readiness.speed

    def least_time_s(self, start_s: Floats | None = None, slower: Floats | float = 1.0) -> float:
        """For all items, at the floor; inf if it takes for ever."""
        items, start_s = self._problem.items, self._start_s if start_s is None else start_s
        return least_time_s(self._hulls, start_s, self._speed * slower, items, self._problem.floor * items)

    def strains(self, within_s: float) -> Iterator[float]:
        """The time needed after each event over the time there is, where there is any time that would do."""
        nodes = list(self._nodes_that_matter())
        for n, struck in enumerate(nodes):
            other = nodes[1] if n == 0 and len(nodes) > 1 else nodes[0]
            gone = np.where(struck, np.inf, self._start_s)
            for needed_s in (
                self.least_time_s(gone),
                self.least_time_s(slower=np.where(struck, _SLOW, 1.0)),
                self.least_time_s(gone, np.where(other, _SLOW, 1.0)),
            ):
                if math.isfinite(needed_s):
                    yield needed_s / within_s

    def _nodes_that_matter(self) -> Iterator[Floats]:
        """(P,) the processors of each."""
        node, present = self._problem.fleet.node, np.isfinite(self._start_s)
        most_per_s = np.bincount(self._hulls.processor, self._hulls.rate_per_s, minlength=len(node))
        by_node = np.bincount(node, np.where(present, most_per_s * self._speed, 0.0))
        return (node == n for n in np.argsort(-by_node, kind="stable")[:_NODES] if by_node[n] > 0)

    def accuracy(self, within_s: float, part: float = 1.0) -> float | None:
        """The best that can be had for this part of the items, in so many seconds; None if they cannot be done."""
        items = part * self._problem.items
        # what is in flight delays the start of the whole rest, once
        filled = fill(self._hulls, np.maximum(0.0, within_s - part * self._start_s) * self._speed, items)
        return None if filled is None else filled.gain / items

    def accuracy_in_two_steps(self, pace: float, until: float) -> float | None:
        """As if `pace` of the time were left until `until` of it has passed, and then as there is."""
        left_s, done = self._problem.deadline_s, until / pace
        first = self.accuracy(pace * left_s)
        if first is None or done >= 1 - TOLERANCE:
            return first
        second = self.accuracy((1 - until) * left_s, 1 - done)
        return None if second is None else done * first + (1 - done) * second
