"""Makes the receipt out of what a request left behind, and writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

import equipoise
from equipoise.core.accuracy import wilson_interval
from equipoise.core.cluster import ProcessorId
from equipoise.core.plan import Plan
from equipoise.core.receipt import (
    RUNNING,
    AccuracyResult,
    Fault,
    LostNode,
    MeasuredAccuracy,
    Met,
    Origin,
    RanShare,
    Receipt,
    Resumption,
    judge,
)
from equipoise.core.request import Request
from equipoise.dispatch.commands import Finish
from equipoise.dispatch.progress import Progress, ShareDone
from equipoise.errors import ConfigError, OutputError
from equipoise.runtime.outputs import Scorecard
from equipoise.runtime.predictions import sync_folder


def make_receipt(
    *,
    request: Request,
    family: str,
    plan: Plan,
    progress: Progress,
    finish: Finish | None,
    lost: tuple[LostNode, ...] = (),
    scorecard: Scorecard,
    name_of: Callable[[int], str],
    emulated: bool,
    simulated: bool = False,
    seed: int,
    resumed: tuple[Resumption, ...] = (),
    origin: Origin | None = None,
) -> Receipt:
    """The receipt of a request that is over, or while `finish` is None still runs; `progress` is its last snapshot."""
    unanswered = finish.unanswered if finish is not None else ()
    accuracy = AccuracyResult(expected=progress.accuracy, measured=_measured(scorecard))
    latency_s = _latency_s(progress)
    return Receipt(
        equipoise=equipoise.__version__,
        family=family,
        strategy=plan.strategy,
        emulated=emulated,
        simulated=simulated,
        seed=seed,
        outcome=finish.outcome.value if finish is not None else RUNNING,
        requirement=request.requirement,
        plan=plan,
        items=request.items,
        answered=scorecard.answered,
        bad=tuple(Fault(item=name_of(i), reason=reason) for i, reason in sorted(scorecard.faults.items())),
        unanswered=tuple(Fault(item=name_of(i), reason=finish.reason) for i in sorted(unanswered)) if finish else (),
        latency_s=latency_s,
        throughput_per_s=progress.answered / latency_s if latency_s else 0.0,
        accuracy=accuracy,
        met=judge(
            request,
            answered=scorecard.answered,
            unanswered=len(unanswered),
            latency_s=latency_s,
            accuracy=accuracy,
            energy_j=progress.energy_j,
        )
        if finish is not None
        else Met(performance=False, accuracy=False),  # not yet
        replanned=progress.replanned,
        resent=progress.resent,
        duplicated=progress.duplicated,
        dropped=progress.dropped,
        shares=tuple(_ran_shares(plan, progress.shares)),
        lost=lost,
        energy_j=progress.energy_j,
        resumed=resumed,
        origin=origin,
    )


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """The receipt as plain data, as it stands in a file; see docs/formats.md."""
    data: dict[str, Any] = msgspec.to_builtins(receipt)
    data["plan"] = plan_json(receipt.plan)
    return data


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain data, with the figures that follow from others."""
    data: dict[str, Any] = msgspec.to_builtins(plan)
    data["throughput_per_s"] = plan.throughput_per_s
    if plan.closest is not None:
        for name in plan.closest.__struct_fields__:
            closest: Plan | None = getattr(plan.closest, name)
            data["closest"][name] = plan_json(closest) if closest is not None else None
    return data


def read_receipt(path: Path) -> Receipt:
    """The receipt in a file. Raises ConfigError if it is none."""
    try:
        data = json.loads(path.read_bytes().decode("utf-8", errors="surrogateescape"))
        return msgspec.convert(data, Receipt)
    except OSError as e:
        raise ConfigError(f"cannot be read: {e.strerror}", path=path) from e
    except (ValueError, RecursionError) as e:  # ValueError of json and msgspec, too
        raise ConfigError(f"is no receipt of `equipoise run`: {e}", path=path) from e


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Write the receipt as JSON, whole or not at all. Raises OutputError."""
    text = json.dumps(receipt_json(receipt), indent=2, ensure_ascii=False) + "\n"
    encoded = text.encode("utf-8", errors="surrogateescape")  # names of files may be any bytes
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(encoded)  # a device or a pipe cannot be replaced
        else:
            _replace(path, encoded)
    except OSError as e:
        raise OutputError(f"the receipt cannot be written: {e.strerror}", path=path) from e


def _replace(path: Path, text: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _latency_s(progress: Progress) -> float | None:
    if progress.first_sent_s is None or progress.last_answer_s is None:
        return None
    return progress.last_answer_s - progress.first_sent_s


def _measured(scorecard: Scorecard) -> MeasuredAccuracy | None:
    if scorecard.labelled == 0:
        return None
    low, high = wilson_interval(scorecard.hits, scorecard.labelled)
    return MeasuredAccuracy(value=scorecard.hits / scorecard.labelled, low=low, high=high, items=scorecard.labelled)


def _ran_shares(plan: Plan, done: Iterable[ShareDone]) -> Iterable[RanShare]:
    """Every pair that was planned or ran, those of the plan first and in its order."""
    ran = {(share.pid, share.variant): share for share in done}
    planned = _planned_items(plan)
    for pid, variant in [*planned, *(pair for pair in ran if pair not in planned)]:
        share = ran.get((pid, variant))
        yield RanShare(
            node=pid.node,
            processor=pid.processor,
            variant=variant,
            planned_items=planned.get((pid, variant), 0),
            items=share.items if share else 0,
            busy_s=share.busy_s if share else 0.0,
            load_s=share.load_s if share else 0.0,
            first_sent_s=share.first_sent_s if share else None,
            last_answer_s=share.last_answer_s if share and share.items else None,
        )


def _planned_items(plan: Plan) -> Mapping[tuple[ProcessorId, str], int]:
    planned: dict[tuple[ProcessorId, str], int] = {}
    for share in plan.shares:
        pair = (share.pid, share.variant)
        planned[pair] = planned.get(pair, 0) + share.items
    return planned
