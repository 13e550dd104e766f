"""Several runs of a scenario under one strategy, in a few figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median

import msgspec

from equipoise.core.accuracy import wilson_interval
from equipoise.core.receipt import Receipt
from equipoise.core.request import Request
from equipoise.simulation.outcome import Outcome


class Attainment(msgspec.Struct, frozen=True, kw_only=True):
    """Of how many requests both promises were kept, of those that were admitted.

    value        kept / admitted; None if none was admitted
    low, high    its 95 % Wilson interval
    latency_s, accuracy, replanned   medians over what was admitted; accuracy is the expected one
    of_deadline  latency over the deadline: the median, and the largest
    """

    requests: int
    admitted: int
    kept: int
    value: float | None
    low: float | None
    high: float | None
    in_time: int
    accurate: int
    latency_s: float | None
    of_deadline: float | None
    worst_of_deadline: float | None
    accuracy: float | None
    replanned: float | None


def attainment(outcomes: Sequence[Outcome], request: str | None = None) -> Attainment:
    """Over all requests of all runs, or over all runs of one request by name."""
    asked = [a for outcome in outcomes for a in outcome.requests if request in {None, a.name}]
    receipts = [a.receipt for a in asked if a.receipt is not None]
    kept = sum(receipt.met.both for receipt in receipts)
    low, high = wilson_interval(kept, len(receipts)) if receipts else (None, None)
    latencies = [receipt.latency_s for receipt in receipts if receipt.latency_s is not None]
    shares = [share for receipt in receipts if (share := _of_deadline(receipt)) is not None]
    return Attainment(
        requests=len(asked),
        admitted=len(receipts),
        kept=kept,
        value=kept / len(receipts) if receipts else None,
        low=low,
        high=high,
        in_time=sum(receipt.met.performance for receipt in receipts),
        accurate=sum(receipt.met.accuracy for receipt in receipts),
        latency_s=median(latencies) if latencies else None,
        of_deadline=median(shares) if shares else None,
        worst_of_deadline=max(shares, default=None),
        accuracy=median(receipt.accuracy.expected for receipt in receipts) if receipts else None,
        replanned=fmean(receipt.replanned for receipt in receipts) if receipts else None,
    )


class StreamAttainment(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a stream, over all runs that admitted it.

    value        kept / admitted; None if no run admitted it
    low, high    its 95 % Wilson interval
    items        that arrived, in all runs; of them the fractions that were answered in time, and that were shed
    latency_s, accuracy   medians over runs: what `confidence` of the answered items stayed within; the expected one
    replanned    mean over runs
    """

    runs: int
    admitted: int
    kept: int
    value: float | None
    low: float | None
    high: float | None
    items: int
    in_time: float | None
    shed: float | None
    latency_s: float | None
    accuracy: float | None
    replanned: float | None


def stream_attainment(outcomes: Sequence[Outcome], stream: str) -> StreamAttainment:
    """Of one stream by name, over all runs."""
    asked = [a for outcome in outcomes for a in outcome.streams if a.name == stream]
    admitted = [a for a in asked if a.admitted]
    kept, items = sum(a.kept for a in admitted), sum(a.arrived for a in admitted)
    low, high = wilson_interval(kept, len(admitted)) if admitted else (None, None)
    latencies = [a.latency_s for a in admitted if a.latency_s is not None]
    accuracies = [a.accuracy for a in admitted if a.accuracy is not None]
    return StreamAttainment(
        runs=len(asked),
        admitted=len(admitted),
        kept=kept,
        value=kept / len(admitted) if admitted else None,
        low=low,
        high=high,
        items=items,
        in_time=sum(a.in_time for a in admitted) / items if items else None,
        shed=sum(sum(a.shed.values()) for a in admitted) / items if items else None,
        latency_s=median(latencies) if latencies else None,
        accuracy=median(accuracies) if accuracies else None,
        replanned=fmean(a.replanned for a in admitted) if admitted else None,
    )


def _of_deadline(receipt: Receipt) -> float | None:
    deadline_s = Request(items=receipt.items, requirement=receipt.requirement).deadline_s
    return receipt.latency_s / deadline_s if receipt.latency_s is not None and math.isfinite(deadline_s) else None
