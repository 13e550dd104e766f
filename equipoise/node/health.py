"""What the system tells of a board's heat: temperature, and whether the CPU is held back because of it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_ZONES = Path("/sys/class/thermal")
_CPUS = Path("/sys/devices/system/cpu")
_HELD_BACK = 0.95  # of the frequency that the CPU may have


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """None is what the system does not tell. `throttled`: some core may not run as fast as it is built to."""

    temperature_c: float | None = None
    throttled: bool | None = None


def read_health(zones: Path = _ZONES, cpus: Path = _CPUS) -> Health:
    """The hottest thermal zone, and whether the frequency of a core is capped below what its hardware allows."""
    temperatures_c = [reading / 1000 for reading in _numbers(zones.glob("thermal_zone*/temp"))]
    allowed = _numbers(cpus.glob("cpu[0-9]*/cpufreq/scaling_max_freq"))
    built_for = _numbers(cpus.glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq"))
    throttled = None
    if allowed and len(allowed) == len(built_for):
        throttled = any(now < _HELD_BACK * most for now, most in zip(allowed, built_for, strict=True))
    return Health(temperature_c=max(temperatures_c, default=None), throttled=throttled)


def _numbers(files: Iterable[Path]) -> list[float]:
    found = []
    for file in sorted(files):
        with suppress(OSError, ValueError):
            found.append(float(file.read_text(encoding="ascii")))
    return found
