"""Gains in words."""

from __future__ import annotations


def percent(fraction: float, digits: int = 1) -> str:
    """`79.5 %`."""
    return f"{_hundredths(fraction, digits, '')} %"


def signed_percent(fraction: float | None, digits: int = 1) -> str:
    """`+27.8 %`; a dash for None."""
    return "-" if fraction is None else f"{_hundredths(fraction, digits, '+')} %"


def signed_points(fraction: float | None, digits: int = 2) -> str:
    """A difference of accuracies in points, `+1.26`; a dash for None."""
    return "-" if fraction is None else _hundredths(fraction, digits, "+")


def _hundredths(fraction: float, digits: int, sign: str) -> str:
    """What is rounded away has no sign."""
    text = f"{100 * fraction:{sign},.{digits}f}"
    return text if float(text.replace(",", "")) else f"{0:.{digits}f}"
