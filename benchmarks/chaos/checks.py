"""What must hold after every request, whatever happened during it; what does not hold is told in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.chaos.boards import Footprint
from benchmarks.chaos.work import Work

Row = Mapping[str, Any]
_SPARE_THREADS, _SPARE_FILES = 8, 6  # beyond the most that was seen without faults: pools that grow when first needed


def wrong_answers(work: Work, rows: Sequence[Row], logs: Sequence[Sequence[Row]]) -> Iterator[str]:
    """Items that are answered twice, by another task than the logs say, or not as their variant does.

    logs   one, and another one for each time that the request was gone on with
    """
    index = {work.items.name(number): number for number in range(len(work.items))}
    for item, times in Counter(row["item"] for row in rows).items():
        if times > 1:
            yield f"{item} is answered {times} times"
    by: dict[int, list[Row]] = {}
    for log in logs:
        yield from _accepted_twice(log)
        tasks = {sent["task"]: sent for line in log for sent in line.get("sent", ())}
        for line in log:
            for item in line.get("accepted", ()):
                by.setdefault(item, []).append(tasks[line["task"]])
    for row in rows:
        item = index[row["item"]]
        yield from _wrong_answer(work, item, row, by.get(item, []))


def _accepted_twice(log: Sequence[Row]) -> Iterator[str]:
    accepted = Counter(item for line in log for item in line.get("accepted", ()))
    yield from (f"item {item} was accepted {times} times" for item, times in accepted.items() if times > 1)


def _wrong_answer(work: Work, item: int, row: Row, tasks: Sequence[Row]) -> Iterator[str]:
    if "error" in row:
        yield f"{row['item']} is called unreadable: {row['error']}"
        return
    if not any(item in task["items"] for task in tasks):
        yield f"{row['item']} is answered, but was accepted from no task that had it"
    elif all(any(task[name] != row[name] for name in ("node", "processor", "variant")) for task in tasks):
        yield f"{row['item']} is answered by another processor or variant than its task's"
    if (objection := work.objection(item, dict(row))) is not None:
        yield f"{row['item']}: {objection}"


def wrong_receipt(work: Work, rows: Sequence[Row], receipt: Row) -> Iterator[str]:
    """Items that are neither answered nor named as unanswered, or both, and counts that are not true."""
    answered = {row["item"] for row in rows}
    unanswered = {fault["item"] for fault in receipt["unanswered"]}
    everything = {work.items.name(number) for number in range(len(work.items))}
    yield from (f"{item} is neither answered nor named as unanswered" for item in everything - answered - unanswered)
    yield from (f"{item} is answered, but named as unanswered" for item in answered & unanswered)
    yield from (f"{item} is nothing that was asked" for item in (answered | unanswered) - everything)
    if receipt["answered"] != len(rows):
        yield f"the receipt counts {receipt['answered']} answers, the file has {len(rows)}"
    if all(receipt["met"].values()) and unanswered:
        yield "the receipt calls its promises kept, with items unanswered"


def wrong_remains(rows: Sequence[Row], receipt: Row | None) -> Iterator[str]:
    """What a coordinator that was killed acknowledged, but has not left behind."""
    if receipt is None:
        yield "a coordinator was killed that had not written a receipt"
        return
    acknowledged = receipt["origin"]["predictions"]
    if acknowledged is not None and acknowledged["lines"] > len(rows):
        yield f"the receipt acknowledges {acknowledged['lines']} answers, the file has {len(rows)}"


def left_behind(
    footprints: Mapping[str, Footprint | None], limits: Mapping[str, Footprint], strangers: Iterable[int]
) -> Iterator[str]:
    """Processes, threads, files, sockets and connections that a request that is over has left."""
    yield from (f"process {pid} is left on a host" for pid in strangers)
    for name, footprint in footprints.items():
        if footprint is None:
            yield f"{name} has no process"
            continue
        limit = limits[name]
        if footprint.threads > limit.threads + _SPARE_THREADS:
            yield f"{name} has {footprint.threads} threads; {limit.threads} without faults"
        if footprint.files > limit.files + _SPARE_FILES:
            yield f"{name} has {footprint.files} open files; {limit.files} without faults"
        if footprint.children:
            yield f"{name} has {footprint.children} processes of its own"
        if footprint.peers > limit.peers:
            yield f"{name} has {footprint.peers} connections; {limit.peers} without faults"
