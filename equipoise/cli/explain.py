"""Why a plan is what it is, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from equipoise.cli.render import percent, seconds
from equipoise.core.explanation import (
    Explanation,
    IdleProcessor,
    Loss,
    MoreAccuracy,
    MoreTime,
    NodeRole,
    Obstacle,
    Promises,
    UnusedVariant,
    WhyIdle,
    WhyUnused,
)
from equipoise.core.plan import Needs, Plan
from equipoise.core.request import Prefer, Request

_NAMES = 6  # named in one sentence; more are counted
_GROUPS = 3  # of variants that the same others beat
_LEFT = 1e-4  # relative: less than this left of a promise is not worth a word

_OBJECTIVE = {Prefer.ACCURACY: "more accurate", Prefer.LATENCY: "faster", Prefer.ENERGY: "thriftier"}
_WHY_IDLE = {
    WhyIdle.UNAVAILABLE: "it is not available",
    WhyIdle.NO_PROFILE: "it has no profile of any variant",
    WhyIdle.MEMORY: "no variant fits into the memory of its node",
    WhyIdle.BUSY: "it has other work first",
    WhyIdle.LOAD: "loading a variant takes too long",
    WhyIdle.LINK: "its link takes too long",
    WhyIdle.TOO_SLOW: "it is too slow",
}
_IDLE_IN_TIME = {
    WhyIdle.NOT_NEEDED: "What could be done there in time would not make the plan better.",
    WhyIdle.LEFT_OUT: "The strategy leaves out what could be done there in time.",
}
_WHY_UNUSED = {
    WhyUnused.TOO_SLOW: "accurate, but slower than there is time for",
    WhyUnused.TOO_INACCURATE: "fast, but there is time for better ones",
    WhyUnused.OUTBID: "good, but others suit each processor better",
}


def explanation_lines(request: Request, plan: Plan, explanation: Explanation) -> Iterator[str]:
    """Why the plan is what it is: a sentence or two on each line."""
    if explanation.obstacle is not None:
        yield from _obstacle_lines(request, plan, explanation.obstacle)
    if explanation.promises is not None:
        yield from _promise_lines(request, plan, explanation.promises)
    if explanation.more_accuracy is not None:
        yield _more_accuracy_line(explanation.more_accuracy)
    if explanation.more_time is not None:
        yield _more_time_line(explanation.more_time)
    for role in explanation.nodes:
        yield _role_line(request, plan, role)
    if explanation.nodes_left_out:
        yield f"{_count(explanation.nodes_left_out, 'more node')} at work with fewer items, not asked about here."
    yield from _unused_lines(explanation.unused, in_place=plan.feasible)
    yield from _idle_lines(explanation.idle)


def points(fraction: float) -> str:
    """A difference of accuracies as `1.3 points`."""
    return "one point" if abs(fraction - 0.01) < 1e-9 else f"{100 * fraction:.3g} points"


def _obstacle_lines(request: Request, plan: Plan, obstacle: Obstacle) -> Iterator[str]:
    floor = percent(request.requirement.min_accuracy)
    if obstacle.deadline_alone_fails:
        yield (
            f"The deadline alone cannot be kept: {request.items} items in {seconds(request.deadline_s)} are too many"
            f"{_fastest_text(obstacle.fastest_s)}."
        )
    if obstacle.floor_alone_fails:
        yield (
            f"The floor alone cannot be kept: no plan reaches {floor}; the most accurate variant that can be run has "
            f"{percent(obstacle.best_accuracy)}."
        )
    if not (obstacle.deadline_alone_fails or obstacle.floor_alone_fails):
        yield f"Each promise can be kept alone, but not both together: {_trade(request, plan)}."
    if plan.needs is not None:
        yield _needs_line(plan.needs)


def _fastest_text(fastest_s: float | None) -> str:
    return "" if fastest_s is None else f"; at the fastest, whatever the accuracy, they take {seconds(fastest_s)}"


def _trade(request: Request, plan: Plan) -> str:
    in_time = plan.closest.most_accurate_at_deadline if plan.closest else None
    at_floor = plan.closest.fastest_at_floor if plan.closest else None
    told = [f"in {seconds(request.deadline_s)} at most {percent(in_time.accuracy)} can be had"] if in_time else []
    floor = percent(request.requirement.min_accuracy)
    told += [f"{floor} takes at least {seconds(at_floor.latency_s)}"] if at_floor else []
    return ", and ".join(told)


def _needs_line(needs: Needs) -> str:
    remedies = []
    if needs.deadline_s is not None:
        remedies.append(f"a deadline of {seconds(needs.deadline_s)}")
    if needs.min_accuracy is not None:
        remedies.append(f"a floor of {percent(needs.min_accuracy)}")
    if needs.speed_factor is not None:
        remedies.append(f"processors {needs.speed_factor:.4g} times as fast")
    if not remedies:
        return "No single change would do."
    return f"{'Any of these alone' if len(remedies) > 1 else 'This'} would do: {'; '.join(remedies)}."


def _promise_lines(request: Request, plan: Plan, promises: Promises) -> Iterator[str]:
    better = _OBJECTIVE[plan.prefer]
    if promises.slack_s is not None:
        left = promises.slack_s > _LEFT * request.deadline_s
        rest = f"{seconds(promises.slack_s)} of {seconds(request.deadline_s)} are left" if left else "it is used up"
        if promises.deadline_binds:
            yield f"The deadline binds: {rest}, and with more time the plan would be {better}."
        else:
            yield f"The deadline does not bind: {rest}, and more time would not make the plan {better}."
    if request.requirement.min_accuracy > 0:
        used_up = promises.slack_accuracy <= _LEFT
        above = (
            "it is used up" if used_up else f"{percent(plan.accuracy)} is {points(promises.slack_accuracy)} above it"
        )
        if promises.floor_binds:
            yield f"The accuracy floor binds: {above}, and with a lower one the plan would be {better}."
        else:
            yield f"The accuracy floor does not bind: {above}."
    if promises.whole_items and plan.gap is not None:
        yield f"Whole items, batches and loads cost at most {100 * plan.gap:.2g} %, the gap to a bound without them."


def _more_accuracy_line(more: MoreAccuracy) -> str:
    if more.step == 0.0:
        return "No more accuracy can be bought: every item gets the most accurate variant that can be run."
    whole = more.step >= 0.01 - 1e-9
    what = "One more point of accuracy" if whole else f"The last {points(more.step)}, up to the best variant,"
    if more.seconds is None:
        return f"{what} cannot be bought with time."
    dual = f"; by the dual price at the margin, {seconds(more.dual_seconds)}" if more.dual_seconds else ""
    return f"{what} would take {seconds(more.seconds)} more (planned again{dual})."


def _more_time_line(more: MoreTime) -> str:
    what = "One more second" if more.step_s == 1.0 else f"{seconds(more.step_s)} more"
    if more.accuracy <= 0.0 and not more.dual_accuracy:
        return f"{what} would buy nothing."
    dual = f"; by the dual price at the margin, {points(more.dual_accuracy)}" if more.dual_accuracy else ""
    bought = f"{points(more.accuracy)} of accuracy" if more.accuracy > 0 else "nothing, as no further whole item fits"
    return f"{what} would buy {bought} (planned again{dual})."


def _role_line(request: Request, plan: Plan, role: NodeRole) -> str:
    share = f"{role.node} does {role.items} of {plan.items} items ({percent(role.items / plan.items)}) at "
    loss = _loss_text(plan, role) if role.loss.feasible else _end_text(request, plan, role.loss)
    return f"{share}{percent(role.accuracy)}; {loss}."


def _end_text(request: Request, plan: Plan, loss: Loss) -> str:
    """What would be left without a node that cannot be missed."""
    floor = "at the floor" if request.requirement.min_accuracy > 0 else "whatever the accuracy"
    best = [] if loss.accuracy is None else [f"at most {percent(plan.accuracy - loss.accuracy)} in time"]
    best += [] if loss.seconds is None else [f"at least {seconds(plan.latency_s + loss.seconds)} {floor}"]
    return f"without it the promises could not be kept{': ' if best else ''}{', or '.join(best)}"


def _loss_text(plan: Plan, role: NodeRole) -> str:
    loss = role.loss
    costs = [points(loss.accuracy)] if loss.accuracy is not None and loss.accuracy > _LEFT else []
    if loss.seconds is not None and loss.seconds > 10 * _LEFT * plan.latency_s:
        costs.append(seconds(loss.seconds))
    if not costs:
        return "losing it would cost nothing that was promised or preferred"
    alone = ""
    if plan.prefer is not Prefer.ACCURACY and role.beyond_others:
        alone = f"; in the same time the others alone would stay {points(role.beyond_others)} below"
    return f"losing it would cost {' and '.join(costs)}{alone}"


def _unused_lines(unused: Iterable[UnusedVariant], *, in_place: bool) -> Iterator[str]:
    """What is never of use, and if `in_place` also what only this plan has no use for."""
    by_reason: dict[WhyUnused, list[UnusedVariant]] = {}
    for variant in unused:
        by_reason.setdefault(variant.why, []).append(variant)
    if WhyUnused.NOWHERE in by_reason:
        yield f"Cannot be run anywhere now: {_named([u.variant for u in by_reason[WhyUnused.NOWHERE]])}."
    for why in (WhyUnused.DOMINATED, WhyUnused.OFF_HULL):
        yield from _beaten_lines(why, by_reason.get(why, []))
    for why, words in _WHY_UNUSED.items():
        if in_place and why in by_reason:
            yield f"Not used here ({words}): {_named([u.variant for u in by_reason[why]])}."


def _beaten_lines(why: WhyUnused, beaten: Iterable[UnusedVariant]) -> Iterator[str]:
    """A line for all that the same variants beat; the longest few such lists, the rest counted."""
    by_rivals: dict[tuple[str, ...], list[str]] = {}
    for variant in beaten:
        by_rivals.setdefault(variant.instead, []).append(variant.variant)
    longest_first = sorted(by_rivals.items(), key=lambda group: -len(group[1]))
    for rivals, names in longest_first[:_GROUPS]:
        who = f"{_named(names)} {'is' if len(names) == 1 else 'are'} never worth"
        if why is WhyUnused.DOMINATED:
            yield f"{who} using: on every processor {_named(list(rivals), 'or')} is faster and at least as accurate."
        else:
            yield f"{who} the time: a mix of {_named(list(rivals))} is more accurate in as much of it."
    more = sum(len(names) for _, names in longest_first[_GROUPS:])
    if more:
        yield f"{_count(more, 'more variant')} likewise, beaten by others; --json names them."


def _idle_lines(idle: Iterable[IdleProcessor]) -> Iterator[str]:
    by_reason: dict[WhyIdle, list[IdleProcessor]] = {}
    for processor in idle:
        by_reason.setdefault(processor.why, []).append(processor)
    for why, processors in by_reason.items():
        names = _named([f"{p.node}/{p.processor}" for p in processors])
        if why in _IDLE_IN_TIME:
            yield f"Idle: {names}. {_IDLE_IN_TIME[why]}"
            continue
        first_s = min((p.first_item_s for p in processors if p.first_item_s is not None), default=None)
        item = f"; even one item would take {seconds(first_s)}" if first_s is not None else ""
        yield f"Idle: {names}, because {_WHY_IDLE[why]}{item}."


def _named(names: list[str], last: str = "and") -> str:
    """Names as in a sentence, the first few of them."""
    shown, more = names[:_NAMES], len(names) - _NAMES
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return f" {last} ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
