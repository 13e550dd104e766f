"""Which processor of a node may hold how much, where the memory does not suffice for everything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_OPTIONS = 256  # per processor, and combinations of some, that are looked at; of more, evenly many


def memory_shares(worth: Floats, needed: Floats, node: Ints, node_memory: Floats) -> Floats:
    """(P,) bytes that each processor may use, so that those of a node fit together.

    worth, needed   (P, H) what a rung would bring and the bytes it takes; worth <= 0 where it is not wanted
    node            (P,) the node of each processor, ascending
    node_memory     (N,) bytes, inf where not limited

    Each processor gets what its rung needs in the combination that is worth most; nobody gets what is left over.
    """
    shares = node_memory[node]
    for n in np.flatnonzero(np.isfinite(node_memory)):
        rows = np.flatnonzero(node == n)
        if len(rows) > 1:
            shares[rows] = _best_split(worth[rows], needed[rows], float(node_memory[n]))
    return shares


def _best_split(worth: Floats, needed: Floats, memory: float) -> Floats:
    """The combination of one rung (or none) per processor that fits and is worth most, as bytes per processor."""
    totals, used = np.zeros(1), np.zeros(1)
    chosen = np.zeros((1, 0))
    for row_worth, row_needed in zip(worth, needed, strict=True):
        wanted = _undominated(row_worth, row_needed, memory)
        wanted = wanted[row_worth[wanted] > 0]
        options_worth = np.concatenate(([0.0], row_worth[wanted]))
        options_bytes = np.concatenate(([0.0], row_needed[wanted]))
        totals = np.add.outer(totals, options_worth).ravel()
        used = np.add.outer(used, options_bytes).ravel()
        before = np.repeat(chosen, len(options_bytes), axis=0)
        chosen = np.column_stack([before, np.tile(options_bytes, len(chosen))])
        kept = _undominated(totals, used, memory)
        totals, used, chosen = totals[kept], used[kept], chosen[kept]
    best: Floats = chosen[int(totals.argmax())]
    return best


def _undominated(totals: Floats, used: Floats, memory: float) -> Ints:
    """Combinations that fit and that none of fewer bytes is worth as much as."""
    order = np.lexsort((-totals, used))
    order = order[used[order] <= memory]
    best_before = np.concatenate(([-np.inf], np.maximum.accumulate(totals[order])[:-1]))
    kept = order[totals[order] > best_before]
    return kept[:: -(-len(kept) // _OPTIONS) or 1]


def with_leftovers(own: Floats, squeeze: Ints, node: Ints, node_memory: Floats) -> Floats:
    """(P,) bytes with what each squeezed node has left over: for all alike and more than once while it is squeezed
    little, then divided, at last for its first processor with work alone.
    """
    bytes_of: Floats = np.minimum(own, node_memory[node])
    for n in np.flatnonzero(squeeze > 0):
        rows = np.flatnonzero(node == n)
        left = node_memory[n] - bytes_of[rows].sum()
        at_work = rows[bytes_of[rows] > 0]
        if squeeze[n] == 1:
            bytes_of[rows] += left
        elif squeeze[n] == 2:
            bytes_of[at_work] += left / max(1, len(at_work))
        elif len(at_work):
            bytes_of[at_work[0]] += left
    return bytes_of


def fit_together(needed: Floats, bytes_of: Floats) -> Bools:
    """(P, H, H) rungs that a processor may both use, of which it needs `needed` (P, H) in `bytes_of` (P,)."""
    both = needed[:, :, None] + needed[:, None, :]
    alone = np.eye(needed.shape[1], dtype=bool) & (needed <= bytes_of[:, None])[:, :, None]
    fits: Bools = (both <= bytes_of[:, None, None]) | alone
    return fits
