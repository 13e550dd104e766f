"""The reference for schedules of several requests: the same as a mixed-integer linear program, solved by HiGHS.

The program of `allotment.py` with whole items x[k,p,v]; u[k,p,v] = 1 where request k uses v on p, which costs a load;
and w[k,p] = 1 where it uses p at all, which costs the link's latency, once for every request there:

    sum_{k<=j},v (item_s[k,p,v] x[k,p,v] + load_s[k,p,v] u[k,p,v]) + sum_{k<=j} link_s[p] w[k,p]
                                                        <= time_s[j,p] + link_s[p]   for every j, p
    x[k,p,v] <= items[k] u[k,p,v]        sum_v x[k,p,v] <= items[k] w[k,p]

For batches of one, inputs that take no time and enough memory, this is what the cost model charges; elsewhere it leaves
out costs, so that its bound and its no stand all the same. It takes seconds where the fast method takes milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from equipoise.errors import PlanningError
from equipoise.planning.allotment import Demand, solver_is_there

Ints = npt.NDArray[np.int64]
_NOTHING = 1e-9  # the solver refuses coefficients that are as small
Cell = tuple[int, int, int]  # (k, p, v)


@dataclass(frozen=True, kw_only=True)
class ExactAnswer:
    """What the exact solver says of a demand. Gains are totals over all items."""

    found: float | None  # of the best schedule found; None if none was
    items: Ints | None  # (K, P, V) of that schedule
    bound: float  # that no schedule can beat; -inf if it is proven that there is none


def exact(demand: Demand, *, time_limit_s: float = 60.0) -> ExactAnswer:
    """The best schedule within the time limit. Raises PlanningError without highspy."""
    if not solver_is_there():
        raise PlanningError("the exact schedule needs the solver HiGHS; install it with: pip install highspy")
    import highspy  # noqa: PLC0415 - 32-bit boards have no wheel of it

    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in (("output_flag", False), ("time_limit", time_limit_s), ("mip_rel_gap", 1e-6)):
        solver.setOptionValue(option, value)
    model = _Model(demand, solver)
    model.build()
    solver.run()
    info, status = solver.getInfo(), solver.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return ExactAnswer(found=None, items=None, bound=-math.inf)
    if info.primal_solution_status != 2:
        return ExactAnswer(found=None, items=None, bound=info.mip_dual_bound)
    return ExactAnswer(found=info.objective_function_value, items=model.items(), bound=info.mip_dual_bound)


class _Model:
    """The program of one demand, built in the solver. `solver` is a highspy.Highs, which has no types."""

    def __init__(self, demand: Demand, solver: Any) -> None:
        self._demand = demand
        self._solver = solver
        self._cells: list[Cell] = [(int(k), int(p), int(v)) for k, p, v in np.argwhere(np.isfinite(demand.item_s))]
        self._unit_s = float(demand.item_s.min())  # the solver's tolerances are absolute
        self._items = {
            (k, p, v): solver.addIntegral(0, float(demand.items[k]), float(demand.gain[k, v]))
            for k, p, v in self._cells
        }
        self._uses = {cell: solver.addBinary() for cell in self._cells if demand.load_s[cell] > 0}
        self._works = {pair: solver.addBinary() for pair in sorted({(k, p) for k, p, _ in self._cells})}

    def build(self) -> None:
        """Add all rows, and the direction of the objective."""
        for k in range(len(self._demand.items)):
            self._add_promises(k)
        self._add_uses()
        for j, p in np.ndindex(*self._demand.time_s.shape):
            self._add_deadline(j, p)
        self._solver.setMaximize()

    def items(self) -> Ints:
        """(K, P, V) of the solution."""
        values = self._solver.getSolution().col_value
        items: Ints = np.zeros(self._demand.item_s.shape, np.int64)
        for cell, column in self._items.items():
            items[cell] = round(values[column.index])
        return items

    def _add_promises(self, k: int) -> None:
        mine = [cell for cell in self._cells if cell[0] == k]
        above = self._demand.accuracy[k] - self._demand.floor[k]
        total = self._solver.qsum
        self._solver.addConstr(total(self._items[cell] for cell in mine) == float(self._demand.items[k]))
        earned = [self._items[cell] * float(above[cell[2]]) for cell in mine if abs(above[cell[2]]) > _NOTHING]
        if earned:
            self._solver.addConstr(total(earned) >= 0)

    def _add_uses(self) -> None:
        for cell, use in self._uses.items():
            self._solver.addConstr(self._items[cell] <= float(self._demand.items[cell[0]]) * use)
        for (k, p), work in self._works.items():
            there = self._solver.qsum(self._items[cell] for cell in self._cells if cell[:2] == (k, p))
            self._solver.addConstr(there <= float(self._demand.items[k]) * work)

    def _add_deadline(self, j: int, p: int) -> None:
        demand = self._demand
        due = [cell for cell in self._cells if cell[0] <= j and cell[1] == p]
        if not due:
            return
        costs = [(self._items[cell], float(demand.item_s[cell])) for cell in due]
        costs += [(self._uses[cell], float(demand.load_s[cell])) for cell in due if cell in self._uses]
        costs += [(self._works[pair], float(demand.link_s[p])) for pair in sorted({cell[:2] for cell in due})]
        terms = [column * (cost_s / self._unit_s) for column, cost_s in costs if cost_s > _NOTHING * self._unit_s]
        limit_s = float(demand.time_s[j, p] + demand.link_s[p])
        self._solver.addConstr(self._solver.qsum(terms) <= limit_s / self._unit_s)
