"""What this machine can run and how fast, found out by a process of its own.

The libraries that run models take time to import and memory for good; a node that has nothing to run yet does
without. `ask_processors` and `ask_profiles` start such a process, `main` is what runs in it: a question on standard
input, its answers line by line on standard output.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor, processors_named
from equipoise.errors import EquipoiseError, ModelError
from equipoise.profiling.local import TOGETHER, LocalProfiles, known_here, profile_here
from equipoise.profiling.measure import Measurement
from equipoise.profiling.store import ProfileStore


class ProcessorsQuestion(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Which processors are here, of these names and with the CPU split like this; see `processors_named`."""

    names: str | None = None
    split_cpu: tuple[tuple[int, ...], ...] | None = None


class ProfilesQuestion(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What each of these variants of a family costs on each of these processors.

    What is not known yet is measured, or left out unless `measure`.
    """

    family: Family
    processors: tuple[LocalProcessor, ...]
    variants: tuple[str, ...]
    data_folder: Path
    measure: bool = True


class ProcessorsAnswer(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The processors."""

    processors: tuple[LocalProcessor, ...]


class PairAnswer(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What one pair costs, or why it cannot be run."""

    processor: str
    variant: str
    measurement: Measurement | None = None
    failure: str | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Why there is no answer; `exit_code` is that of the error."""

    reason: str
    exit_code: int


Question = ProcessorsQuestion | ProfilesQuestion
Line = ProcessorsAnswer | PairAnswer | Refusal


async def ask_processors(question: ProcessorsQuestion) -> tuple[LocalProcessor, ...]:
    """The processors of this machine. Raises EquipoiseError with what the survey says if there is none such."""
    async with aclosing(_ask(question)) as answers:  # or its process would end some time later
        async for answer in answers:
            if isinstance(answer, ProcessorsAnswer):
                return answer.processors
    raise EquipoiseError("the survey of this machine's processors said nothing")


async def ask_profiles(question: ProfilesQuestion) -> AsyncGenerator[PairAnswer, None]:
    """What each pair costs, as it becomes known. Raises EquipoiseError if the survey ends early."""
    async with aclosing(_ask(question)) as answers:
        async for answer in answers:
            if isinstance(answer, PairAnswer):
                yield answer


async def _ask(question: Question) -> AsyncGenerator[Line, None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "equipoise.node.survey",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 24,
        start_new_session=True,  # Ctrl-C is for the node
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.ensure_future(process.stderr.read())
    try:
        process.stdin.write(msgspec.json.encode(question, enc_hook=str))
        process.stdin.close()
        async for line in process.stdout:
            answer = msgspec.json.decode(line, type=Line)
            if isinstance(answer, Refusal):
                error = EquipoiseError(answer.reason)
                error.exit_code = answer.exit_code
                raise error
            yield answer
        if await process.wait() != 0:
            said = (await complaints).decode(errors="replace").strip().splitlines()
            raise EquipoiseError(f"the survey of this machine ended early: {said[-1] if said else process.returncode}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await complaints
        process._transport.close()  # type: ignore[attr-defined]  # or it complains when the loop has gone


def main() -> None:
    """Answer the question on standard input."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question, dec_hook=_decoded)
    try:
        for answer in _answers(question):
            _say(answer)
    except EquipoiseError as error:
        _say(Refusal(reason=str(error), exit_code=error.exit_code))


def _answers(question: Question) -> Iterator[Line]:
    if isinstance(question, ProcessorsQuestion):
        yield ProcessorsAnswer(processors=processors_named(question.names, question.split_cpu))
        return
    store = ProfileStore(question.data_folder)
    if not question.measure:
        for (processor_name, variant), measurement in known_here(question.family, question.processors, store).items():
            if variant in question.variants:
                yield PairAnswer(processor=processor_name, variant=variant, measurement=measurement)
        return
    for variant in question.variants:
        yield from _pairs(question.family, question.processors, variant, store)


def _pairs(
    family: Family, processors: tuple[LocalProcessor, ...], variant: str, store: ProfileStore
) -> Iterator[PairAnswer]:
    """A variant on every processor; told together, because what they cost each other is measured last."""
    try:
        found = profile_here(family, processors, store, variants=[variant])
    except ModelError as error:
        found = LocalProfiles(measured={}, failures={(processor.name, variant): str(error) for processor in processors})
    for (processor, _), measurement in found.measured.items():
        yield PairAnswer(processor=processor, variant=variant, measurement=measurement)
    for (processor, _), failure in found.failures.items():
        if processor != TOGETHER:
            yield PairAnswer(processor=processor, variant=variant, failure=failure)


def _say(answer: Line) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


def _decoded(wanted: type, value: Any) -> Any:
    return wanted(value) if issubclass(wanted, Path) else value


if __name__ == "__main__":
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    main()
