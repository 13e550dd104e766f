"""How long an item waits for a processor that serves one item at a time: the M/G/1 queue, on a lattice.

Items that arrive at random (Poisson) and are dealt to processors at random arrive at random at each of them, so each is
an M/G/1 queue. By Pollaczek and Khinchine its waiting time is a geometric sum of residual service times R,

    W = R_1 + ... + R_N,    P(N = n) = (1 - rho) rho^n,    P(R > x) = E[(S - x)+] / E[S]

with utilisation rho (Kleinrock, Queueing Systems 1, 1975, ch. 5). Time is cut into CELLS cells. R is spread over the
lattice points so that its mean is kept exactly (local moment matching: Gerber, Insurance: Mathematics and Economics 1,
1982). The distribution of W is read off its generating function (1 - rho) / (1 - rho R(z)), sampled on a circle
(Abate & Whitt, Operations Research Letters 12, 1992). A service time is log-normal with the profile's mean and spread:
positive, and skewed to the right, as measured ones are; without spread it is constant.

Times here are fractions of the horizon, which is 1. Arrays (V,) are over variants, (V, CELLS) over lattice points
i / CELLS as well, (V, TERMS) over points of the circle.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

CELLS = 128
TERMS = CELLS // 2 + 1  # the rest of the circle is the complex conjugate

# What lies a whole turn further is read with weight 1e-7, and rounding errors are 1e7 times as large.
_TILT = 1e-7 ** (np.arange(CELLS) / CELLS)
_CONSTANT = 1e-9  # spread, relative to the mean, below which a time is taken to be constant
_erf = np.vectorize(math.erf, otypes=[np.float64])


def residual_cells(mean: Floats, stddev: Floats) -> Floats:
    """(V, CELLS) probabilities of the residual service time; what lies beyond the horizon is left out."""
    return cells_of(residual_tails(mean, stddev))


def residual_tails(mean: Floats, stddev: Floats) -> Floats:
    """(V, CELLS) probability that the residual service time is beyond a cell, averaged over the cell."""
    edges = np.broadcast_to(np.arange(CELLS + 1) / CELLS, (len(mean), CELLS + 1))
    first, second = _capped_moments(edges, mean, stddev)
    # The integral of E[min(S, u)] for u from 0 to x is E[x min(S, x) - min(S, x)^2 / 2].
    tails: Floats = 1.0 - np.diff(edges * first - second / 2) * CELLS / mean[:, None]
    return tails


def cells_of(tails: Floats) -> Floats:
    """Lattice probabilities (..., CELLS) whose tails these are."""
    return -np.diff(tails, axis=-1, prepend=1.0)


def served_cells(left: Floats, mean: Floats, stddev: Floats) -> Floats:
    """(V, CELLS) how probably a service is over in time after a wait of i / CELLS, with `left` (V,) for both.

    Averaged over the cell around each lattice point, as the wait is; there is no wait below 0.
    """
    edges = np.maximum(left[:, None] - (np.arange(CELLS + 1) - 0.5) / CELLS, 0.0)
    over = edges - _capped_moments(edges, mean, stddev)[0]
    served = -np.diff(over) * CELLS
    served[:, 0] = served_within(left, mean, stddev)
    return served


def served_within(left: Floats, mean: Floats, stddev: Floats) -> Floats:
    """P(S <= left), elementwise."""
    spread = stddev > _CONSTANT * mean
    served = (left >= mean).astype(np.float64)
    if spread.any():
        served[spread] = _normal(_standardised(left[spread], mean[spread], stddev[spread])[0])
    return served


def transform(cells: Floats) -> Complexes:
    """(..., TERMS) generating function of lattice probabilities (..., CELLS) on the circle."""
    return np.fft.rfft(cells * _TILT)


def reading(values: Floats) -> Complexes:
    """(..., TERMS) weights r for which Re sum r * transform(p) = sum values * p, for lattice probabilities p."""
    weights: Complexes = np.fft.rfft(values / _TILT).conj() / CELLS
    weights[..., 1:-1] *= 2
    return weights


def waiting(utilisation: Floats, residual: Complexes) -> Complexes:
    """Transform of the waiting time, from that of the residual service time (..., TERMS)."""
    rho = utilisation[..., None]
    growing = 1.0 - rho * residual
    # Written out, division by a complex number is several times as fast.
    found: Complexes = growing.conj() * ((1.0 - rho) / (growing.real**2 + growing.imag**2))
    return found


def waiting_cells(utilisation: float, residual: Floats) -> Floats:
    """(CELLS,) probabilities of the waiting time by the recursion p_i = rho sum_j R_j p_(i-j), without transforms.

    Panjer, ASTIN Bulletin 12, 1981.
    """
    wait = np.zeros(len(residual))
    scale = 1.0 - utilisation * residual[0]
    wait[0] = (1.0 - utilisation) / scale
    for i in range(1, len(residual)):
        wait[i] = utilisation / scale * (residual[1 : i + 1] @ wait[i - 1 :: -1])
    return wait


def _capped_moments(at: Floats, mean: Floats, stddev: Floats) -> tuple[Floats, Floats]:
    """E[min(S, x)] and E[min(S, x)^2] at x = `at` (V, points) >= 0."""
    constant = np.minimum(at, mean[:, None])
    first, second = constant, constant**2
    spread = stddev > _CONSTANT * mean
    if spread.any():
        first, second = first.copy(), second.copy()
        first[spread], second[spread] = _capped_log_normal(at[spread], mean[spread, None], stddev[spread, None])
    return first, second


def _capped_log_normal(at: Floats, mean: Floats, stddev: Floats) -> tuple[Floats, Floats]:
    z, sigma = _standardised(at, mean, stddev)
    beyond = 1.0 - _normal(z)
    first = mean * _normal(z - sigma) + at * beyond
    second = (mean**2 + stddev**2) * _normal(z - 2 * sigma) + at**2 * beyond
    return first, second


def _standardised(at: Floats, mean: Floats, stddev: Floats) -> tuple[Floats, Floats]:
    """(ln x - mu) / sigma and sigma of the log-normal with this mean and standard deviation."""
    variance = np.log1p((stddev / mean) ** 2)
    sigma = np.sqrt(variance)
    with np.errstate(divide="ignore"):
        z: Floats = (np.log(np.maximum(at, 0.0)) - np.log(mean) + variance / 2) / sigma
    return z, sigma


def _normal(z: Floats) -> Floats:
    found: Floats = 0.5 * (1.0 + _erf(z / math.sqrt(2)))
    return found
