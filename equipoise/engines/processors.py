"""The processors of this machine: its CPU, whole or split, and the accelerators that onnxruntime can use."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from equipoise.errors import UsageError

CPU_PROVIDER = "CPUExecutionProvider"

_CPUS = Path("/sys/devices/system/cpu")
# What tells kinds of cores apart: the kernel's own measure of what they do, or else their highest frequency.
_STRENGTH_FILES = ("cpu_capacity", "cpufreq/cpuinfo_max_freq")
_SAME_KIND = 0.85  # of the strongest of a kind: single cores of some desktop CPUs are allowed a little more than others


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalProcessor:
    """A processor of this machine; `provider` is onnxruntime's name for what drives it.

    `cpus` are the CPUs that its `threads` are pinned to, None for wherever the system puts them.
    """

    name: str
    provider: str = CPU_PROVIDER
    threads: int = 1
    cpus: tuple[int, ...] | None = None


def local_processors(split_cpu: Sequence[Sequence[int]] | None = None) -> tuple[LocalProcessor, ...]:
    """This machine's processors, the CPU first.

    The CPU is one processor, "cpu", with all cores that this process may use; with `split_cpu` each group of
    CPU numbers becomes a processor of its own ("cpu0", "cpu1", ...), pinned to them. A device that several
    providers drive is listed once, because it still does one thing at a time.

    Raises UsageError if a group is empty, overlaps another or names a CPU that this process may not use.
    """
    if split_cpu is None:
        return (whole_cpu(), *_accelerators())
    groups = _checked_groups(split_cpu, usable_cpus())
    parts = (LocalProcessor(name=f"cpu{n}", threads=len(group), cpus=group) for n, group in enumerate(groups))
    return (*parts, *_accelerators())


def processors_named(names: str | None, split_cpu: Sequence[Sequence[int]] | None = None) -> tuple[LocalProcessor, ...]:
    """This machine's processors of these comma-separated names, or all. Raises UsageError for an unknown name."""
    here = {processor.name: processor for processor in local_processors(split_cpu)}
    if names is None:
        return tuple(here.values())
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",")))
    unknown = [name for name in wanted if name not in here]
    if unknown:
        raise UsageError(f"this machine has no processor {unknown[0]!r}; it has: {', '.join(here)}")
    return tuple(here[name] for name in wanted)


def whole_cpu() -> LocalProcessor:
    """The CPU as one processor with every core that this process may use."""
    return LocalProcessor(name="cpu", threads=len(usable_cpus()))


def usable_cpus() -> tuple[int, ...]:
    """The numbers of the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def core_kinds(folder: Path = _CPUS) -> tuple[tuple[int, ...], ...]:
    """The CPUs that this process may use by kind of core, the strongest kind first, as in big and LITTLE.

    All of them are one kind if they are equal, or the system does not tell.
    """
    usable = usable_cpus()
    for file in _STRENGTH_FILES:
        strengths = {cpu: _number_in(folder / f"cpu{cpu}" / file) for cpu in usable}
        if all(strengths.values()):
            return _kinds(strengths)
    return (usable,)


def pin(cpus: tuple[int, ...] | None) -> None:
    """Keep the calling thread on `cpus` from now on; None leaves it where the system puts it."""
    if cpus is not None:
        os.sched_setaffinity(0, cpus)


@contextmanager
def pinned(cpus: tuple[int, ...] | None) -> Iterator[None]:
    """Keep the calling thread, and the threads that it starts meanwhile, on `cpus`."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _kinds(strengths: Mapping[int, float]) -> tuple[tuple[int, ...], ...]:
    kinds: list[list[int]] = []
    strongest = 0.0
    for cpu in sorted(strengths, key=lambda cpu: (-strengths[cpu], cpu)):
        if not kinds or strengths[cpu] < _SAME_KIND * strongest:
            kinds.append([])
            strongest = strengths[cpu]
        kinds[-1].append(cpu)
    return tuple(tuple(sorted(kind)) for kind in kinds)


def _number_in(file: Path) -> float:
    """What stands in it; 0 if that is no number, or there is no such file."""
    with suppress(OSError, ValueError):
        return float(file.read_text(encoding="ascii"))
    return 0.0


def _checked_groups(split_cpu: Sequence[Sequence[int]], usable: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("the CPU cannot be split here: this system does not pin threads to CPUs")
    groups = tuple(tuple(group) for group in split_cpu)
    taken: set[int] = set()
    for group in groups:
        if not group:
            raise UsageError("a part of the split CPU is empty; give every part at least one CPU number")
        for cpu in group:
            if cpu not in usable:
                raise UsageError(f"CPU {cpu} cannot be used here; usable: {', '.join(map(str, usable))}")
            if cpu in taken:
                raise UsageError(f"CPU {cpu} stands twice in the split; each CPU belongs to one part")
            taken.add(cpu)
    if not groups:
        raise UsageError("the CPU is split into no parts; give at least one")
    return groups


def _accelerators() -> tuple[LocalProcessor, ...]:
    if importlib.util.find_spec("onnxruntime") is None:
        return ()
    from equipoise.engines.onnx import working_accelerators  # noqa: PLC0415 - keeps onnxruntime out of `plan`

    return tuple(LocalProcessor(name=name, provider=provider) for name, provider in working_accelerators())
