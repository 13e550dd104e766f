"""Plans and receipts as tables that a person reads."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Closest, Needs, Plan
from equipoise.core.receipt import AccuracyResult, Fault, Receipt
from equipoise.core.request import Prefer, Request, Requirement

_NAMED_FAULTS = 10  # more than these are counted; the receipt file names all of them


def seconds(value: float) -> str:
    """A duration as `12.34 s`, `85.2 ms` or `240 us`."""
    if value >= 1:
        return f"{value:.4g} s" if value < 1000 else f"{value:.0f} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"


def percent(fraction: float) -> str:
    """A fraction as `81.2 %`."""
    return f"{100 * fraction:.1f} %"


def rate(value: float) -> str:
    """Items per second."""
    return f"{value:.3g}/s" if value < 100 else f"{value:.0f}/s"


def promise(requirement: Requirement) -> str:
    """What is asked for, as a sentence without its full stop."""
    wanted = []
    if requirement.deadline_s is not None:
        wanted.append(f"every answer within {seconds(requirement.deadline_s)}")
    if requirement.throughput_per_s is not None:
        wanted.append(f"at least {rate(requirement.throughput_per_s)}")
    if requirement.min_accuracy > 0:
        wanted.append(f"at least {percent(requirement.min_accuracy)} accuracy")
    if requirement.max_energy_j is not None:
        wanted.append(f"at most {requirement.max_energy_j:.4g} J")
    if requirement.max_power_w is not None:
        wanted.append(f"at most {requirement.max_power_w:.4g} W")
    if requirement.confidence is not None and wanted:
        wanted[-1] += f", with {percent(requirement.confidence)} confidence"
    slack = {Prefer.ACCURACY: "accuracy", Prefer.LATENCY: "less time", Prefer.ENERGY: "less energy"}
    return f"{' and '.join(wanted) or 'nothing in particular'}; slack goes to {slack[requirement.prefer]}"


def plan_table(plan: Plan, *, title: str) -> Table:
    """One row per share, with the items, batch size and expected finish."""
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("node", "processor", "variant"):
        table.add_column(heading, overflow="fold")
    for heading in ("items", "batch", "time for it", "finished after"):
        table.add_column(heading, justify="right")
    for share, share_s in zip(plan.shares, _seconds_of_shares(plan), strict=True):
        figures = (str(share.items), str(share.batch), seconds(share_s), seconds(share.finish_s))
        table.add_row(*map(escape, (share.node, share.processor, share.variant)), *figures)
    return table


def _seconds_of_shares(plan: Plan) -> Iterator[float]:
    """Shares of one processor run one after the other, so each begins where the one before it finished."""
    free_at_s: dict[object, float] = {}
    for share in plan.shares:
        yield share.finish_s - free_at_s.get(share.pid, 0.0)
        free_at_s[share.pid] = share.finish_s


def plan_summary(plan: Plan) -> str:
    """The totals of a plan and how good it is provably."""
    totals = f"{plan.items} items in {seconds(plan.latency_s)} ({rate(plan.throughput_per_s)})"
    accuracy = f"{percent(plan.accuracy)} accuracy expected"
    energy = f", {plan.energy_j:.3g} J" if plan.energy_j is not None else ""
    if plan.gap is None:
        proof = "no bound"
    elif plan.gap <= 1e-9:
        proof = "proven optimal"
    else:
        proof = f"within {100 * plan.gap:.2g} % of what is possible"
    return f"{totals}, {accuracy}{energy}; planned in {seconds(plan.solve_s)}, {proof}"


def infeasible_summary(
    request: Request, closest: Closest | None, needs: Needs | None, *, best_accuracy: float = 1.0
) -> Iterator[str]:
    """Why there is no plan, which plans come closest, and what would help; a line each.

    `best_accuracy` is that of the most accurate variant that the cluster can run. What is said to help is rounded
    to the side on which it still helps when it is typed back.
    """
    yield f"Both promises together cannot be kept: {promise(request.requirement)}."
    floor = request.requirement.min_accuracy
    if best_accuracy < floor:
        asked, best = _told_apart(floor, best_accuracy)
        yield f"  no variant reaches {asked}; the best one here is {best}"
    if closest is not None:
        for words, plan in (
            ("most accurate in time", closest.most_accurate_at_deadline),
            ("fastest that is accurate enough", closest.fastest_at_floor),
            ("least violation of both", closest.least_violation),
        ):
            if plan is not None:
                yield f"  {words}: {percent(plan.accuracy)} accuracy in {seconds(plan.latency_s)}"
    if needs is not None:
        yield from _needs(needs)


def _needs(needs: Needs) -> Iterator[str]:
    if needs.deadline_s is not None:
        yield f"  a deadline of {_rounded_up_seconds(needs.deadline_s)} would do"
    if needs.min_accuracy is not None:
        yield f"  a floor of {percent(_to_places(needs.min_accuracy, 3, ROUND_FLOOR))} would do"
    if needs.max_energy_j is not None:
        yield f"  an allowance of {_rounded_up(needs.max_energy_j, 4):.10g} J would do"
    if needs.max_power_w is not None:
        yield f"  an allowance of {_rounded_up(needs.max_power_w, 4):.10g} W would do"
    if needs.speed_factor is not None:
        yield f"  processors {_rounded_up(needs.speed_factor, 3):.10g} times as fast would do"


def best_accuracy_on(cluster: Cluster) -> float:
    """The accuracy of the most accurate variant that some processor can run; 0 if there is none."""
    run = {profile.variant for _, processor in cluster.processors() for profile in processor.profiles}
    return max((variant.accuracy for variant in cluster.variants if variant.name in run), default=0.0)


def _told_apart(more: float, less: float) -> tuple[str, str]:
    """Two fractions as percentages, with as many digits as it takes to see which is more."""
    for places in range(1, 12):
        texts = f"{100 * more:.{places}f} %", f"{100 * less:.{places}f} %"
        if texts[0] != texts[1]:
            break
    return texts


def _rounded_up_seconds(value: float) -> str:
    """As `seconds` writes it, but never less than `value`."""
    return seconds(_rounded_up(value, 4 if value >= 1 else 3))


def _rounded_up(value: float, digits: int) -> float:
    """The least number of so many significant digits, and none of them cut before the point, from `value` on."""
    return _to_places(value, max(0, digits - 1 - Decimal(repr(value)).adjusted()), ROUND_CEILING)


def _to_places(value: float, places: int, rounding: str) -> float:
    near = Decimal(f"{value:.12g}")  # what floating-point error adds is not worth a digit
    return float(near.quantize(Decimal(1).scaleb(-places), rounding=rounding))


def promises_table(receipt: Receipt) -> Table:
    """Promised, planned and measured, side by side, with the verdict."""
    played = "emulated, " if receipt.emulated else "simulated, " if receipt.simulated else ""
    title = f"Receipt ({played}{receipt.outcome})"
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "promised", "planned", "measured", "kept?"):
        table.add_column(heading)
    requirement, plan = receipt.requirement, receipt.plan
    latency = seconds(receipt.latency_s) if receipt.latency_s is not None else "-"
    in_time, accurate = verdict(receipt.met.performance), verdict(receipt.met.accuracy)
    deadline_s, wanted = requirement.deadline_s, requirement.throughput_per_s
    table.add_row(
        "latency",
        f"<= {seconds(deadline_s)}" if deadline_s is not None else "-",
        seconds(plan.latency_s),
        latency,
        in_time if deadline_s is not None or wanted is None else "",
    )
    table.add_row(
        "throughput",
        f">= {rate(wanted)}" if wanted is not None else "-",
        rate(plan.throughput_per_s),
        rate(receipt.throughput_per_s),
        in_time if wanted is not None else "",
    )
    floor = f">= {percent(requirement.min_accuracy)}" if requirement.min_accuracy > 0 else "-"
    table.add_row("accuracy", floor, percent(plan.accuracy), accuracy_text(receipt.accuracy), accurate)
    if requirement.max_energy_j is not None:
        table.add_row(
            "energy",
            f"<= {requirement.max_energy_j:.4g} J",
            "-" if plan.energy_j is None else f"{plan.energy_j:.4g} J",
            "-" if receipt.energy_j is None else f"{receipt.energy_j:.4g} J",
            verdict(receipt.met.energy),
        )
    table.add_row("items", str(receipt.items), str(plan.items), _items_text(receipt), "")
    return table


def verdict(kept: bool) -> str:
    """How a promise ended, in colour."""
    return "[green]kept[/]" if kept else "[bold red]broken[/]"


def accuracy_text(accuracy: AccuracyResult) -> str:
    """The expectation, and with labels the measured value with its interval."""
    expected = f"{percent(accuracy.expected)} expected"
    if accuracy.measured is None:
        return expected
    m = accuracy.measured
    interval = f"{100 * m.low:.1f}-{100 * m.high:.1f} %"
    return f"{expected}, {percent(m.value)} on {m.items} labels (95 %: {interval})"


def _items_text(receipt: Receipt) -> str:
    counts = [f"{receipt.answered} answered"]
    counts += [f"{len(receipt.bad)} unreadable"] if receipt.bad else []
    counts += [f"{len(receipt.unanswered)} without answer"] if receipt.unanswered else []
    return ", ".join(counts)


def ran_table(receipt: Receipt) -> Table:
    """What each processor really ran, beside what the plan gave it."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("node", "processor", "variant"):
        table.add_column(heading, overflow="fold")
    for heading in ("planned", "answered", "busy", "last answer after"):
        table.add_column(heading, justify="right")
    for share in receipt.shares:
        finish = seconds(share.last_answer_s) if share.last_answer_s is not None else "-"
        busy = seconds(share.busy_s) if share.busy_s > 0 else "-"
        figures = (str(share.planned_items), str(share.items), busy, finish)
        table.add_row(*map(escape, (share.node, share.processor, share.variant)), *figures)
    return table


def events_text(receipt: Receipt) -> str:
    """How often the dispatcher had to act, as one line."""
    return (
        f"re-plans {receipt.replanned}; items re-sent {receipt.resent}, duplicated {receipt.duplicated}; "
        f"answers dropped {receipt.dropped}"
    )


def lost_text(receipt: Receipt) -> Iterator[str]:
    """The nodes that were lost, a line each."""
    for lost in receipt.lost:
        when = f"after {seconds(lost.after_s)}" if lost.after_s > 0 else "from the start"
        yield _printable(f"node {lost.node} lost {when}: {lost.reason}")


def faults_text(what: str, faults: tuple[Fault, ...]) -> Iterator[str]:
    """The items without a class and why, as lines; the first few by name."""
    if not faults:
        return
    yield f"{len(faults)} {what}:"
    for fault in faults[:_NAMED_FAULTS]:
        yield _printable(f"  {fault.item}: {fault.reason}" if fault.reason else f"  {fault.item}")
    if len(faults) > _NAMED_FAULTS:
        yield f"  ... and {len(faults) - _NAMED_FAULTS} more; --receipt FILE.json names all of them"


def _printable(text: str) -> str:
    """The text with bytes that are no UTF-8, as names of files may have them, written as `\\udcff`."""
    return text.encode("utf-8", errors="backslashreplace").decode()
