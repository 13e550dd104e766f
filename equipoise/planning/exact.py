"""Strategy `milp`: the plan as a mixed-integer linear program, solved by HiGHS. The reference for the fast method.

Columns: whole items x[p,v]; u[p,v] = 1 where p uses v, if using it has a fixed cost or takes memory; w[p] = 1 where p
works at all, if it cannot start at once; and the end T, fixed to the deadline unless latency is what to minimise.

    sum_v item_s[p,v] x[p,v] + charge_s[p,v] u[p,v]  <=  speed[p] (T - start_s[p] w[p])
    sum x[p,v] = items        sum accuracy[v] x[p,v] >= floor x items
    x[p,v] <= items u[p,v]    sum_v x[p,v] <= items w[p]    sum_v memory[p,v] u[p,v] <= memory of the node

Fixed costs are the load and what an incomplete last batch costs at most, as in the fast method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from equipoise.core.plan import Plan
from equipoise.core.request import Prefer
from equipoise.errors import PlanningError
from equipoise.planning import joint
from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem

if TYPE_CHECKING:
    import highspy

_TIME_LIMIT_S = 60.0
_GAP = 1e-7
_LOOSER = 1e-7


def solve(problem: Problem, *, time_limit_s: float = _TIME_LIMIT_S) -> Plan | None:
    """The plan of strategy `milp`, or None if there is none. Raises PlanningError without highspy."""
    if find_spec("highspy") is None:
        raise PlanningError("strategy milp needs the solver HiGHS; install it with: pip install highspy")
    model = _Model(problem)
    solved = _run(model.program(), time_limit_s)
    if solved.getInfo().primal_solution_status != 2:
        return None
    bound = solved.getInfo().mip_dual_bound
    if problem.prefer is Prefer.ACCURACY:
        bound /= problem.items
    elif problem.prefer is Prefer.LATENCY:
        bound *= model.unit_s
    counts = model.counts(np.array(solved.getSolution().col_value))
    return problem.plan("milp", problem.predict(problem.shares(counts)), bound=bound)


def settle(problem: Problem, time_limit_s: float) -> Plan | None:
    """A plan of the exact solver where the fluid bound admits the request, or None; under the name `equipoise`.

    Without highspy, with no time, or where the solver gives up, the fast method's word stands.
    """
    if time_limit_s <= 0 or not joint.is_admitted_by_bound(problem) or find_spec("highspy") is None:
        return None
    try:
        found = solve(problem, time_limit_s=time_limit_s)
    except PlanningError:
        return None
    return None if found is None or not found.feasible else msgspec.structs.replace(found, strategy="equipoise")


def _run(program: highspy.HighsLp, time_limit_s: float) -> highspy.Highs:
    """The solved program. Raises PlanningError if the solver gives up."""
    import highspy  # noqa: PLC0415 - 32-bit boards have no wheel of it, and most plans never need it

    for tolerance in (TOLERANCE, _LOOSER):  # now and then the solver cannot make its last figures fit
        solver = highspy.Highs()  # type: ignore[no-untyped-call]
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("time_limit", time_limit_s)
        solver.setOptionValue("mip_rel_gap", _GAP)
        solver.setOptionValue("mip_abs_gap", 0.0)
        solver.setOptionValue("mip_feasibility_tolerance", tolerance)
        solver.setOptionValue("primal_feasibility_tolerance", tolerance)
        solver.passModel(program)
        solver.run()
        if solver.getModelStatus() != highspy.HighsModelStatus.kSolveError:
            return solver
    raise PlanningError("the solver HiGHS gave up on this request; use strategy equipoise, which needs no solver")


class _Model:
    """The program of one problem, column by column and row by row."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        # The solver's tolerances are absolute: seconds are counted in units of the quickest item.
        self.unit_s = float(problem.fleet.item_s[problem.usable].min())
        self._cost: list[float] = []
        self._upper: list[float] = []
        self._integral: list[bool] = []
        self._rows: list[tuple[float, float, list[tuple[int, float]]]] = []
        charge_s = problem.readiness.charge_s
        self._charge_s: Floats = np.zeros(problem.fleet.item_s.shape) if charge_s is None else charge_s
        self._cells = [(int(p), int(v)) for p, v in np.argwhere(problem.usable)]
        self._items = {cell: self._column(self._worth(cell), problem.items) for cell in self._cells}
        self._uses = {cell: self._column(0.0, 1) for cell in self._cells if self._has_fixed_cost(cell)}
        starts = problem.readiness.start_s
        working = sorted({p for p, _ in self._cells})
        self._works = {p: self._column(0.0, 1) for p in working if starts[p] > 0}
        self._end = self._column(
            float(problem.prefer is Prefer.LATENCY), problem.deadline_s / self.unit_s, integral=False
        )
        self._add_promises()
        for p in working:
            self._add_processor(p, [cell for cell in self._cells if cell[0] == p])

    def program(self) -> highspy.HighsLp:
        """The program in the solver's own form."""
        import highspy  # noqa: PLC0415

        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self._cost), len(self._rows)
        lp.col_cost_ = np.array(self._cost)
        lp.col_lower_, lp.col_upper_ = np.zeros(len(self._cost)), np.array(self._upper)
        kinds = highspy.HighsVarType
        lp.integrality_ = [kinds.kInteger if whole else kinds.kContinuous for whole in self._integral]
        lp.sense_ = (
            highspy.ObjSense.kMaximize if self._problem.prefer is Prefer.ACCURACY else highspy.ObjSense.kMinimize
        )
        lp.row_lower_ = np.array([lower for lower, _, _ in self._rows])
        lp.row_upper_ = np.array([upper for _, upper, _ in self._rows])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.cumsum([0, *(len(terms) for _, _, terms in self._rows)])
        lp.a_matrix_.index_ = np.array([column for _, _, terms in self._rows for column, _ in terms])
        lp.a_matrix_.value_ = np.array([factor for _, _, terms in self._rows for _, factor in terms])
        return lp

    def counts(self, values: Floats) -> Ints:
        """Items per (processor, variant) of a solution."""
        counts: Ints = np.zeros(self._problem.fleet.item_s.shape, np.int64)
        for cell, column in self._items.items():
            counts[cell] = round(values[column])
        return counts

    def _worth(self, cell: tuple[int, int]) -> float:
        match self._problem.prefer:
            case Prefer.ACCURACY:
                return float(self._problem.fleet.accuracy[cell[1]])
            case Prefer.LATENCY:
                return 0.0
            case Prefer.ENERGY:
                return float(self._problem.fleet.item_j[cell])

    def _has_fixed_cost(self, cell: tuple[int, int]) -> bool:
        return bool(self._charge_s[cell] > 0) or self._problem.fleet.is_memory_bound

    def _column(self, cost: float, upper: float, *, integral: bool = True) -> int:
        self._cost.append(cost)
        self._upper.append(upper)
        self._integral.append(integral)
        return len(self._cost) - 1

    def _add_row(
        self, terms: Iterable[tuple[int, float]], *, lower: float = -math.inf, upper: float = math.inf
    ) -> None:
        self._rows.append((lower, upper, list(terms)))

    def _add_promises(self) -> None:
        problem = self._problem
        self._add_row(((x, 1.0) for x in self._items.values()), lower=problem.items, upper=problem.items)
        if problem.floor > 0:
            earned = ((x, float(problem.fleet.accuracy[v])) for (_, v), x in self._items.items())
            self._add_row(earned, lower=problem.floor * problem.items)
        if problem.prefer is not Prefer.LATENCY and math.isfinite(problem.deadline_s):
            self._add_row([(self._end, 1.0)], lower=problem.deadline_s / self.unit_s)

    def _add_processor(self, p: int, cells: list[tuple[int, int]]) -> None:
        fleet, ready, all_items = self._problem.fleet, self._problem.readiness, -float(self._problem.items)
        busy = [(self._items[cell], float(fleet.item_s[cell]) / self.unit_s) for cell in cells]
        used = [cell for cell in cells if cell in self._uses]
        busy += [(self._uses[cell], float(self._charge_s[cell]) / self.unit_s) for cell in used]
        if p in self._works:
            busy.append((self._works[p], float(ready.start_s[p] * ready.speed[p]) / self.unit_s))
            self._add_row([*((self._items[cell], 1.0) for cell in cells), (self._works[p], all_items)], upper=0.0)
        self._add_row([*busy, (self._end, -float(ready.speed[p]))], upper=0.0)
        for cell in used:
            self._add_row([(self._items[cell], 1.0), (self._uses[cell], all_items)], upper=0.0)
        if used and math.isfinite(fleet.node_memory_bytes[p]):
            memory = float(fleet.node_memory_bytes[p])
            self._add_row([(self._uses[cell], float(fleet.memory_bytes[cell]) / memory) for cell in used], upper=1.0)
