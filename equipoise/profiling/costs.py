"""What a call costs, of inferring its batch and of preparing its items."""

from __future__ import annotations

from equipoise.engines.processors import CPU_PROVIDER, LocalProcessor, usable_cpus


def call_cost_s(processor: LocalProcessor, *, infer_s: float, prepare_s: float) -> float:
    """Seconds of a call on a processor that infers one after the other; `prepare_s` is its items', on one thread.

    A CPU infers and prepares with the same cores, so they add up; beside an accelerator the CPU prepares, so the slower
    of the two counts.
    """
    if processor.provider == CPU_PROVIDER:
        return infer_s + prepare_s / processor.threads
    return max(infer_s, prepare_s / len(usable_cpus()))
