"""An independent checker of plans: what their shares cost, worked out again from the description alone.

It shares no code with equipoise.planning: it reads the cluster as the plain dictionaries that its JSON file holds, and
follows docs/planning.md, item by item and call by call, slowly.
"""

from __future__ import annotations

import itertools
import json
import math
from statistics import NormalDist
from typing import Any

import msgspec

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Plan
from equipoise.core.request import Request

TOLERANCE = 1e-6


def described(cluster: Cluster) -> dict[str, Any]:
    """The description as its JSON file holds it; infinite bandwidths are left out, as there."""
    return json.loads(msgspec.json.encode(cluster))


def call_s(profile: dict[str, Any], items: int) -> float:
    """Seconds of one call, on the straight line between the measured sizes on either side."""
    sizes = sorted(int(size) for size in profile["latency_s"])
    seconds = {int(size): s for size, s in profile["latency_s"].items()}
    if items <= sizes[0]:
        return seconds[sizes[0]]
    for low, high in itertools.pairwise(sizes):
        if low <= items <= high:
            return seconds[low] + (seconds[high] - seconds[low]) * (items - low) / (high - low)
    raise ValueError(f"a call of {items} items is larger than any that was measured")


def stddev_s(profile: dict[str, Any], items: int) -> float:
    """That of the largest measured size up to `items`, or of the smallest."""
    known = {int(size): s for size, s in profile.get("latency_stddev_s", {}).items()}
    if not known:
        return 0.0
    return known[max((size for size in known if size <= items), default=min(known))]


def costs(cluster: Cluster, plan: Plan, confidence: float | None = None) -> dict[str, Any]:
    """latency_s, accuracy, energy_j, power_w, items, and the nodes whose memory is exceeded."""
    world = described(cluster)
    variants = {v["name"]: v for v in world["variants"]}
    busy: dict[tuple[str, str], float] = {}
    variance: dict[tuple[str, str], float] = {}
    longest: dict[tuple[str, str], float] = {}
    sent: dict[str, float] = {}
    held: dict[tuple[str, str, str], float] = {}
    for share in plan.shares:
        key = (share.node, share.processor)
        profile = find(world, share.node, share.processor, share.variant)
        left = share.items
        if (*key, share.variant) not in held:
            busy[key] = busy.get(key, 0.0) + profile.get("load_s", 0.0)
        held[(*key, share.variant)] = profile.get("memory_bytes", 0)
        while left > 0:
            now = min(left, share.batch)
            busy[key] += call_s(profile, now)
            variance[key] = variance.get(key, 0.0) + stddev_s(profile, now) ** 2
            left -= now
        weight = profile.get("input_bytes")
        weight = variants[share.variant].get("input_bytes", 0) if weight is None else weight
        if weight:
            sent[share.node] = sent.get(share.node, 0.0) + weight * share.items
            longest[key] = max(longest.get(key, 0.0), call_s(profile, share.batch))
    latency_s = max(
        finish_s(world, key, busy, variance=variance, longest=longest, sent=sent, confidence=confidence) for key in busy
    )
    power_w, energy_j = idle_w(world), 0.0
    for (node, processor), seconds in busy.items():
        watts = processor_of(world, node, processor)
        extra_w = math.nan if watts.get("active_w") is None else watts["active_w"] - (watts.get("idle_w") or 0.0)
        power_w, energy_j = power_w + extra_w, energy_j + extra_w * seconds
    items = sum(share.items for share in plan.shares)
    return {
        "items": items,
        "latency_s": latency_s,
        "accuracy": sum(s.items * accuracy_of(variants[s.variant], confidence) for s in plan.shares) / items,
        "energy_j": energy_j,
        "power_w": power_w,
        "overfull": [
            node["name"]
            for node in world["nodes"]
            if node.get("memory_bytes") is not None
            and sum(size for (name, _, _), size in held.items() if name == node["name"]) > node["memory_bytes"]
        ],
    }


def finish_s(world, key, busy, *, variance, longest, sent, confidence) -> float:
    """When one processor is done."""
    node = next(n for n in world["nodes"] if n["name"] == key[0])
    link = node.get("link", {})
    computed = link.get("latency_s", 0.0) + busy[key]
    if key[0] in sent:
        bandwidth, uplink = link.get("bandwidth_bytes_per_s"), world.get("uplink_bytes_per_s")
        transfer = max(sent[key[0]] / bandwidth if bandwidth else 0.0, sum(sent.values()) / uplink if uplink else 0.0)
        computed = max(computed, link.get("latency_s", 0.0) + transfer + longest.get(key, 0.0))
    scattering = sum(v > 0 for v in variance.values())
    if confidence is None or not scattering:
        return computed
    return computed + NormalDist().inv_cdf(confidence ** (1 / scattering)) * math.sqrt(variance[key])


def accuracy_of(variant: dict[str, Any], confidence: float | None) -> float:
    """The accuracy, or with a confidence the one-sided lower end of its Wilson interval."""
    n, p = variant.get("accuracy_items"), variant["accuracy"]
    if confidence is None or n is None:
        return p
    z = NormalDist().inv_cdf(confidence)
    return (p + z * z / (2 * n) - z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)


def idle_w(world: dict[str, Any]) -> float:
    """What all boards draw while they idle."""
    return sum(processor.get("idle_w") or 0.0 for node in world["nodes"] for processor in node["processors"])


def processor_of(world: dict[str, Any], node: str, processor: str) -> dict[str, Any]:
    """A processor's part of the description."""
    (found,) = (p for n in world["nodes"] if n["name"] == node for p in n["processors"] if p["name"] == processor)
    return found


def find(world: dict[str, Any], node: str, processor: str, variant: str) -> dict[str, Any]:
    """A profile's part of the description."""
    (found,) = (p for p in processor_of(world, node, processor)["profiles"] if p["variant"] == variant)
    return found


def complaints(request: Request, cluster: Cluster, plan: Plan) -> list[str]:
    """What is wrong with a plan: figures that are not what its shares cost, and promises that it says it keeps."""
    wanted = request.requirement
    found = costs(cluster, plan, wanted.confidence)
    wrong = [
        f"{name}: the plan says {getattr(plan, name)}, but it is {found[name]}"
        for name in ("items", "latency_s", "accuracy")
        if not math.isclose(getattr(plan, name), found[name], rel_tol=TOLERANCE)
    ]
    if plan.energy_j is not None and not math.isclose(plan.energy_j, found["energy_j"], rel_tol=TOLERANCE):
        wrong.append(f"energy_j: the plan says {plan.energy_j}, but it is {found['energy_j']}")
    kept = (
        found["items"] == request.items
        and found["latency_s"] <= request.deadline_s * (1 + TOLERANCE)
        and found["accuracy"] >= wanted.min_accuracy - TOLERANCE
        and not found["overfull"]
        and (wanted.max_energy_j is None or found["energy_j"] <= wanted.max_energy_j * (1 + TOLERANCE))
        and (wanted.max_power_w is None or found["power_w"] <= wanted.max_power_w * (1 + TOLERANCE))
    )
    if plan.feasible and not kept:
        wrong.append(f"it is called feasible, but costs {found}")
    return wrong
