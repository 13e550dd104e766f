from __future__ import annotations

import threading
from pathlib import Path

import pytest

from equipoise.engines.processors import CPU_PROVIDER, core_kinds, local_processors, pinned, usable_cpus
from equipoise.errors import UsageError


def test_the_cpu_is_one_processor_with_all_usable_cores():
    cpu = local_processors()[0]

    assert (cpu.name, cpu.provider, cpu.threads, cpu.cpus) == ("cpu", CPU_PROVIDER, len(usable_cpus()), None)


def test_a_split_cpu_is_several_pinned_processors():
    every = usable_cpus()
    groups = [[every[0]], list(every[1:])] if len(every) > 1 else [[every[0]]]

    processors = [p for p in local_processors(groups) if p.provider == CPU_PROVIDER]

    assert [p.name for p in processors] == [f"cpu{number}" for number in range(len(groups))]
    assert [list(p.cpus or ()) for p in processors] == groups
    assert [p.threads for p in processors] == [len(group) for group in groups]


@pytest.mark.parametrize(
    ("groups", "says"),
    [([], "no parts"), ([[]], "empty"), ([[100_000]], "CPU 100000 cannot be used"), ([[0], [0]], "CPU 0 stands twice")],
)
def test_a_split_that_makes_no_sense_is_refused(groups: list[list[int]], says: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("equipoise.engines.processors.usable_cpus", lambda: (0, 1))

    with pytest.raises(UsageError, match=says):
        local_processors(groups)


def test_pinning_holds_for_the_block_and_for_threads_started_in_it():
    before = usable_cpus()
    seen: list[tuple[int, ...]] = []

    with pinned(before[-1:]):
        thread = threading.Thread(target=lambda: seen.append(usable_cpus()))
        thread.start()
        thread.join()
        seen.append(usable_cpus())

    assert seen == [before[-1:], before[-1:]]
    assert usable_cpus() == before


def cores(folder: Path, file: str, *figures: int | None) -> Path:
    """What the system tells of cores 0, 1, ...; None is nothing."""
    for cpu, figure in enumerate(figures):
        path = folder / f"cpu{cpu}" / file
        path.parent.mkdir(parents=True)
        if figure is not None:
            path.write_text(f"{figure}\n")
    return folder


CAPACITY, FREQUENCY = "cpu_capacity", "cpufreq/cpuinfo_max_freq"


@pytest.mark.parametrize(
    ("file", "figures", "kinds"),
    [
        (CAPACITY, (539, 539, 1024, 1024), ((2, 3), (0, 1))),  # LITTLE first, as boards number them
        (FREQUENCY, (5_200_000, 5_300_000, 3_800_000, 3_800_000), ((0, 1), (2, 3))),  # a favoured core is no kind
        (CAPACITY, (1024, 420, 760, 1024), ((0, 3), (2,), (1,))),
        (CAPACITY, (1024, 1024, 1024, 1024), ((0, 1, 2, 3),)),
        (FREQUENCY, (1_800_000, 1_800_000, None, 1_800_000), ((0, 1, 2, 3),)),  # the system does not tell of all
        ("other", (1, 2, 3, 4), ((0, 1, 2, 3),)),
    ],
)
def test_big_and_little_cores_are_told_apart(
    file: str,
    figures: tuple[int | None, ...],
    kinds: tuple[tuple[int, ...], ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("equipoise.engines.processors.usable_cpus", lambda: (0, 1, 2, 3))

    assert core_kinds(cores(tmp_path, file, *figures)) == kinds


def test_only_cores_that_may_be_used_are_sorted_by_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("equipoise.engines.processors.usable_cpus", lambda: (1, 2))

    assert core_kinds(cores(tmp_path, CAPACITY, 539, 539, 1024, 1024)) == ((2,), (1,))
