"""`equipoise demo`: three emulated boards keep two promises, beside every other strategy, and then lose one of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from equipoise.cli.clusters import load_cluster
from equipoise.cli.console import console_for
from equipoise.cli.render import accuracy_text, percent, promise, rate, seconds, verdict
from equipoise.cli.render_live import LiveView, PlainView
from equipoise.cli.report import TextReport
from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.plan import Plan
from equipoise.core.receipt import Receipt
from equipoise.core.request import Request, Requirement, WhenLate
from equipoise.dispatch.progress import Progress
from equipoise.errors import EmulationError
from equipoise.fabric.messages import Answer
from equipoise.families.demo import demo_folder
from equipoise.families.labels import load_labels
from equipoise.families.manifest import load_family
from equipoise.planning.planner import plan as plan_with
from equipoise.planning.strategies import STRATEGIES
from equipoise.runtime.admission import admit
from equipoise.runtime.emulation import EmulatedCluster
from equipoise.runtime.execution import Job, execute, truth_of
from equipoise.runtime.inputs import Items, find_items
from equipoise.runtime.reach import check_reach

DEADLINE_S = 4.3
MIN_ACCURACY = 0.96
UNPLUGGED = "raspberry-pi-4"
UNPLUGGED_AFTER = 0.4  # of the items
SLOW_DOWNS = (1, 2, 4)  # for machines that cannot play the boards at their real speed

OnProgress = Callable[[Progress], None]

INTRODUCTION = """\
Equipoise runs neural networks on a handful of unequal boards as if they were one machine that keeps two
promises at once: fast enough, and accurate enough. For every request it decides together which share of the
work each processor gets and which variant of the model, heavy or light, it runs there.

Here are {items} handwritten digits, a family of {variants} models that read them, the lightest {lightest} and the
heaviest {heaviest} accurate, and three boards: {boards}.
The boards are emulated: each is a process on this machine that really runs the models, paced to the speed
that was published for such a board.
"""


def demo() -> None:
    """Show what Equipoise does, in under two minutes: no network, no files, nothing to prepare."""
    digits = find_items([str(demo_folder() / "digits-heldout.npy")])
    answered = asyncio.run(Demo(console_for(), digits, deadline_s=DEADLINE_S).show())
    raise typer.Exit(0 if answered else 1)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What came of a run; `answers` counts those that each item got."""

    receipt: Receipt
    answers: Counter[int]

    @property
    def all_once(self) -> bool:
        """True if every item was answered exactly once."""
        return len(self.answers) == self.receipt.items == sum(self.answers.values())


class _AnswerCount:
    def __init__(self) -> None:
        self.by_item: Counter[int] = Counter()

    def accept(self, answer: Answer, _pid: ProcessorId, _variant: str) -> None:
        self.by_item[answer.item] += 1


class Demo:
    """The three parts of the demo, on one set of boards; `items` are some of the held-out digits."""

    def __init__(self, console: Console, items: Items, *, deadline_s: float) -> None:
        folder = demo_folder()
        self._console = console
        self._deadline_s = deadline_s
        self._family = load_family(folder)
        self._items = items
        self._truth = truth_of(self._items, load_labels(folder / "digits-heldout-labels.csv", self._family))
        self._described = load_cluster(folder / "boards.json")

    async def show(self) -> bool:
        """Run everything; returns whether every item of every run was answered once."""
        self._introduce()
        self._cluster, self._request, self._plan = self._as_fast_as_this_machine_can_play()
        async with EmulatedCluster(self._family, self._cluster) as boards:
            ours = await self._keep_two_promises(boards)
            runs = [ours, *await self._compare_strategies(boards, ours), await self._unplug_a_board(boards)]
        return all(run.all_once for run in runs)

    # --- the three parts -------------------------------------------------------------------------------------------

    async def _keep_two_promises(self, boards: EmulatedCluster) -> _Run:
        self._headline("1. Two promises, kept")
        report = TextReport(self._console)
        report.plan(self._request, self._plan, title="Who runs what (emulated)")
        run = await self._run(boards, self._plan, self._view(self._plan))
        report.receipt(run.receipt)
        return run

    async def _compare_strategies(self, boards: EmulatedCluster, ours: _Run) -> list[_Run]:
        self._headline("2. The same request under every strategy, really run")
        self._say(
            "A strategy that finds no plan for both promises runs the most accurate one in time, if it has any.\n"
        )
        runs = [ours]
        for name, strategy in STRATEGIES.items():
            if name == self._plan.strategy or strategy.solver:
                continue
            plan = plan_with(self._request, self._cluster, strategy=name)
            followed = plan.to_follow(WhenLate.KEEP_DEADLINE)
            assert followed is not None, "a plan that is not feasible has a closest one"
            if not self._console.is_terminal:
                self._say(f"  running {name} ...")
            runs.append(await self._run(boards, followed, LiveView(self._console, followed, title=name)))
        self._console.print(_strategies_table([run.receipt for run in runs]))
        self._say("This request lies where strategies differ; `equipoise frontier BOARDS.json` shows the whole range.")
        return runs[1:]

    async def _unplug_a_board(self, boards: EmulatedCluster) -> _Run:
        self._headline(f"3. The same request, and the {UNPLUGGED} is unplugged in the middle of it")
        view = self._view(self._plan)
        unplugged = False

        def unplug(progress: Progress) -> None:
            nonlocal unplugged
            view(progress)
            if not unplugged and progress.answered >= UNPLUGGED_AFTER * progress.items:
                unplugged = True
                boards.kill(UNPLUGGED)
                self._say(f"  After {seconds(progress.elapsed_s)}: kill -9 of the process that is the {UNPLUGGED}.")

        run = await self._run(boards, self._plan, view, unplug)
        receipt, answers = run.receipt, run.answers
        TextReport(self._console).receipt(receipt)
        once = "each exactly once" if run.all_once else "NOT each exactly once, which is a bug"
        self._say(
            f"\n{receipt.items} digits, {sum(answers.values())} answers, {once}; {receipt.resent} were sent again."
        )
        self._say(f"Promised: {promise(receipt.requirement)}.")
        self._say(
            f"Time {_word(receipt.met.performance)}, accuracy {_word(receipt.met.accuracy)}: {_outcome(receipt)}."
        )
        return run

    # --- what they share -------------------------------------------------------------------------------------------

    def _introduce(self) -> None:
        accuracies = [variant.accuracy for variant in self._family.described_variants()]
        self._say(
            INTRODUCTION.format(
                items=len(self._items),
                variants=len(accuracies),
                lightest=percent(min(accuracies)),
                heaviest=percent(max(accuracies)),
                boards=", ".join(
                    f"{node.name} ({' and '.join(p.name.upper() for p in node.processors)})"
                    for node in self._described.nodes
                ),
            )
        )

    def _as_fast_as_this_machine_can_play(self) -> tuple[Cluster, Request, Plan]:
        samples = [self._items.payload(index) for index in range(4)]
        for slow_down in SLOW_DOWNS:
            cluster = _slowed(self._described, slow_down)
            requirement = Requirement(deadline_s=slow_down * self._deadline_s, min_accuracy=MIN_ACCURACY)
            request = Request(items=len(self._items), requirement=requirement)
            plan = admit(request, cluster, clock=time.perf_counter)
            try:
                check_reach(cluster, self._family, plan, samples)
            except EmulationError:
                if slow_down == SLOW_DOWNS[-1]:
                    raise
                continue
            if slow_down > 1:
                self._say(f"This machine is slow or busy: boards and deadline are slowed down {slow_down} times.\n")
            return cluster, request, plan
        raise AssertionError("the last slow-down either returns or raises")

    def _view(self, plan: Plan, title: str = "equipoise") -> LiveView | PlainView:
        if self._console.is_terminal:
            return LiveView(self._console, plan, title=title)
        return PlainView(self._say, title)

    async def _run(
        self,
        boards: EmulatedCluster,
        plan: Plan,
        view: LiveView | PlainView,
        on_progress: OnProgress | None = None,
    ) -> _Run:
        job = Job(
            request=self._request,
            plan=plan,
            family=self._family,
            cluster=self._cluster,
            items=self._items,
            truth=self._truth,
            emulated=True,
        )
        count = _AnswerCount()
        with view:
            done = await execute(job, boards.fabric, sink=count, on_progress=on_progress or view)
        return _Run(receipt=done.receipt, answers=count.by_item)

    def _headline(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/]\n")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def _slowed(cluster: Cluster, factor: float) -> Cluster:
    """The cluster with every call and load taking `factor` times as long."""
    if factor == 1:
        return cluster
    slowed = msgspec.to_builtins(cluster)
    for node in slowed["nodes"]:
        for profile in (profile for processor in node["processors"] for profile in processor["profiles"]):
            profile["latency_s"] = {batch: factor * call_s for batch, call_s in profile["latency_s"].items()}
            profile["load_s"] *= factor
    return msgspec.convert(slowed, Cluster, strict=False)


def _strategies_table(receipts: Iterable[Receipt]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("strategy", "", "time", "throughput", "accuracy", "both kept?"):
        table.add_column(heading)
    for receipt in receipts:
        table.add_row(
            receipt.strategy,
            STRATEGIES[receipt.strategy].summary,
            f"{_latency(receipt)}{_mark(receipt.met.performance)}",
            rate(receipt.throughput_per_s),
            f"{percent(receipt.accuracy.expected)}{_mark(receipt.met.accuracy)}",
            verdict(receipt.met.both),
        )
    return table


def _mark(kept: bool) -> str:
    return "" if kept else " [red]x[/]"


def _word(kept: bool) -> str:
    return "kept" if kept else "broken"


def _outcome(receipt: Receipt) -> str:
    return f"{_latency(receipt)}, {accuracy_text(receipt.accuracy)}"


def _latency(receipt: Receipt) -> str:
    return seconds(receipt.latency_s) if receipt.latency_s is not None else "no answer"
