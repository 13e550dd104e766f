"""What a cluster can take of a stream: every processor's best mixes, and how to divide a rate among them.

Rates are items per allowance, as in stations.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from equipoise.core.cluster import Cluster, ProcessorId
from equipoise.core.plan import Conditions
from equipoise.planning.fluid import fill, least_time_s
from equipoise.planning.hulls import Hulls, upper_hulls
from equipoise.planning.stations import Station, services
from equipoise.planning.waiting import Floats

Ints = npt.NDArray[np.int64]

_CELLS = 240  # of a rate that is divided whole; many divisors, so that equal boards can get equal parts
_TABULATED = 32  # processors at most; among more, one that is off its hull hardly counts
_HALVINGS = 40
_PRECISION = 1e-6  # relative, of the largest rate
_ROUNDING = 1e-12  # relative: what floating-point error may cost
TOLERANCE = 1e-9  # relative, of a promise


@dataclass(frozen=True, kw_only=True)
class Menu:
    """What a station offers: the more it takes, the less accurate. Both arrays (M,) strictly monotone."""

    station: Station
    mixes: Floats  # (M, V)
    limit: Floats  # rising
    accuracy: Floats  # falling

    @classmethod
    def of(cls, station: Station) -> Menu:
        """The mixes that no other one beats in both limit and accuracy, after a closer look between those."""
        coarse = cls._undominated(station, station.alone_and_in_pairs())
        corners = np.unique(_hulls_of([(1.0 / coarse.limit, coarse.accuracy)]).rung)
        mixes = station.between_neighbours(coarse.mixes, coarse.mixes[corners])
        return cls._undominated(station, mixes)

    @classmethod
    def _undominated(cls, station: Station, mixes: Floats) -> Menu:
        limit, accuracy = station.limits(mixes), station.accuracy(mixes)
        order = np.lexsort((-accuracy, -limit))
        best_faster = np.concatenate(([-1.0], np.maximum.accumulate(accuracy[order])[:-1]))
        kept = order[accuracy[order] > best_faster][::-1]
        kept = kept[limit[kept] > 0]
        return cls(station=station, mixes=mixes[kept], limit=limit[kept], accuracy=accuracy[kept])

    @property
    def top(self) -> float:
        """The largest rate on offer."""
        return float(self.limit[-1]) if len(self.limit) else 0.0

    def course(self, rate: Floats) -> Ints:
        """The most accurate mix that takes each of these rates; the number of mixes where none does."""
        return self.limit.searchsorted(rate * (1 - _ROUNDING))

    def value(self, rate: Floats) -> Floats:
        """Accuracy x rate of that mix; -inf where none takes it."""
        accuracy = np.append(self.accuracy, -np.inf)[self.course(rate)]
        return np.where(rate > 0, accuracy * np.where(rate > 0, rate, 1.0), 0.0)


class Load(NamedTuple):
    """What one processor gets."""

    pid: ProcessorId
    station: Station
    mix: Floats  # (1, V)
    rate: float

    @property
    def value(self) -> float:
        """Accuracy x rate."""
        return self.rate * float(self.station.accuracy(self.mix)[0])


class Division(NamedTuple):
    """A rate, divided among processors."""

    loads: tuple[Load, ...]

    @property
    def rate(self) -> float:
        """Items per allowance in total."""
        return sum(load.rate for load in self.loads)

    @property
    def accuracy(self) -> float:
        """Expected, over all items."""
        return sum(load.value for load in self.loads) / self.rate

    def thinned(self, rate: float) -> Division:
        """The same fractions at a lower rate, which makes every wait shorter."""
        factor = rate / self.rate
        return Division(tuple(load._replace(rate=load.rate * factor) for load in self.loads))


class Capacity:
    """A cluster at an allowance and a confidence. Nothing kept here depends on the rate or the floor asked for."""

    def __init__(self, cluster: Cluster, conditions: Conditions, item_latency_s: float, confidence: float) -> None:
        given = list(services(cluster, conditions))
        self._pids = [one.pid for one in given]
        self._figures = [one.figures for one in given]
        # Equal boards are worked out once.
        self._alike = {one.figures: Station(one, item_latency_s, confidence) for one in given}

    @cached_property
    def _menus(self) -> list[Menu]:
        menus = {figures: Menu.of(station) for figures, station in self._alike.items()}
        return [menus[figures] for figures in self._figures]

    @cached_property
    def _offers(self) -> tuple[Floats, Floats]:
        """Limits and accuracies of all menus, (P, M + 1); inf and -inf beyond the end of each."""
        shape = (len(self._menus), 1 + max(len(menu.limit) for menu in self._menus))
        limit, accuracy = np.full(shape, np.inf), np.full(shape, -np.inf)
        for row, menu in enumerate(self._menus):
            limit[row, : len(menu.limit)], accuracy[row, : len(menu.limit)] = menu.limit, menu.accuracy
        return limit, accuracy

    @cached_property
    def _hulls(self) -> Hulls:
        return _hulls_of([(1.0 / menu.limit, menu.accuracy) for menu in self._menus])

    @cached_property
    def _relaxed(self) -> Hulls:
        return _hulls_of([self._alike[figures].relaxed for figures in self._figures])

    def most_accurate(self, rate: float) -> Division | None:
        """The most accurate division of this rate that is found; None if it is too much."""
        rates = self._best(rate)
        return self._divided(rates) if rates is not None else None

    def largest(self, floor: float) -> Division | None:
        """The largest rate that keeps the floor, divided; None if none does.

        A rate that can be had can be had thinned, so the search may halve.
        """
        low, high, best = 0.0, sum(menu.top for menu in self._menus), None
        at = high
        for _ in range(_HALVINGS):
            rates = self._best(at) if at > 0 else None
            if rates is not None and self._values(rates).sum() >= floor * at * (1 - TOLERANCE):
                low, best = at, rates
            else:
                high = at
            if high - low <= _PRECISION * low:
                break
            at = (low + high) / 2
        return self._divided(best) if best is not None else None

    def accuracy_bound(self, rate: float) -> float | None:
        """What no division of this rate can be more accurate than; None if no division can exist."""
        filled = fill(self._relaxed, np.ones(len(self._pids)), rate)
        return None if filled is None else filled.gain / rate

    def rate_bound(self, floor: float) -> float:
        """What no rate that keeps this floor can exceed."""
        none_waits, at_once = np.ones(len(self._pids)), np.zeros(len(self._pids))
        if not len(self._relaxed.slope):
            return 0.0
        return 1.0 / least_time_s(self._relaxed, at_once, none_waits, 1.0, floor)

    def _divided(self, rates: Floats) -> Division:
        mixes = self._course(rates)
        return Division(
            tuple(
                Load(
                    self._pids[p],
                    self._menus[p].station,
                    self._menus[p].mixes[mixes[p] : mixes[p] + 1],
                    float(rates[p]),
                )
                for p in np.flatnonzero(rates > 0)
            )
        )

    def _best(self, rate: float) -> Floats | None:
        """(P,) of each processor, in the most accurate division that is found; None if there is none."""
        candidates = [self._along_hulls(rate)]
        if len(self._menus) <= _TABULATED:
            candidates.append(self._in_cells(rate))
        found = [self._exchanged(rates) for rates in candidates if rates is not None]
        best = max(found, key=lambda rates: float(self._values(rates).sum()), default=None)
        return best if best is not None and np.isfinite(self._values(best).sum()) else None

    def _exchanged(self, rates: Floats) -> Floats:
        """The same, or better: all mixes used up to their limits, and what that brings taken off one processor."""
        limit = self._offers[0][np.arange(len(rates)), self._course(rates)]
        full = np.where((rates > 0) & np.isfinite(limit), limit, rates)
        less = rates - (full.sum() - rates.sum() - (full - rates))
        worth, left = self._values(full), self._values(np.maximum(less, 0.0))
        with np.errstate(invalid="ignore"):  # a processor with more than any of its mixes can take is worth -inf
            totals = np.where((less > 0) & (less < rates), worth.sum() - worth + left, -np.inf)
        one = int(np.nan_to_num(totals, nan=-np.inf).argmax())
        return np.where(np.arange(len(full)) == one, less, full) if totals[one] > self._values(rates).sum() else rates

    def _course(self, rates: Floats) -> Ints:
        """(P,) each processor's most accurate mix that takes its rate; beyond its menu where none does."""
        course: Ints = (self._offers[0] < rates[:, None] * (1 - _ROUNDING)).sum(axis=1)
        return course

    def _values(self, rates: Floats) -> Floats:
        """(P,) accuracy x rate of those mixes; -inf where there is none."""
        accuracy = self._offers[1][np.arange(len(rates)), self._course(rates)]
        return np.where(rates > 0, accuracy * np.where(rates > 0, rates, 1.0), 0.0)

    def _along_hulls(self, rate: float) -> Floats | None:
        """By falling slope of the hulls, as fluid.py does. All but one processor end at a corner, which is a mix."""
        filled = fill(self._hulls, np.ones(len(self._menus)), rate)
        return None if filled is None else filled.items

    def _in_cells(self, rate: float) -> Floats | None:
        """By max-plus convolution of what each processor makes of whole cells of the rate.

        Mixing a slow variant into a fast one makes all of them wait, so what a processor offers is no concave
        function of its rate, and several processors may have to stay off their hulls.
        """
        cells = np.arange(_CELLS + 1)
        lag = cells[:, None] - cells
        lag[lag < 0] = -1  # where the table has its padding
        table, choices = np.where(cells > 0, -np.inf, 0.0), []
        for menu in self._menus:
            totals = np.append(table, -np.inf)[lag] + menu.value(cells * rate / _CELLS)
            choices.append(totals.argmax(axis=1))
            table = totals.max(axis=1)
        if table[-1] == -np.inf:
            return None
        counts, left = [], _CELLS
        for choice in reversed(choices):
            counts.append(int(choice[left]))
            left -= counts[-1]
        return np.array(counts[::-1]) * rate / _CELLS


def _hulls_of(points: list[tuple[Floats, Floats]]) -> Hulls:
    """Hulls of (time per item, accuracy) of each processor."""
    width = max(1, *(len(time) for time, _ in points))
    item_time, gain = np.full((len(points), width), np.inf), np.zeros((len(points), width))
    for row, (time, accuracy) in enumerate(points):
        item_time[row, : len(time)], gain[row, : len(time)] = time, accuracy
    return upper_hulls(item_time, gain)
