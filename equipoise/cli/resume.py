"""`equipoise run --resume RECEIPT`: goes on from what a run has written that was cut short."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from equipoise.cli.conduct import Errand, conduct, hand_in, truth_in
from equipoise.cli.network import now_utc
from equipoise.cli.options import family_folder
from equipoise.cli.report import Report
from equipoise.core.family import Family
from equipoise.core.receipt import Origin, Receipt
from equipoise.core.request import Request
from equipoise.errors import ConfigError, UsageError
from equipoise.families.identity import identity_of
from equipoise.families.manifest import load_family
from equipoise.runtime.earlier import Earlier, earlier_run
from equipoise.runtime.execution import Done, conclude
from equipoise.runtime.inputs import ItemList, find_items
from equipoise.runtime.predictions import PredictionFile, read_kept
from equipoise.runtime.receipt import read_receipt

_NAMED_FILES = 3
_NEEDED = "a run that may be cut short needs both --out FILE, for its answers, and --receipt FILE, for --resume"


def resume(path: Path, report: Report, *, more_s: float | None, log: Path | None) -> NoReturn:
    """Go on with the run of this receipt, in the folder that it was started in; leaves as `run` does.

    The deadline is the one that was promised, and has gone on counting, unless the rest is given `more_s`.
    Raises ConfigError if it is no receipt, UsageError if it tells of a run that cannot be gone on with, or whose
    inputs, family or answers have changed, OutputError if its run is still going on.
    """
    _refuse_missing(path)
    receipt = read_receipt(path)
    if receipt.outcome == "answered":
        report.nothing_left(str(path))
        hand_in(Done(receipt=receipt), report, None)
    if receipt.origin is None or receipt.origin.out is None:
        what = "its answers were not kept: --out was not given" if receipt.origin else "it does not say how it was run"
        raise UsageError(f"{path} cannot be gone on with: {what}; run the request anew, and {_NEEDED}")
    path, log = path.absolute(), log and log.absolute()
    with _in_folder(Path(receipt.origin.folder)):
        _go_on(path, receipt, receipt.origin, Path(receipt.origin.out), report, more_s=more_s, log=log)


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise ConfigError(f"cannot be read: no such file; {_NEEDED}", path=path)


def _go_on(
    path: Path, receipt: Receipt, origin: Origin, out: Path, report: Report, *, more_s: float | None, log: Path | None
) -> NoReturn:
    family = _same_family(origin)
    items = _same_items(receipt, origin)
    truth = truth_in(items, Path(origin.labels) if origin.labels is not None else None, family)
    with PredictionFile(_existing(out, origin), name_of=items.name, label_of=family.label) as predictions:
        kept = read_kept(out, origin.predictions)
        last_written = dt.datetime.fromtimestamp(out.stat().st_mtime, dt.timezone.utc)
        earlier = earlier_run(receipt, origin, kept, items, now=now_utc(), last_written=last_written, more_s=more_s)
        report.going_on(
            str(path), answered=len(earlier.rows), items=receipt.items, left_s=earlier.left_s, given_up=earlier.given_up
        )
        if not earlier.left or earlier.given_up:
            hand_in(_concluded(earlier, items, truth, predictions), report, path)
        errand = Errand(
            request=Request(items=receipt.items, requirement=receipt.requirement),
            family=family,
            items=items,
            truth=truth,
            strategy=receipt.strategy,
            seed=receipt.seed,
            origin=origin,
            earlier=earlier,
            predictions=predictions,
        )
        conduct(errand, report, receipt=path, log=log, best_effort=True)


def _concluded(earlier: Earlier, items: ItemList, truth: dict[int, int], predictions: PredictionFile) -> Done:
    predictions.begin(earlier.kept).close()  # without what is torn
    return Done(receipt=conclude(earlier, items, truth, predictions.written))


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """The folder from which paths are seen that a receipt names. Raises UsageError."""
    before = Path.cwd()
    try:
        os.chdir(folder)
    except OSError as e:
        raise UsageError(f"the run was started in {folder}: {e.strerror}") from e
    try:
        yield
    finally:
        os.chdir(before)


def _same_family(origin: Origin) -> Family:
    family = load_family(family_folder(origin.family))
    if identity_of(family) != origin.family_sha256:
        raise UsageError(
            f"family {family.folder} has changed since the run began: its models, labels or inputs are others, and "
            "answers of both would be mixed; put it back, or run the request anew"
        )
    return family


def _same_items(receipt: Receipt, origin: Origin) -> ItemList:
    items = find_items(origin.inputs)
    if items.fingerprint() == origin.inputs_sha256:
        return items
    if len(items) != receipt.items:
        what = f"there are {len(items)} items now, and were {receipt.items}"
    else:
        what = _changed(items, dt.datetime.fromisoformat(origin.started_at).timestamp())
    raise UsageError(f"the inputs have changed since the run began: {what}; put them back, or run the request anew")


def _changed(items: ItemList, since_s: float) -> str:
    """Which files were written to after this time, as far as that can be told."""
    changed = [file for file in items.files if not file.exists() or file.stat().st_mtime > since_s]
    named = ", ".join(map(str, changed[:_NAMED_FILES]))
    more = f" and {len(changed) - _NAMED_FILES} more" if len(changed) > _NAMED_FILES else ""
    return (named or "a file has another size or time of change") + more


def _existing(out: Path, origin: Origin) -> Path:
    if origin.predictions is not None and not out.is_file():
        raise UsageError(f"{out}, which has the answers so far, is not there; put it back, or run the request anew")
    return out
