"""What nobody could beat under drift who knew what would happen: the limit beside every strategy's promises."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import msgspec

from equipoise.core.cluster import Cluster
from equipoise.lab.drift import DRIFTS, scenario
from equipoise.simulation.clairvoyant import Limit, limits


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """The limit of one drift, over all runs.

    keepable   of how many requests both promises could be kept
    accuracy   the median of the best possible within the deadline; None if there is none in any run
    """

    drift: str
    requests: int
    keepable: int
    accuracy: float | None

    @property
    def value(self) -> float:
        """The fraction that can be kept."""
        return self.keepable / self.requests


def foreseen(cluster: Cluster, runs: int) -> Iterator[Foreseen]:
    """The limit of every drift, for the same requests and the same luck that the strategies meet."""
    for drift in DRIFTS:
        known: list[Limit] = []
        for seed in range(runs):
            known += limits(cluster, scenario(cluster, drift, seed), seed).requests
        yield Foreseen(
            drift=drift,
            requests=len(known),
            keepable=sum(one.keepable for one in known),
            accuracy=median(found) if (found := [one.accuracy for one in known if one.accuracy is not None]) else None,
        )
