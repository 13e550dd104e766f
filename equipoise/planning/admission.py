"""Admission: yes or no to one more request, beside those that have been promised already.

A yes carries a schedule that keeps all promises given so far, the new one included. So no later yes breaks it: each of
those has to bring a schedule that keeps them all again. Plans may change as others join; promises do not.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from equipoise.core.queue import Admission, Counteroffer, Queue, QueuedRequest, Schedule
from equipoise.planning.queue import find_schedule
from equipoise.planning.sharing import SharedFleet

_HALVINGS = 10  # of the search for a counteroffer
_DOUBLINGS = 12


def admit(
    standing: Schedule,
    request: QueuedRequest,
    shared: SharedFleet,
    *,
    settle_s: float = 2.0,
    counteroffer: bool = True,
) -> Admission:
    """Yes, if a schedule is found that keeps every promise of `standing` and this one; else no, and what would do.

    settle_s       seconds that the exact solver may take where the fast method finds no schedule and no proof
                   that there is none; 0 to take the fast method's word
    counteroffer   False to save its search, some twenty schedules

    Raises ValueError if the name is taken or the family is unknown.
    """
    _check(standing, request, shared)
    outcome = find_schedule([*standing.requests, request], shared, standing, settle_s=settle_s)
    if outcome.schedule is not None:
        return Admission(request=request, admitted=True, schedule=outcome.schedule, reason="keeps every promise")
    return Admission(
        request=request,
        admitted=False,
        schedule=standing,
        reason=_reason(request, shared, impossible=outcome.impossible),
        proven=outcome.impossible,
        instead=_counteroffer(standing, request, shared) if counteroffer else None,
    )


def admit_all(queue: Queue, shared: SharedFleet | None = None, *, counteroffer: bool = True) -> tuple[Admission, ...]:
    """Every request of the queue asked for in turn; the last answer has the schedule of all that were admitted."""
    shared = shared or SharedFleet.of(queue.clusters)
    answers: list[Admission] = []
    standing = Schedule()
    for request in queue.requests:
        answers.append(admit(standing, request, shared, counteroffer=counteroffer))
        standing = answers[-1].schedule
    return tuple(answers)


def _check(standing: Schedule, request: QueuedRequest, shared: SharedFleet) -> None:
    if any(promised.name == request.name for promised in standing.requests):
        raise ValueError(f"request {request.name!r} has been promised already; give the new one another name")
    if request.family not in shared.fleets:
        known = ", ".join(sorted(shared.fleets))
        raise ValueError(f"request {request.name!r} is of unknown family {request.family!r}; known: {known}")


def _reason(request: QueuedRequest, shared: SharedFleet, *, impossible: bool) -> str:
    if find_schedule([request], shared).schedule is None:
        return "could not be kept even if nothing else were promised"
    if impossible:
        return "no schedule keeps it together with what is promised already"
    return "no schedule was found that keeps it together with what is promised already"


def _counteroffer(standing: Schedule, request: QueuedRequest, shared: SharedFleet) -> Counteroffer:
    """The nearest deadline (to three figures) and floor (to three decimals) that would be admitted, each tried."""

    def admitted(**changes: float | None) -> bool:
        requirement = msgspec.structs.replace(request.requirement, **changes)
        changed = msgspec.structs.replace(request, requirement=requirement)
        return find_schedule([*standing.requests, changed], shared, standing).schedule is not None

    return Counteroffer(
        deadline_s=_later(request.deadline_s, lambda s: admitted(deadline_s=s, throughput_per_s=None)),
        min_accuracy=_lower(request.requirement.min_accuracy, lambda floor: admitted(min_accuracy=floor)),
    )


def _later(refused_s: float, admitted: Callable[[float], bool]) -> float | None:
    low_s, high_s = refused_s, _three_figures(2 * refused_s)
    for _ in range(_DOUBLINGS):
        if admitted(high_s):
            return _nearest(low_s, high_s, admitted, _three_figures)
        low_s, high_s = high_s, 2 * high_s
    return None


def _lower(refused: float, admitted: Callable[[float], bool]) -> float | None:
    return _nearest(refused, 0.0, admitted, _three_decimals) if refused > 0 and admitted(0.0) else None


def _nearest(
    refused: float, good: float, admitted: Callable[[float], bool], rounded: Callable[[float], float]
) -> float:
    """Of round figures from `good` towards `refused`, the nearest to it that was tried and admitted."""
    for _ in range(_HALVINGS):
        middle = rounded((refused + good) / 2)
        if middle in (refused, good):
            break
        refused, good = (refused, middle) if admitted(middle) else (middle, good)
    return good


# A figure that is shown has to be the one that was tried.
def _three_figures(value: float) -> float:
    return float(f"{value:.3g}")


def _three_decimals(value: float) -> float:
    return round(value, 3)
