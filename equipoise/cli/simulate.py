"""`equipoise simulate`: a scenario on a described cluster in virtual time, under one or more strategies."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import track

from equipoise.cli.clusters import load_cluster
from equipoise.cli.console import console_for
from equipoise.cli.options import ClusterArgument, JsonOption
from equipoise.cli.render_simulation import (
    limits_table,
    requests_table,
    strategies_table,
    stream_limits_table,
    streams_table,
)
from equipoise.core.cluster import Cluster
from equipoise.errors import UsageError
from equipoise.planning.strategies import CLAIRVOYANT
from equipoise.simulation import Outcome, Scenario
from equipoise.simulation import simulate as simulate_scenario
from equipoise.simulation.attainment import attainment, stream_attainment
from equipoise.simulation.clairvoyant import Limits, limits
from equipoise.simulation.folder import check_folder, folder_of, time_line, write_receipts, write_streams, write_summary
from equipoise.simulation.policy import policy_maker
from equipoise.simulation.scenario_file import load_scenario

Runs = Mapping[str, Sequence[Outcome]]  # by strategy
Known = Sequence[Limits]  # of every run, if the clairvoyant was asked for


def simulate(
    cluster: ClusterArgument,
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.toml", help="Requests, and what happens meanwhile.")],
    *,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            help="Who decides; may be given several times. Default: equipoise. clairvoyant: the limit of all.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything that chance decides, in the first run.")] = 0,
    runs: Annotated[int, typer.Option("--runs", metavar="R", help="So many runs, with one seed after the other.")] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write time lines and receipts into this folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into --out even if it is not empty.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a scenario in virtual time: the real planner and dispatcher on simulated boards.

    Exit codes: 0 simulated, whatever came of it; 2 usage, 1 any other error.
    """
    strategies = list(dict.fromkeys(strategy or ["equipoise"]))
    deciding = [name for name in strategies if name != CLAIRVOYANT]
    for name in deciding:
        policy_maker(name)
    if runs < 1:
        raise UsageError(f"--runs must be at least 1, not {runs}")
    described = load_cluster(cluster)
    asked = load_scenario(scenario, described)
    if out is not None:
        check_folder(out, force=force)
    seeds = range(seed, seed + runs)
    known = [limits(described, asked, one) for one in seeds] if CLAIRVOYANT in strategies else []
    found = _run_all(described, asked, deciding, seeds, out)
    summary = _summary(asked, found, known, seed)
    if out is not None:
        write_summary(out, summary)
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        _print(asked, found, known)


def _run_all(
    cluster: Cluster, scenario: Scenario, strategies: Sequence[str], seeds: Sequence[int], out: Path | None
) -> Runs:
    found: dict[str, list[Outcome]] = {name: [] for name in strategies}
    turns = [(name, seed) for name in strategies for seed in seeds]
    notes = console_for(sys.stderr)
    for name, seed in track(turns, "simulating", console=notes, transient=True, disable=not notes.is_terminal):
        found[name].append(_run(cluster, scenario, name, seed, out))
    return found


def _run(cluster: Cluster, scenario: Scenario, strategy: str, seed: int, out: Path | None) -> Outcome:
    if out is None:
        return simulate_scenario(cluster, scenario, strategy, seed)
    folder = folder_of(out, strategy, seed)
    with time_line(folder) as record:
        outcome = simulate_scenario(cluster, scenario, strategy, seed, record=record)
    write_receipts(folder, outcome)
    write_streams(folder, outcome)
    return outcome


def _summary(scenario: Scenario, found: Runs, known: Known, seed: int) -> dict[str, Any]:
    """For programs; docs/simulation.md has every field."""
    return {
        "seed": seed,
        "strategies": [
            {
                "strategy": name,
                "runs": len(outcomes),
                "all": msgspec.to_builtins(attainment(outcomes)),
                "requests": {
                    asked.name: msgspec.to_builtins(attainment(outcomes, asked.name))
                    for asked in scenario.named().requests
                },
                "streams": {
                    asked.name: msgspec.to_builtins(stream_attainment(outcomes, asked.name))
                    for asked in scenario.named().streams
                },
            }
            for name, outcomes in found.items()
        ],
        "limits": [{"seed": seed + number} | msgspec.to_builtins(of_run) for number, of_run in enumerate(known)],
    }


def _print(scenario: Scenario, found: Runs, known: Known) -> None:
    console = console_for()
    for name, outcomes in found.items():
        title = f"{name}, {_counted(len(outcomes), 'run')}"
        if scenario.requests:
            console.print(requests_table(scenario, outcomes, title=title))
        if scenario.streams:
            console.print(streams_table(scenario, outcomes, title=title))
    if known and scenario.requests:
        console.print(limits_table(scenario, [of_run.requests for of_run in known]))
    if known and scenario.streams:
        console.print(stream_limits_table(scenario, [of_run.streams for of_run in known]))
    if scenario.requests and (len(found) > 1 or any(len(outcomes) > 1 for outcomes in found.values())):
        console.print(strategies_table(found, [of_run.requests for of_run in known]))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
