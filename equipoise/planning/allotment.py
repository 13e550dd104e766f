"""Several requests on shared processors, as if items were divisible: who gets which seconds, and what bounds them.

K requests in the order of their deadlines, P processors, V variants at most. On a processor, work with the earlier
deadline is done first: if any order keeps all deadlines, that one does (Jackson, "Scheduling a production line to
minimize maximum tardiness", 1955). So amounts of work are all that there is to choose, and the joint optimum is the
linear program

    maximise   sum gain[k,v] x[k,p,v]
    subject to sum_p,v x[k,p,v] = items[k]                                         for every request k
               sum_p,v (accuracy[k,v] - floor[k]) x[k,p,v] >= 0                    for every request k
               sum_{k<=j},v item_s[k,p,v] x[k,p,v] <= time_s[j,p]                  for every deadline j, processor p

Fixed costs and whole items only take away from it, so its value bounds every schedule, and no solution proves that
there is no schedule. HiGHS solves it by the simplex method, whose corners mix few variants on few processors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from equipoise.errors import PlanningError

if TYPE_CHECKING:
    import highspy

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_THRIFT = 1e-5  # accuracy that all the time there is is worth: of equally good allotments, one with little work


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is wanted of the processors, requests in the order of their deadlines."""

    item_s: Floats  # (K, P, V) seconds per item at the processor's present speed; inf where it cannot be run
    accuracy: Floats  # (K, V)
    gain: Floats  # (K, V) what an item is worth: its accuracy, or 0 where slack is not for accuracy
    items: Floats  # (K,)
    floor: Floats  # (K,)
    time_s: Floats  # (K, P) what each processor can work until each deadline
    load_s: Floats  # (K, P, V) what using a variant on a processor costs at all
    link_s: Floats  # (P,) what every further request on a processor waits for its link


@dataclass(frozen=True, kw_only=True)
class Allotment:
    """The fluid optimum."""

    work_s: Floats  # (K, P) seconds of each processor that each request gets
    items: Floats  # (K, P, V)
    bound: float  # total gain that no schedule can beat


def solver_is_there() -> bool:
    """True if the linear program can be solved here: 32-bit boards have no wheel of highspy."""
    return find_spec("highspy") is not None


def allot(demand: Demand) -> Allotment | None:
    """Who gets which seconds, or None, which proves that no schedule keeps all promises.

    Raises PlanningError without highspy, or if the solver gives up.
    """
    if not solver_is_there():
        raise PlanningError("the bound of a queue needs the solver HiGHS; install it with: pip install highspy")
    import highspy  # noqa: PLC0415

    cells = np.nonzero(np.isfinite(demand.item_s))
    if not len(cells[0]):
        return None
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.passModel(_program(demand, cells))
    solver.run()
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return None
    if status != highspy.HighsModelStatus.kOptimal:
        raise PlanningError(f"the solver HiGHS gave up on this queue: {solver.modelStatusToString(status)}")
    items = np.zeros(demand.item_s.shape)
    items[cells] = np.maximum(0.0, solver.getSolution().col_value)
    work_s = (items * np.where(np.isfinite(demand.item_s), demand.item_s, 0.0)).sum(axis=2)
    value = solver.getInfo().objective_function_value
    return Allotment(work_s=work_s, items=items, bound=value + _THRIFT * float(demand.items.sum()))


def with_charges(demand: Demand, items: Floats, caution: Floats) -> Demand:
    """The demand with fixed costs spread over items, for an allotment that leaves time for them.

    items     (K, P, V) of the allotment before: over these, or over an equal part where there were none
    caution   (K,) how much of the fixed costs of each request is to count; 1 is what they are on average

    Slope scaling: Kim & Pardalos, "A solution approach to the fixed charge network flow problem using a dynamic slope
    scaling procedure", Operations Research Letters 24, 1999.
    """
    # Of whole items, half a one does not fit on average.
    half_s = np.where(np.isfinite(demand.item_s), demand.item_s, 0.0) / 2
    charge_s = caution[:, None, None] * (demand.load_s + half_s + demand.link_s[:, None])
    equal_parts = demand.items[:, None, None] / demand.time_s.shape[1]
    return replace(demand, item_s=demand.item_s + charge_s / np.maximum(1.0, np.where(items > 0, items, equal_parts)))


def _program(demand: Demand, cells: Sequence[Ints]) -> highspy.HighsLp:
    """A column for every cell (k, p, v); rows as in the module's head, in that order."""
    import highspy  # noqa: PLC0415

    k, p, v = cells
    requests, processors = demand.time_s.shape
    seconds = demand.item_s[k, p, v]
    unit_s = float(seconds.min())  # the solver's tolerances are absolute
    until = [np.nonzero(k <= j)[0] for j in range(requests)]  # columns that count towards deadline j
    every = np.arange(len(k))
    rows = np.concatenate((k, requests + k, *(2 * requests + j * processors + p[c] for j, c in enumerate(until))))
    columns = np.concatenate((every, every, *until))
    values = np.concatenate(
        (np.ones(len(k)), (demand.accuracy - demand.floor[:, None])[k, v], *(seconds[c] / unit_s for c in until))
    )
    order = np.argsort(rows, kind="stable")
    limits = (demand.time_s / unit_s).ravel()
    thrift = _THRIFT * float(demand.items.sum()) / max(unit_s, float(demand.time_s[-1].sum()))
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(k), 2 * requests + len(limits)
    lp.col_cost_ = demand.gain[k, v] - thrift * seconds
    lp.col_lower_, lp.col_upper_ = np.zeros(len(k)), np.full(len(k), np.inf)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.row_lower_ = np.concatenate((demand.items, np.zeros(requests), np.full(len(limits), -np.inf)))
    lp.row_upper_ = np.concatenate((demand.items, np.full(requests, np.inf), limits))
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.searchsorted(rows[order], np.arange(lp.num_row_ + 1)).astype(np.int32)
    lp.a_matrix_.index_ = columns[order].astype(np.int32)
    lp.a_matrix_.value_ = values[order]
    return lp
