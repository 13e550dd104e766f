"""Ladders: the variants that a processor may mix, slowest first, and which two or three of them make a mixture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEVER_S = 1e200  # finite, so that no item of it takes no time


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Rungs that a processor may mix: every rung with itself and with every faster one. N pairs, T triples.

    Rounding leaves time over that is less than one item's step from the fast rung to the slow one; what lies between
    the two makes a triple of the pair: some of the fast rung's items are lifted to `middle`. Figures of processors
    have an axis of length 1 where a window of counts goes. NEVER_S marks a missing rung or a step that gains nothing.
    """

    slow: Ints  # (N,)
    fast: Ints  # (N,)
    figures: Floats  # (4, P, 1, N) seconds of the fast rung and of the step to the slow one, what each of them gains
    of: Ints  # (T,) the pair of each triple
    middle: Ints  # (T,)
    lifts: Floats  # (2, P, 1, T) seconds of the step from the fast rung to the middle one, and what it gains

    def of_rows(self, rows: list[int]) -> Pairs:
        """Those of some processors."""
        return Pairs(
            slow=self.slow,
            fast=self.fast,
            figures=self.figures[:, rows],
            of=self.of,
            middle=self.middle,
            lifts=self.lifts[:, rows],
        )


@dataclass(slots=True)
class Kept:
    """The last answer about a ladder's processors, for whoever asks again; who asks checks what it was about."""

    answer: object | None = None


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The variants worth mixing on each processor, slowest first, H of them at most.

    Every array has shape (P, H); where a processor has fewer, `item_s` is inf, at the end.
    """

    variant: Ints
    item_s: Floats
    gain: Floats  # what one item is worth: its accuracy, unless another objective says otherwise

    def only(self, rungs: Ints) -> Ladder:
        """Some rungs (P, K) of each processor, slowest first."""
        return Ladder(
            variant=np.take_along_axis(self.variant, rungs, 1),
            item_s=np.take_along_axis(self.item_s, rungs, 1),
            gain=np.take_along_axis(self.gain, rungs, 1),
        )

    @cached_property
    def kept(self) -> Kept:
        """What was worked out last; no answer depends on it, only how soon it is there."""
        return Kept()

    @cached_property
    def pairs(self) -> Pairs:
        """What may be mixed."""
        rungs = self.item_s.shape[1]
        slow, fast, of, middle = _combinations(rungs)
        item_s, gain = np.minimum(self.item_s, NEVER_S)[:, None, :], self.gain[:, None, :]
        fast_s, fast_gain = item_s[:, :, fast], gain[:, :, fast]
        step_s, step_gain = _steps(item_s[:, :, slow], fast_s), gain[:, :, slow] - fast_gain
        lift_s, lift_gain = _steps(item_s[:, :, middle], fast_s[:, :, of]), gain[:, :, middle] - fast_gain[:, :, of]
        return Pairs(
            slow=slow,
            fast=fast,
            figures=np.stack((fast_s, step_s, fast_gain, step_gain)),
            of=of,
            middle=middle,
            lifts=np.stack((lift_s, lift_gain)),
        )


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """Figures of a fleet (P, H) by the rungs of a ladder."""

    call_s: Floats  # seconds of a whole call at profile speed
    input_bytes: Floats  # of an item
    memory_bytes: Floats
    calls: (
        Floats  # (3, P, H) batch, seconds of a whole call (NEVER_S at most), where incomplete calls begin in `rest_s`
    )


def ladder_of(item_s: Floats, gain: Floats, *, variant: Ints | None = None) -> Ladder:
    """A ladder of all variants (P, V) that are not inf in `item_s`, with what an item of each is worth.

    variant   (V,) which the columns are, unless they are all of a fleet's
    """
    variant = np.arange(item_s.shape[1]) if variant is None else variant
    rungs = max(1, int(np.isfinite(item_s).sum(axis=1).max()))
    slowest_first = np.argsort(np.where(np.isfinite(item_s), -item_s, np.inf), axis=1, kind="stable")[:, :rungs]
    return Ladder(
        variant=np.take_along_axis(np.broadcast_to(variant, item_s.shape), slowest_first, 1),
        item_s=np.take_along_axis(item_s, slowest_first, 1),
        gain=np.take_along_axis(np.broadcast_to(gain, item_s.shape), slowest_first, 1),
    )


@lru_cache(maxsize=64)
def _combinations(rungs: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Slow and fast rung of each pair; pair and middle rung of each triple."""
    slow, fast = np.triu_indices(rungs)
    of, middle = np.nonzero((slow[:, None] < np.arange(rungs)) & (np.arange(rungs) < fast[:, None]))
    return slow, fast, of, middle


def _steps(slow_s: Floats, fast_s: Floats) -> Floats:
    """Seconds more per item; NEVER_S where there are none, or a rung is missing."""
    step_s = slow_s - fast_s
    return np.where((step_s > 0) & (slow_s < NEVER_S), step_s, NEVER_S)
