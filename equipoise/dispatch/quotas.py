"""From a plan's shares to what each processor is still to be sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from equipoise.core.cluster import ProcessorId
from equipoise.core.plan import Share
from equipoise.dispatch.lane import Lane, Quota

Sent = Counter[tuple[ProcessorId, str]]  # items per pair


def assign_quotas(
    shares: Sequence[Share], lanes: Mapping[ProcessorId, Lane], sent: Sent, open_items: int, *, pooled: bool
) -> bool:
    """Give every lane its quotas, `open_items` in all; false if no share can be run now, so that none has any.

    A plan may be out of date: what was `sent` since it was asked for is taken off it, shares of processors that
    are no longer usable are left out, and what remains is scaled to the items that are really open.
    """
    for lane in lanes.values():
        lane.quotas = []
    current = [share for share in shares if _can_run(share, lanes)]
    weights = [max(0, share.items - sent[share.pid, share.variant]) for share in current]
    if not any(weights):
        weights = [share.items for share in current]
    counts = apportion(weights, open_items)
    if not any(counts):
        return False
    _assign_pooled(current, counts, lanes) if pooled else _assign_shares(current, counts, lanes)
    return True


def apportion(weights: Sequence[int], total: int) -> list[int]:
    """Whole numbers in proportion to `weights` that add up to `total` (largest remainder); all 0 without weights."""
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    counts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: total * weights[i] % whole, reverse=True)
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts


def _can_run(share: Share, lanes: Mapping[ProcessorId, Lane]) -> bool:
    lane = lanes.get(share.pid)
    return share.items > 0 and lane is not None and lane.usable and lane.can_run(share.variant)


def _assign_shares(shares: Sequence[Share], counts: Sequence[int], lanes: Mapping[ProcessorId, Lane]) -> None:
    for share, items in zip(shares, counts, strict=True):
        if items:
            lanes[share.pid].quotas.append(Quota(share.variant, items, {share.pid: share.batch}))
    for lane in lanes.values():
        running = [quota for quota in lane.quotas if quota.variant == lane.variant]
        others = [quota for quota in lane.quotas if quota.variant != lane.variant]
        lane.quotas = running + others  # a new plan is no reason to switch variants earlier than needed


def _assign_pooled(shares: Sequence[Share], counts: Sequence[int], lanes: Mapping[ProcessorId, Lane]) -> None:
    totals: Counter[str] = Counter()
    planned_batch = {(share.pid, share.variant): share.batch for share in shares}
    for share, items in zip(shares, counts, strict=True):
        totals[share.variant] += items
    for variant, items in totals.items():
        takers = [lane for lane in lanes.values() if lane.usable and lane.can_run(variant)]
        batches = {
            lane.pid: planned_batch.get((lane.pid, variant), lane.profiles[variant].best_batch) for lane in takers
        }
        quota = Quota(variant, items, batches)
        for lane in takers:
            lane.quotas.append(quota)
