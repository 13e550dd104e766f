"""`equipoise admit`: which of several requests that share the processors can be promised. Nothing is run."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from equipoise.cli.clusters import decode_json, load_cluster, read_bytes
from equipoise.cli.console import console_for
from equipoise.cli.options import JsonOption
from equipoise.cli.render import percent, seconds
from equipoise.cli.report import DECLINED
from equipoise.core.cluster import Cluster
from equipoise.core.queue import Admission, Queue, QueuedRequest, Schedule
from equipoise.errors import ConfigError
from equipoise.planning.admission import admit_all
from equipoise.runtime.receipt import plan_json

QueueArgument = Annotated[Path, typer.Argument(metavar="QUEUE.json", help="Clusters and requests; see docs/queue.md.")]


class _QueueFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The queue as it is written: a cluster may be the path of its description, from the file's folder."""

    clusters: tuple[Cluster | str, ...]
    requests: tuple[QueuedRequest, ...]


def admit(queue: QueueArgument, *, as_json: JsonOption = False) -> None:
    """Ask for requests one after the other: yes keeps all promises so far, no says what would do.

    Exit codes: 0 every request is admitted, 3 some are declined, 2 usage, 1 any other error.
    """
    asked = load_queue(queue)
    started_s = time.perf_counter()
    answers = admit_all(asked)
    took_s = time.perf_counter() - started_s
    schedule = answers[-1].schedule if answers else Schedule()
    if as_json:
        print(json.dumps(admissions_json(answers, schedule, took_s), indent=2))
    else:
        _print(console_for(), answers, schedule, took_s)
    raise typer.Exit(0 if all(answer.admitted for answer in answers) else DECLINED)


def load_queue(path: Path) -> Queue:
    """The queue that a JSON file describes. Raises ConfigError, which names the place in it."""
    written = decode_json(read_bytes(path), _QueueFile, path)
    clusters = [load_cluster(path.parent / c) if isinstance(c, str) else c for c in written.clusters]
    try:
        return Queue(clusters=tuple(clusters), requests=written.requests)
    except ValueError as e:
        raise ConfigError(str(e), path=path) from e


def admissions_json(answers: Sequence[Admission], schedule: Schedule, took_s: float) -> dict[str, Any]:
    """Answers and the schedule that keeps them, as plain data (docs/queue.md)."""
    return {
        "answers": [
            {
                "request": answer.request.name,
                "admitted": answer.admitted,
                "reason": answer.reason,
                "proven": answer.proven,
                "instead": msgspec.to_builtins(answer.instead),
            }
            for answer in answers
        ],
        "schedule": {
            "accuracy": schedule.accuracy,
            "bound": schedule.bound,
            "gap": schedule.gap,
            "promises": [
                {"request": msgspec.to_builtins(kept.request), "plan": plan_json(kept.plan)}
                for kept in schedule.promises
            ],
        },
        "solve_s": took_s,
    }


def _print(console: Console, answers: Sequence[Admission], schedule: Schedule, took_s: float) -> None:
    console.print(_answers_table(answers, schedule))
    for answer in answers:
        if not answer.admitted:
            for line in _refusal(answer):
                console.print(line, markup=False)
    if schedule.promises:
        console.print(_schedule_table(schedule))
    console.print(_summary(answers, schedule, took_s))


def _answers_table(answers: Sequence[Admission], schedule: Schedule) -> Table:
    """A row per request in the order of asking."""
    plans = {kept.request.name: kept.plan for kept in schedule.promises}
    table = Table(title="Admission", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("request", "family"):
        table.add_column(heading)
    for heading in ("items", "deadline", "done after", "floor", "accuracy"):
        table.add_column(heading, justify="right")
    table.add_column("admitted?")
    for answer in answers:
        asked, plan = answer.request, plans.get(answer.request.name)
        table.add_row(
            escape(asked.name),
            escape(asked.family),
            str(asked.items),
            seconds(asked.deadline_s),
            seconds(plan.latency_s) if plan else "",
            percent(asked.requirement.min_accuracy),
            percent(plan.accuracy) if plan else "",
            "[green]yes[/]" if answer.admitted else "[bold red]no[/]",
        )
    return table


def _schedule_table(schedule: Schedule) -> Table:
    """A row per share, processor by processor, in the order in which each of them runs its shares."""
    table = Table(title="Schedule", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("node", "processor", "request", "variant"):
        table.add_column(heading)
    for heading in ("items", "batch", "finished after"):
        table.add_column(heading, justify="right")
    lines = [(share, kept.request.name) for kept in schedule.promises for share in kept.plan.shares]
    for share, request in sorted(lines, key=lambda line: line[0].pid):
        figures = (str(share.items), str(share.batch), seconds(share.finish_s))
        table.add_row(*map(escape, (share.node, share.processor, request, share.variant)), *figures)
    return table


def _refusal(answer: Admission) -> Sequence[str]:
    """Why not, and what would be admitted instead; a line each."""
    lines = [f"{answer.request.name}: {answer.reason}."]
    if answer.instead is not None and answer.instead.deadline_s is not None:
        lines.append(f"  a deadline of {seconds(answer.instead.deadline_s)} would do")
    if answer.instead is not None and answer.instead.min_accuracy is not None:
        lines.append(f"  a floor of {percent(answer.instead.min_accuracy)} would do")
    return lines


def _summary(answers: Sequence[Admission], schedule: Schedule, took_s: float) -> str:
    told = f"{len(schedule.promises)} of {len(answers)} requests admitted in {seconds(took_s)}"
    if schedule.accuracy is None:
        return f"{told}."
    gap = schedule.gap
    proof = "no bound" if gap is None else f"within {100 * gap:.2g} % of what is possible"
    return f"{told}; {percent(schedule.accuracy)} accuracy over all items whose slack is for accuracy, {proof}."
