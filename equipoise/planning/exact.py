"""Strategy `milp`: the plan as a mixed-integer linear program, solved by HiGHS. The reference for the fast method.

Columns: whole items x[p,v]; where a variant runs best in calls of b items, whole calls k[p,v] and the rest of an
incomplete one, x = b k + rest, whose cost is linear between measured batch sizes (a binary per piece); u[p,v] = 1
where p uses v, if that has a fixed cost, takes memory or inputs that travel; w[p] = 1 where p works at all, if it
cannot start at once or power is limited; and the end T, fixed to the deadline unless latency is what to minimise.

    busy[p] = sum_v run_s(x[p,v]) + load_s[p,v] u[p,v]  <=  speed[p] (T - start_s[p] w[p])
    link_s[p] w[p] + input bytes of p's node / bandwidth + longest call of p  <=  T, and the same for the uplink
    sum x[p,v] = items        sum accuracy[v] x[p,v] >= floor x items
    x[p,v] <= most[p,v] u[p,v]    sum_v x[p,v] <= items w[p]    sum over a node of memory[p,v] u[p,v] <= its memory
    sum_p watts[p] busy[p] / speed[p] <= max_energy_j       sum_p watts[p] w[p] + idling <= max_power_w

It is the cost model to the letter, but knows nothing of scatter: with a confidence it is solved again with less time,
where its plan is late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from equipoise.core.plan import Plan
from equipoise.core.request import Prefer
from equipoise.errors import PlanningError
from equipoise.planning import joint
from equipoise.planning.problem import TOLERANCE, Floats, Ints, Problem, described_watts

if TYPE_CHECKING:
    import highspy

Cell = tuple[int, int]  # processor, variant
Terms = list[tuple[int, float]]  # column, factor

_TIME_LIMIT_S = 60.0
_GAP = 1e-7
_LOOSER = 1e-7
_WORTHWHILE = 1e-4  # relative: what is less faster than a known plan is not looked for
_MOST_PAIRS = 10_000  # of processor and variant: building a larger program alone takes seconds
_ROUNDS = 6  # of leaving more time to scatter


def solve(problem: Problem, *, time_limit_s: float = _TIME_LIMIT_S) -> Plan | None:
    """The plan of strategy `milp`, or None if there is none. Raises PlanningError without highspy."""
    if find_spec("highspy") is None:
        raise PlanningError("strategy milp needs the solver HiGHS; install it with: pip install highspy")
    first = found = _solve_once(problem, 0.0, time_limit_s)
    reserve_s = 0.0
    for _ in range(_ROUNDS):
        if found is None or found.feasible or problem.request.requirement.confidence is None:
            break
        reserve_s += max(0.0, found.latency_s - problem.deadline_s)
        found = _solve_once(problem, reserve_s, time_limit_s)
    return found and first and msgspec.structs.replace(found, bound=first.bound, gap=problem.gap(found, first.bound))


def _solve_once(problem: Problem, reserve_s: float, time_limit_s: float) -> Plan | None:
    model = _Model(problem, reserve_s)
    solved = _run(model.program(), time_limit_s)
    if solved.getInfo().primal_solution_status != 2:
        return None
    bound = solved.getInfo().mip_dual_bound
    if problem.prefer is Prefer.ACCURACY:
        bound /= problem.items
    elif problem.prefer is Prefer.LATENCY:
        bound *= model.unit_s
    counts = model.counts(np.array(solved.getSolution().col_value))
    return problem.plan("milp", problem.predict_counts(counts), bound=bound)


def settle(problem: Problem, time_limit_s: float, known: Plan | None = None) -> Plan | None:
    """A plan of the exact solver where the fluid bound admits the request, or None; under the name `equipoise`.

    Where latency is preferred, only what is faster than the `known` plan is looked for: the earlier deadline makes the
    program smaller. That there is none proves nothing then, for the solver's tolerances are wider than that margin.
    Without highspy, with no time, on large clusters, or where the solver gives up, the fast method's word stands.
    """
    if known is not None and problem.prefer is Prefer.LATENCY:
        problem = problem.due(known.latency_s * (1 - _WORTHWHILE))
    if (
        time_limit_s <= 0
        or problem.usable.sum() > _MOST_PAIRS
        or not joint.is_admitted_by_bound(problem)
        or find_spec("highspy") is None
    ):
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
        solver.setOptionValue("presolve", "off")  # it lost optima: 4 % on one of our instances, HiGHS issue 3094
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

    def __init__(self, problem: Problem, reserve_s: float = 0.0) -> None:
        self._problem = problem
        # The solver's tolerances are absolute: seconds are counted in units of the quickest item.
        self.unit_s = float(problem.fleet.item_s[problem.usable].min())
        self._cost: list[float] = []
        self._upper: list[float] = []
        self._integral: list[bool] = []
        self._rows: list[tuple[float, float, Terms]] = []
        self._cells = [(int(p), int(v)) for p, v in np.argwhere(problem.usable)]
        self._processors = sorted({p for p, _ in self._cells})
        self._deadline_s = max(0.0, problem.deadline_s - reserve_s)
        self._items = {cell: self._column(upper=self._most(cell)) for cell in self._cells}
        self._uses = {cell: self._column() for cell in self._cells if self._is_counted(cell)}
        self._works = {p: self._column() for p in self._processors if self._is_switched(p)}
        self._end = self._column(upper=self._deadline_s / self.unit_s, integral=False)
        self._calls: dict[Cell, tuple[int, Terms]] = {}  # whole calls, and seconds of the incomplete one
        self._busy = {p: self._busy_terms(p) for p in self._processors}
        self._add_promises()
        self._add_switches()
        for p in self._processors:
            self._add_time(p)
        self._add_memory()
        self._add_limits()
        self._set_objective()

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

    def _most(self, cell: Cell) -> int:
        """Items that a variant can run on a processor at most, within the deadline."""
        fleet, ready = self._problem.fleet, self._problem.readiness
        if not math.isfinite(self._deadline_s):
            return self._problem.items
        time_s = max(0.0, float((self._deadline_s - ready.start_s[cell[0]]) * ready.speed[cell[0]]))
        return min(self._problem.items, math.floor(time_s / float(fleet.item_s[cell]) * (1 + TOLERANCE)))

    def _is_counted(self, cell: Cell) -> bool:
        fleet = self._problem.fleet
        return self._load_s(cell) > 0 or fleet.is_memory_bound or self._sends(cell)

    def _sends(self, cell: Cell) -> bool:
        return self._problem.fleet.has_links and bool(self._problem.fleet.input_bytes[cell] > 0)

    def _is_switched(self, p: int) -> bool:
        return self._problem.readiness.start_s[p] > 0 or self._problem.request.requirement.max_power_w is not None

    def _load_s(self, cell: Cell) -> float:
        load_s = self._problem.readiness.load_s
        return 0.0 if load_s is None else float(load_s[cell])

    def _column(self, upper: float = 1, *, integral: bool = True) -> int:
        self._cost.append(0.0)
        self._upper.append(upper)
        self._integral.append(integral)
        return len(self._cost) - 1

    def _add_row(
        self, terms: Iterable[tuple[int, float]], *, lower: float = -math.inf, upper: float = math.inf
    ) -> None:
        self._rows.append((lower, upper, list(terms)))

    def _busy_terms(self, p: int) -> Terms:
        """Time at profile speed that a processor works, in units."""
        terms: Terms = []
        for cell in self._cells:
            if cell[0] == p:
                terms += self._run_terms(cell)
                if cell in self._uses and self._load_s(cell) > 0:
                    terms.append((self._uses[cell], self._load_s(cell) / self.unit_s))
        return terms

    def _run_terms(self, cell: Cell) -> Terms:
        fleet = self._problem.fleet
        size, call = int(fleet.batch[cell]), float(fleet.call_s[cell]) / self.unit_s
        if size == 1:
            return [(self._items[cell], call)]
        calls = self._column(upper=self._problem.items // size)
        counted, cost = [(self._items[cell], -1.0), (calls, float(size))], [(calls, call)]
        begins = int(fleet.rest_at[cell])
        pieces, rest = [], []
        for low, high, cost_low, slope in _linear_pieces(fleet.rest_s[begins : begins + size] / self.unit_s):
            piece, more = self._column(), self._column(upper=high - low, integral=False)
            self._add_row([(more, 1.0), (piece, float(low - high))], upper=0.0)
            counted += [(piece, float(low)), (more, 1.0)]
            rest += [(piece, cost_low), (more, slope)]
            pieces.append((piece, 1.0))
        self._add_row(pieces, upper=1.0)
        self._add_row(counted, lower=0.0, upper=0.0)
        if self._sends(cell):
            self._calls[cell] = (calls, rest)
        return cost + rest

    def _add_promises(self) -> None:
        problem = self._problem
        self._add_row(((x, 1.0) for x in self._items.values()), lower=problem.items, upper=problem.items)
        if problem.floor > 0:
            self._add_row(self._earned(), lower=problem.floor * problem.items)
        if problem.prefer is not Prefer.LATENCY and math.isfinite(self._deadline_s):
            self._add_row([(self._end, 1.0)], lower=self._deadline_s / self.unit_s)

    def _earned(self) -> Terms:
        return [(x, float(self._problem.fleet.accuracy[v])) for (_, v), x in self._items.items()]

    def _add_switches(self) -> None:
        for cell, use in self._uses.items():
            self._add_row([(self._items[cell], 1.0), (use, -float(self._most(cell)))], upper=0.0)
        for p, work in self._works.items():
            items = [(self._items[cell], 1.0) for cell in self._cells if cell[0] == p]
            self._add_row([*items, (work, -float(self._problem.items))], upper=0.0)

    def _add_time(self, p: int) -> None:
        fleet, ready = self._problem.fleet, self._problem.readiness
        start = [(self._works[p], float(ready.start_s[p] * ready.speed[p]) / self.unit_s)] if ready.start_s[p] else []
        self._add_row([*self._busy[p], *start, (self._end, -float(ready.speed[p]))], upper=0.0)
        if fleet.has_links and any(cell[0] == p for cell in self._uses):
            call = self._longest_call(p)
            link = [(self._works[p], float(fleet.link_s[p]) / self.unit_s)] if fleet.link_s[p] else []
            of_node = [cell for cell in self._cells if fleet.node[cell[0]] == fleet.node[p]]
            for cells, bandwidth in (
                (of_node, float(fleet.bandwidth_bytes_per_s[fleet.node[p]])),
                (self._cells, fleet.uplink_bytes_per_s),
            ):
                sent = [(self._items[c], float(fleet.input_bytes[c]) / bandwidth / self.unit_s) for c in cells]
                if math.isfinite(bandwidth):
                    self._add_row([*sent, *link, (call, 1.0), (self._end, -1.0)], upper=0.0)

    def _longest_call(self, p: int) -> int:
        """A column that is at least as large as every call that processor p makes, at its present speed."""
        fleet, speed = self._problem.fleet, float(self._problem.readiness.speed[p])
        longest = self._column(upper=math.inf, integral=False)
        for cell, use in self._uses.items():
            if cell[0] == p and self._sends(cell):
                whole = use
                if cell in self._calls:
                    calls, rest = self._calls[cell]
                    whole = self._column()
                    most = self._problem.items // int(fleet.batch[cell])
                    self._add_row([(calls, 1.0), (whole, -float(most))], upper=0.0)
                    self._add_row([*((column, factor / speed) for column, factor in rest), (longest, -1.0)], upper=0.0)
                self._add_row([(whole, float(fleet.call_s[cell]) / speed / self.unit_s), (longest, -1.0)], upper=0.0)
        return longest

    def _add_memory(self) -> None:
        fleet = self._problem.fleet
        for n, memory in enumerate(fleet.node_memory_bytes.tolist()):
            held = [
                (use, float(fleet.memory_bytes[c]) / memory) for c, use in self._uses.items() if fleet.node[c[0]] == n
            ]
            if fleet.is_memory_bound and math.isfinite(memory) and held:
                self._add_row(held, upper=1.0)

    def _add_limits(self) -> None:
        wanted, fleet = self._problem.request.requirement, self._problem.fleet
        if wanted.max_energy_j is not None:
            self._add_row(self._energy(), upper=wanted.max_energy_j)
        if wanted.max_power_w is not None:
            drawn = [(work, float(fleet.watts[p])) for p, work in self._works.items()]
            self._add_row(drawn, upper=wanted.max_power_w - fleet.costs.idle_w)

    def _energy(self) -> Terms:
        """Joules; processors without watts have been left out."""
        watts = described_watts(self._problem) / self._problem.readiness.speed * self.unit_s
        return [(column, factor * float(watts[p])) for p in self._processors for column, factor in self._busy[p]]

    def _set_objective(self) -> None:
        match self._problem.prefer:
            case Prefer.ACCURACY:
                terms = self._earned()
            case Prefer.LATENCY:
                terms = [(self._end, 1.0)]
            case Prefer.ENERGY:
                terms = self._energy()
        for column, factor in terms:
            self._cost[column] += factor


def _linear_pieces(cost: Floats) -> Iterator[tuple[int, int, float, float]]:
    """(first, last, cost of the first, slope) of the straight pieces of cost[1:], which begins at 1 item."""
    first = 1
    while first < len(cost):
        last = first + 1
        slope = float(cost[last] - cost[first]) if last < len(cost) else 0.0
        while last + 1 < len(cost) and abs(cost[last + 1] - cost[last] - slope) <= TOLERANCE * abs(cost[last]):
            last += 1
        last = min(last, len(cost) - 1)
        yield first, last, float(cost[first]), slope
        first = last + 1
