"""The live view of a request: a line per processor, redrawn in place; nothing at all where there is no terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from equipoise.cli.render import percent, rate, seconds
from equipoise.core.cluster import ProcessorId
from equipoise.core.plan import Plan
from equipoise.dispatch.progress import ProcessorProgress, Progress

_BAR_COLUMNS = 24
_PLAIN_PERIOD_S = 2.0


class LiveView:
    """Shows each Progress that it is called with, until the `with` block ends; then it leaves no trace."""

    def __init__(self, console: Console, plan: Plan, *, title: str) -> None:
        self._title = title
        self._planned = _items_by_processor(plan)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Draw this state."""
        if self._live is not None:
            self._live.update(self.table(progress), refresh=True)

    def table(self, progress: Progress) -> Table:
        """This state, as it is drawn."""
        table = Table(title=escape(self._title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("processor", "variant", ""):
            table.add_column(heading, overflow="fold")
        for heading in ("items", "rate", "speed"):
            table.add_column(heading, justify="right")
        for processor in progress.processors:
            table.add_row(*self._row(processor))
        table.add_section()
        table.add_row("all", _clock(progress), _bar(progress.answered, progress.items), *_totals(progress))
        return table

    def _row(self, processor: ProcessorProgress) -> tuple[str | ProgressBar, ...]:
        planned = self._planned.get(processor.pid, 0)
        goal = max(planned, processor.items_done + processor.items_in_flight)
        if not processor.usable:
            return (
                escape(str(processor.pid)),
                "[red]gone[/]",
                _bar(processor.items_done, goal),
                str(processor.items_done),
                "",
                "",
            )
        return (
            escape(str(processor.pid)),
            escape(processor.variant or "-"),
            _bar(processor.items_done, goal),
            f"{processor.items_done}/{goal}",
            rate(processor.items_per_s),
            f"{processor.speed:.2f}x",
        )


class PlainView:
    """Progress as a line every two seconds, for pipes and logs."""

    def __init__(self, say: Callable[[str], None], title: str) -> None:
        self._say = say
        self._title = title
        self._next_s = _PLAIN_PERIOD_S

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, progress: Progress) -> None:
        """Print a line if it is time for one."""
        if progress.elapsed_s >= self._next_s:
            self._next_s += _PLAIN_PERIOD_S
            at_work = ", ".join(f"{p.pid} {p.items_done}" for p in progress.processors)
            answered = f"{progress.answered} of {progress.items} answered"
            self._say(f"  {self._title}, {progress.elapsed_s:.0f} s: {answered} ({at_work})")


def _items_by_processor(plan: Plan) -> Counter[ProcessorId]:
    items: Counter[ProcessorId] = Counter()
    for share in plan.shares:
        items[share.pid] += share.items
    return items


def _bar(done: int, goal: int) -> ProgressBar:
    return ProgressBar(total=max(goal, 1), completed=done, width=_BAR_COLUMNS)


def _clock(progress: Progress) -> str:
    limit = f" of {seconds(progress.deadline_s)}" if progress.deadline_s is not None else ""
    return f"{seconds(progress.elapsed_s)}{limit}"


def _totals(progress: Progress) -> tuple[str, str, str]:
    items_per_s = progress.answered / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
    return f"{progress.answered}/{progress.items}", rate(items_per_s), percent(progress.accuracy)
