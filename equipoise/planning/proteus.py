"""Strategy `proteus`: accuracy scaling in the manner of Proteus (Ahmad et al., ASPLOS 2024), solved by HiGHS.

Proteus serves streams of queries. Each device holds one variant; a MILP chooses the variants and which part of the
queries every device gets, so that the accuracy over all queries is greatest and the demand is served:

    x[p,v] = 1 where p holds v, sum_v x[p,v] <= 1        z[p,v] = part of the items, sum z[p,v] = 1
    z[p,v] <= most[p,v] / items x x[p,v]                 sum accuracy[v] z[p,v] >= floor
    maximise sum accuracy[v] z[p,v]

What had to be adapted:

- Demand. A batch of items within a deadline is a demand of items / deadline per second. A rate would ignore that a
  processor waits for its link, its queue and a load first, so most[p,v] counts the whole items that are done in time.
- Floor. Proteus promises no accuracy, it gives the most that there is; here a floor is one more row.
- Latency. Proteus has no wish for a shorter time. To `prefer latency`, the time T becomes a column, to be minimised:
      sum_v items x item_s[p,v] z[p,v] + (charge_s[p,v] + start_s[p] speed[p]) x[p,v] <= speed[p] T
- Whole items. Proteus routes queries by chance in proportion to z. Here the variants of the solution get as many whole
  items as they have time for, the most accurate first: given the variants, no other counts are more accurate.
- Several families, adaptive batching and shedding of demand are left out: a request has one family and all its items
  are answered. Variants run at their best measured batch size, as in every other strategy.

It knows neither energy nor what the processors of a node share: the cost model judges both. To `prefer energy` it plans
as for accuracy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from equipoise.core.plan import Plan
from equipoise.core.request import Prefer
from equipoise.errors import PlanningError
from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem

if TYPE_CHECKING:
    import highspy

_TIME_LIMIT_S = 60.0
_GAP = 1e-6
_HALVINGS = 50  # of the search for the shortest time with whole items


def solve(problem: Problem, *, time_limit_s: float = _TIME_LIMIT_S) -> Plan | None:
    """The plan of strategy `proteus`, or None if it has none that keeps both promises.

    Raises PlanningError without highspy.
    """
    if find_spec("highspy") is None:
        raise PlanningError("strategy proteus needs the solver HiGHS; install it with: pip install highspy")
    held = _held(problem, _Cells.of(problem).useful(), time_limit_s)
    if held is None:
        return None
    deadline_s = _fewest_seconds(problem, held) if _is_timed(problem) else problem.deadline_s
    counts = _filled(problem, held, deadline_s)
    if counts is None:
        return None
    prediction = problem.predict_counts(counts)
    return problem.plan("proteus", prediction) if problem.keeps(prediction) else None


def _charges(problem: Problem) -> Floats:
    """(P, V) the load, and what a last, incomplete call costs at most beyond its items."""
    fleet, load_s = problem.fleet, problem.readiness.load_s
    rest_s = np.where(fleet.batch > 1, fleet.call_s - np.where(np.isfinite(fleet.item_s), fleet.item_s, 0.0), 0.0)
    charges: Floats = rest_s if load_s is None else rest_s + load_s
    return charges


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Pairs of a processor and a variant that it may hold. Every array has shape (K,)."""

    processor: Ints
    variant: Ints
    accuracy: Floats
    item_s: Floats  # at profile speed
    charge_s: Floats  # fixed cost of using the variant at all, at profile speed
    start_s: Floats
    speed: Floats

    @classmethod
    def of(cls, problem: Problem) -> _Cells:
        """All pairs that can be run now."""
        ready = problem.readiness
        p, v = np.nonzero(problem.usable)
        return cls(
            processor=p,
            variant=v,
            accuracy=problem.fleet.accuracy[v],
            item_s=problem.fleet.item_s[p, v],
            charge_s=_charges(problem)[p, v],
            start_s=ready.start_s[p],
            speed=ready.speed[p],
        )

    def among(self, chosen: Ints) -> _Cells:
        """Only those at these places."""
        return _Cells(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})

    def useful(self) -> _Cells:
        """Without pairs that another variant on the same processor beats in accuracy, speed and fixed cost."""
        kept: list[int] = []
        rivals: list[int] = []
        for k in np.lexsort((self.charge_s, self.item_s, -self.accuracy, self.processor)).tolist():
            rivals = [r for r in rivals if self.processor[r] == self.processor[k]]
            if all(self.item_s[r] > self.item_s[k] or self.charge_s[r] > self.charge_s[k] for r in rivals):
                rivals.append(k)
                kept.append(k)
        return self.among(np.array(kept, dtype=np.int64))

    def most(self, deadline_s: float, items: int) -> Ints:
        """(K,) whole items that each has time for until the deadline, at most `items`."""
        if not math.isfinite(deadline_s):
            return np.full(len(self.item_s), items)
        time_s = (deadline_s - self.start_s) * self.speed * (1 + TOLERANCE) - self.charge_s
        whole: Ints = np.clip(np.floor(time_s / self.item_s), 0, items).astype(np.int64)
        return whole


def _is_timed(problem: Problem) -> bool:
    return problem.prefer is Prefer.LATENCY or not math.isfinite(problem.deadline_s)


def _filled(problem: Problem, held: _Cells, deadline_s: float) -> Ints | None:
    """(P, V) whole items within the deadline, the most accurate variants first; None if it breaks a promise."""
    first = np.lexsort((held.item_s, -held.accuracy))
    most = held.most(deadline_s, problem.items)[first]
    items = np.clip(problem.items - (np.cumsum(most) - most), 0, most)
    earned = float(items @ held.accuracy[first])
    if items.sum() < problem.items or earned < (problem.floor - TOLERANCE) * problem.items:
        return None
    counts: Ints = np.zeros(problem.fleet.item_s.shape, np.int64)
    counts[held.processor[first], held.variant[first]] = items
    return counts


def _fewest_seconds(problem: Problem, held: _Cells) -> float:
    """The shortest deadline at which these variants keep the floor, or the problem's if none does."""
    slowest_s = float((held.start_s + (held.charge_s + problem.items * held.item_s) / held.speed).max())
    low_s, high_s = 0.0, min(slowest_s, problem.deadline_s)
    for _ in range(_HALVINGS):
        middle_s = (low_s + high_s) / 2
        low_s, high_s = (middle_s, high_s) if _filled(problem, held, middle_s) is None else (low_s, middle_s)
    return high_s


# --- the program ---------------------------------------------------------------------------------------------------


def _held(problem: Problem, cells: _Cells, time_limit_s: float) -> _Cells | None:
    """Which variant each processor holds, by the solver; None if no choice keeps both promises."""
    import highspy  # noqa: PLC0415 - 32-bit boards have no wheel of it, and most plans never need it

    cells = cells.among(np.flatnonzero(cells.most(problem.deadline_s, problem.items)))
    if not len(cells.variant):
        return None
    # Its own tolerances are kept: with 1e-9, HiGHS 1.15 calls plans optimal that are a point of accuracy short.
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("time_limit", time_limit_s)
    solver.setOptionValue("mip_rel_gap", _GAP)
    solver.passModel(_program(problem, cells))
    solver.run()
    if solver.getInfo().primal_solution_status != highspy.kSolutionStatusFeasible:
        return None
    holds = np.array(solver.getSolution().col_value)[len(cells.variant) : 2 * len(cells.variant)]
    return cells.among(np.flatnonzero(holds > 0.5))


def _program(problem: Problem, cells: _Cells) -> highspy.HighsLp:
    """Columns: z, then x, then T if time is what to minimise. See the module's head."""
    import highspy  # noqa: PLC0415

    pairs, timed = len(cells.variant), _is_timed(problem)
    rows = _rows(problem, cells, timed=timed)
    row, column, factor = (np.concatenate(parts) for parts in zip(*(block.terms for block in rows), strict=True))
    row = row + np.repeat(np.cumsum([0, *(block.rows for block in rows[:-1])]), [len(b.terms[0]) for b in rows])
    order = np.argsort(row, kind="stable")
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = sum(block.rows for block in rows), 2 * pairs + int(timed)
    lp.sense_ = highspy.ObjSense.kMinimize if timed else highspy.ObjSense.kMaximize
    lp.col_cost_ = np.append(np.zeros(2 * pairs), 1.0) if timed else np.append(cells.accuracy, np.zeros(pairs))
    lp.col_lower_ = np.zeros(lp.num_col_)
    lp.col_upper_ = np.append(np.ones(2 * pairs), np.full(int(timed), np.inf))
    kinds = highspy.HighsVarType
    lp.integrality_ = [kinds.kContinuous] * pairs + [kinds.kInteger] * pairs + [kinds.kContinuous] * int(timed)
    lp.row_lower_ = np.repeat([block.lower for block in rows], [block.rows for block in rows])
    lp.row_upper_ = np.repeat([block.upper for block in rows], [block.rows for block in rows])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.searchsorted(row[order], np.arange(lp.num_row_ + 1))
    lp.a_matrix_.index_, lp.a_matrix_.value_ = column[order], factor[order]
    return lp


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Rows of one kind; their terms are (row, column, factor), each (N,)."""

    lower: float
    upper: float
    rows: int
    terms: tuple[Ints, Ints, Floats]


def _rows(problem: Problem, cells: _Cells, *, timed: bool) -> list[_Rows]:
    """All items are placed; the floor; one variant on each processor; what a variant has time for; the time."""
    pairs = len(cells.variant)
    z = np.arange(pairs)
    x, once, ones = pairs + z, np.zeros(pairs, np.int64), np.ones(pairs)
    processors, on = np.unique(cells.processor, return_inverse=True)
    most = cells.most(problem.deadline_s, problem.items) / problem.items
    each = (np.append(z, z), np.append(z, x), np.append(ones, -most))
    kinds = [
        _Rows(lower=1.0, upper=1.0, rows=1, terms=(once, z, ones)),
        _Rows(lower=problem.floor, upper=math.inf, rows=1, terms=(once, z, cells.accuracy)),
        _Rows(lower=-math.inf, upper=1.0, rows=len(processors), terms=(on, x, ones)),
        _Rows(lower=-math.inf, upper=0.0, rows=pairs, terms=each),
    ]
    return [*kinds, _time(problem, cells, processors, on)] if timed else kinds


def _time(problem: Problem, cells: _Cells, processors: Ints, on: Ints) -> _Rows:
    """No processor is done after T."""
    pairs, count = len(cells.variant), len(processors)
    # The solver's tolerances are absolute: seconds are counted in the time of all items on the quickest pair.
    unit_s = problem.items * float(cells.item_s.min())
    work_s, wait_s = problem.items * cells.item_s, cells.charge_s + cells.start_s * cells.speed
    speed = np.zeros(count)
    speed[on] = cells.speed
    row = np.concatenate([on, on, np.arange(count)])
    column = np.append(np.arange(2 * pairs), np.full(count, 2 * pairs))
    factor = np.concatenate([work_s / unit_s, wait_s / unit_s, -speed])
    return _Rows(lower=-math.inf, upper=0.0, rows=count, terms=(row, column, factor))
