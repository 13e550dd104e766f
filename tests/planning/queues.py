"""A discrete-event simulation of the queues that a stream meets, independent of how the planner sees them."""

from __future__ import annotations

import numpy as np

from equipoise.core.cluster import Cluster
from equipoise.core.stream import Route, StreamPlan

Floats = np.ndarray


def simulate(
    cluster: Cluster, plan: StreamPlan, *, items: int, seed: int, speed_up: float = 1.0
) -> dict[Route, Floats]:
    """Seconds from arrival to answer of each item, by the route it took, once the queues have filled.

    Items arrive at random, `speed_up` times as fast as planned. The processors of a node share its link, first come
    first served, and each serves one item at a time in the order in which they come over.
    """
    rng = np.random.default_rng(seed)
    arrived_s = rng.exponential(1 / (plan.rate_per_s * speed_up), items).cumsum()
    taken = rng.choice(len(plan.routes), items, p=[route.fraction for route in plan.routes])
    service_s, transfer_s = np.zeros(items), np.zeros(items)
    for r, route in enumerate(plan.routes):
        profile = cluster.profile(route.pid, route.variant)
        stddev_s = profile.latency_stddev_s.get(1, 0.0)
        service_s[taken == r] = log_normal(rng, profile.latency_s[1], stddev_s, (taken == r).sum())
        link = cluster.node(route.node).link
        transfer_s[taken == r] = cluster.variant(route.variant).input_bytes / link.bandwidth_bytes_per_s
    done_s = np.zeros(items)
    for node in cluster.nodes:
        here = np.flatnonzero(np.isin(taken, [r for r, route in enumerate(plan.routes) if route.node == node.name]))
        sent_s = first_come_first_served(arrived_s[here], transfer_s[here]) + node.link.latency_s
        for pid in {route.pid for route in plan.routes if route.node == node.name}:
            there = np.isin(taken[here], [r for r, route in enumerate(plan.routes) if route.pid == pid])
            done_s[here[there]] = first_come_first_served(sent_s[there], service_s[here[there]])
    took_s = (done_s - arrived_s)[items // 20 :]
    return {route: took_s[taken[items // 20 :] == r] for r, route in enumerate(plan.routes)}


def first_come_first_served(arrived_s: Floats, service_s: Floats) -> Floats:
    """When each item leaves a queue with one server."""
    work_s = service_s.cumsum()
    return work_s + np.maximum.accumulate(arrived_s - (work_s - service_s)) if len(work_s) else work_s


def late_fraction(took_s: Floats, latency_s: float) -> tuple[float, float]:
    """The fraction of items that took longer, and its standard error.

    Items that are late come in bunches, so the error is that of the means of thirty stretches of the run.
    """
    late = [(stretch > latency_s).mean() for stretch in np.array_split(took_s, 30)]
    return float(np.mean(late)), float(np.std(late) / np.sqrt(len(late) - 1))


def log_normal(rng: np.random.Generator, mean: float, stddev: float, count: int) -> Floats:
    variance = np.log1p((stddev / mean) ** 2)
    return mean * np.exp(np.sqrt(variance) * rng.standard_normal(count) - variance / 2)
