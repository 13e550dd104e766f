"""What figures may be: wide enough for every board there is, narrow enough that nothing computed of them overflows.

A figure outside its range is a mistake (a wrong unit, an empty cell, a division by zero). It is refused where it
enters, before anything is planned with it.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Range(NamedTuple):
    """Figures from `least` to `most`, both included."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"from {self.least:.15g} to {self.most:.15g}"


CALL_S = Range(1e-7, 1e5)  # one call: from a hundred clock ticks to a day
SECONDS = Range(0, 1e5)  # loading, waiting for a link, scatter
BATCH = Range(1, 4096)  # what incomplete calls cost is tabulated up to the largest batch
CONTENTION = Range(1, 1000)  # times longer
INPUT_BYTES = Range(0, 1e9)  # of one item
BYTES = Range(0, 1e15)
BYTES_PER_S = Range(1, 1e15)
WATTS = Range(0, 1e6)
ACCURACY_ITEMS = Range(1, 1e12)
ITEMS = Range(1, 1e9)
ASKED = Range(1e-12, 1e30)  # seconds, items per second, joules or watts; more than any plan can come to
MOST_VARIANTS = 10_000  # planned in milliseconds; a million takes seconds to read alone
MOST_NODES = 100_000
MOST_PAIRS = 4_000_000  # of processor and variant: tables of them have to fit into memory
_MOST_NAME = 200  # characters


def refuse_outside(name: str, value: float, allowed: Range) -> None:
    """Raise ValueError, naming the figure, its range and its value, unless the value lies in its range."""
    if not allowed.least <= value <= allowed.most:  # also refuses NaN
        raise ValueError(f"{name} must be {allowed}, not {value}")


def refuse_unless_positive(name: str, value: float) -> None:
    """Raise ValueError unless this is a positive, finite number."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive, finite number, not {value}")


def refuse_unaskable(name: str, value: float) -> None:
    """Raise ValueError unless this can be asked for: a positive, finite number of a possible size."""
    refuse_unless_positive(name, value)
    refuse_outside(name, value, ASKED)


def refuse_more(what: str, count: int, most: int) -> None:
    """Raise ValueError if there are more than `most`."""
    if count > most:
        raise ValueError(f"{count} {what} are too many to plan with; at most {most} can be")


def refuse_unprintable(what: str, name: str) -> None:
    """Raise ValueError unless the name can be shown: neither empty nor endless, no line ends, no terminal commands."""
    if not 1 <= len(name) <= _MOST_NAME:
        raise ValueError(f"the name of a {what} must have 1 to {_MOST_NAME} characters, not {len(name)}")
    if not name.isprintable():
        raise ValueError(f"{what} {name!r} has characters in its name that cannot be printed; rename it")
