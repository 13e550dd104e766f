"""Which variants of a family are worth having: those on the front of accuracy against time."""

from __future__ import annotations

from collections.abc import Mapping


def dominators(accuracy: Mapping[str, float], item_s: Mapping[str, float]) -> dict[str, str]:
    """For each variant off the front the most accurate one that beats it, of equals the fastest.

    One variant beats another if it is at least as accurate and at least as fast, and better in one of them.
    Variants that `accuracy` or `item_s` lacks neither beat nor are beaten.
    """
    known = [variant for variant in accuracy if variant in item_s]
    found: dict[str, str] = {}
    for variant in known:
        own = (accuracy[variant], -item_s[variant])
        scores = {other: (accuracy[other], -item_s[other]) for other in known}
        better = [
            other
            for other, score in scores.items()
            if score != own and all(mine <= theirs for mine, theirs in zip(own, score, strict=True))
        ]
        if better:
            found[variant] = max(better, key=lambda other: scores[other])
    return found
