"""Processors as a policy sees them, for tests."""

from __future__ import annotations

from equipoise.core.cluster import ProcessorId, Profile
from equipoise.dispatch.router import Answered, Seen, Situation


def board(name: str, in_flight: int = 0, *, free_s: float = 0.0, usable: bool = True, **item_s: float) -> Seen:
    """One processor of the node `name`; seconds per item of each variant, at batch 1."""
    profiles = {variant: Profile(variant=variant, latency_s={1: seconds}) for variant, seconds in item_s.items()}
    pid = ProcessorId(name, "cpu")
    return Seen(pid=pid, profiles=profiles, usable=usable, in_flight_items=in_flight, free_s=free_s)


def now(*processors: Seen, **more: float) -> Situation:
    return Situation(processors=processors, **more)


def answered(name: str, response_s: float, *, variant: str = "v", now_s: float = 0.0, ahead: int = 0) -> Answered:
    pid = ProcessorId(name, "cpu")
    return Answered(now_s=now_s, pid=pid, variant=variant, items=1, ahead_items=ahead, response_s=response_s)
