"""`equipoise plan`: who would run what, and whether both promises can be kept. Nothing is run."""

from __future__ import annotations

import json
import time
from typing import Annotated

import msgspec
import typer

from equipoise.cli.clusters import load_cluster
from equipoise.cli.console import console_for
from equipoise.cli.explain import explanation_lines
from equipoise.cli.options import (
    ClusterArgument,
    ConfidenceOption,
    DeadlineOption,
    ItemsOption,
    JsonOption,
    MaxEnergyOption,
    MaxPowerOption,
    MinAccuracyOption,
    PreferOption,
    StrategyOption,
    ThroughputOption,
    request_of,
)
from equipoise.cli.render import best_accuracy_on, infeasible_summary, plan_summary, plan_table, promise
from equipoise.cli.report import DECLINED
from equipoise.core.explanation import Explanation
from equipoise.core.plan import Plan
from equipoise.core.request import Request
from equipoise.planning.explain import explain as explain_plan
from equipoise.planning.planner import plan as plan_with
from equipoise.runtime.receipt import plan_json

ExplainOption = Annotated[bool, typer.Option("--explain", help="Also say why the plan is what it is.")]


def plan(
    cluster: ClusterArgument,
    *,
    items: ItemsOption,
    deadline_s: DeadlineOption = None,
    throughput_per_s: ThroughputOption = None,
    min_accuracy: MinAccuracyOption = 0.0,
    prefer: PreferOption = None,
    confidence: ConfidenceOption = None,
    max_energy_j: MaxEnergyOption = None,
    max_power_w: MaxPowerOption = None,
    strategy: StrategyOption = "equipoise",
    explain: ExplainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Plan a request for a described cluster: who runs how many items with which variant.

    Exit codes: 0 both promises can be kept, 3 they cannot, 2 usage, 1 any other error.
    """
    request = request_of(
        items,
        deadline_s=deadline_s,
        throughput_per_s=throughput_per_s,
        min_accuracy=min_accuracy,
        prefer=prefer,
        confidence=confidence,
        max_energy_j=max_energy_j,
        max_power_w=max_power_w,
    )
    described = load_cluster(cluster)
    found = plan_with(request, described, strategy=strategy, clock=time.perf_counter)
    explanation = explain_plan(request, described, found) if explain else None
    if as_json:
        explained = {"explanation": msgspec.to_builtins(explanation)} if explanation else {}
        print(json.dumps(plan_json(found) | explained, indent=2))
    else:
        _print(request, found, explanation, best_accuracy_on(described))
    raise typer.Exit(0 if found.feasible else DECLINED)


def _print(request: Request, found: Plan, explanation: Explanation | None, best_accuracy: float) -> None:
    _print_plan(request, found, best_accuracy)
    if explanation is not None:
        console = console_for()
        console.print("\nWhy:")
        for line in explanation_lines(request, found, explanation):
            console.print(f"- {line}", markup=False)


def _print_plan(request: Request, found: Plan, best_accuracy: float) -> None:
    console = console_for()
    if found.feasible:
        console.print(f"Promised: {promise(request.requirement)}.")
        console.print(plan_table(found, title=f"Plan ({found.strategy})"))
        console.print(plan_summary(found))
        return
    for line in infeasible_summary(request, found.closest, found.needs, best_accuracy=best_accuracy):
        console.print(line)
    console.print(plan_table(found, title=f"Least violation of both ({found.strategy})"))
