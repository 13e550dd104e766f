"""What `run` tells about a request: its plan before, its receipt after; for people or as JSON."""

from __future__ import annotations

import json
import math
import shlex
from typing import Protocol

from rich.console import Console

from equipoise.cli.render import (
    events_text,
    faults_text,
    infeasible_summary,
    lost_text,
    plan_summary,
    plan_table,
    promise,
    promises_table,
    ran_table,
    seconds,
)
from equipoise.core.plan import Plan
from equipoise.core.receipt import Receipt
from equipoise.core.request import Request
from equipoise.runtime.receipt import plan_json, receipt_json

KEPT, DECLINED, BROKEN = 0, 3, 4  # exit codes


class Report(Protocol):
    """Told what happens to a request, in this order; `infeasible` only if it is."""

    def infeasible(self, request: Request, plan: Plan, *, best_accuracy: float, declined: bool) -> None:
        """Both promises cannot be kept; `declined` unless the closest plan is run all the same.

        `best_accuracy` is that of the most accurate variant that could be run at all.
        """

    def going_on(self, receipt: str, *, answered: int, items: int, left_s: float, given_up: bool) -> None:
        """A run that was cut short is gone on with, `left_s` before its deadline; not if the rest is given up."""

    def nothing_left(self, receipt: str) -> None:
        """A run was to be gone on with that has answered everything."""

    def plan(self, request: Request, plan: Plan, *, title: str) -> None:
        """This is going to be run."""

    def receipt(self, receipt: Receipt) -> None:
        """This came of it."""

    def cut_short(self, receipt: str | None) -> None:
        """Items are left without an answer; the run can be gone on with if it has a `receipt` and kept its answers."""


class TextReport:
    """Tables on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def infeasible(self, request: Request, plan: Plan, *, best_accuracy: float, declined: bool) -> None:
        """Say why, and what could be had."""
        for line in infeasible_summary(request, plan.closest, plan.needs, best_accuracy=best_accuracy):
            self._console.print(line)
        if declined:
            self._console.print("Nothing was run; --best-effort runs the closest plan.")

    def going_on(self, receipt: str, *, answered: int, items: int, left_s: float, given_up: bool) -> None:
        """How much is answered, and how the deadline stands."""
        if left_s == math.inf:
            when = "there is no deadline"
        elif left_s > 0:
            when = f"{seconds(left_s)} are left to the deadline"
        else:
            what = "the rest is given up; --deadline-s gives it more time" if given_up else "the rest runs late"
            when = f"the deadline passed {seconds(-left_s)} ago: {what}"
        words = f"Going on with {receipt}: {answered} of {items} items are answered, and {when}."
        self._console.print(words, markup=False, soft_wrap=True)

    def nothing_left(self, receipt: str) -> None:
        """That nothing is done."""
        self._console.print(f"Nothing is left to do: {receipt} has answered every item.", markup=False, soft_wrap=True)

    def plan(self, request: Request, plan: Plan, *, title: str) -> None:
        """The promise, who runs what, and what to expect."""
        self._console.print(f"Promise: {promise(request.requirement)}.\n")
        self._console.print(plan_table(plan, title=title))
        self._console.print(f"Expected: {plan_summary(plan)}.\n")

    def receipt(self, receipt: Receipt) -> None:
        """Promised against measured, what each processor did, lost nodes, and the items without a class."""
        self._console.print(promises_table(receipt))
        self._console.print(ran_table(receipt))
        self._console.print(f"{events_text(receipt)}.")
        faults = (*faults_text("unreadable items", receipt.bad), *faults_text("without answer", receipt.unanswered))
        for line in (*lost_text(receipt), *faults):
            self._console.print(line, markup=False)

    def cut_short(self, receipt: str | None) -> None:
        """How to go on with the run, or what that would have taken."""
        how = "It cannot be gone on with: that takes --out and --receipt from the start."
        if receipt is not None:
            how = f"To go on with it: equipoise run --resume {shlex.quote(receipt)}"
        self._console.print(how, markup=False, soft_wrap=True)


class JsonReport:
    """One JSON document on stdout: the receipt, or the plan that shows why nothing was run."""

    def infeasible(self, request: Request, plan: Plan, *, best_accuracy: float, declined: bool) -> None:
        """The plan, if there will be no receipt."""
        if declined:
            print(json.dumps(plan_json(plan), indent=2))

    def going_on(self, receipt: str, *, answered: int, items: int, left_s: float, given_up: bool) -> None:
        """Nothing: the receipt says so."""

    def nothing_left(self, receipt: str) -> None:
        """Nothing: the receipt says so."""

    def plan(self, request: Request, plan: Plan, *, title: str) -> None:
        """Nothing: the receipt has the plan in it."""

    def receipt(self, receipt: Receipt) -> None:
        """The receipt."""
        print(json.dumps(receipt_json(receipt), indent=2))

    def cut_short(self, receipt: str | None) -> None:
        """Nothing: the receipt says so."""


def exit_code(receipt: Receipt) -> int:
    """What the command leaves with after this receipt."""
    return KEPT if receipt.met.both else BROKEN
