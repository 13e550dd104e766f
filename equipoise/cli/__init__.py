"""The command line: `equipoise COMMAND ...`, exit codes, and errors as one line instead of a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import typer

import equipoise
from equipoise.errors import EquipoiseError

INTERRUPTED = 130  # what shells say of a program that ended with Ctrl-C


class _Command(NamedTuple):
    module: str
    function: str  # or the name of a Typer with commands of its own


_COMMANDS = {
    "run": _Command("equipoise.cli.run", "run"),
    "demo": _Command("equipoise.cli.demo", "demo"),
    "plan": _Command("equipoise.cli.plan", "plan"),
    "simulate": _Command("equipoise.cli.simulate", "simulate"),
    "stream": _Command("equipoise.cli.stream", "stream"),
    "admit": _Command("equipoise.cli.admit", "admit"),
    "frontier": _Command("equipoise.cli.frontier", "frontier"),
    "lab": _Command("equipoise.cli.lab_commands", "lab_app"),  # which collects what the lab_*.py files add
    "profile": _Command("equipoise.cli.profile", "profile"),
    "node": _Command("equipoise.cli.node", "node"),
    "nodes": _Command("equipoise.cli.nodes", "nodes"),
    "evaluate": _Command("equipoise.cli.evaluate", "evaluate"),
    "cluster": _Command("equipoise.cli.cluster", "cluster_app"),
    "family": _Command("equipoise.cli.family_build", "family_app"),  # which adds `build` to what family.py has
}
_LASTING = ("node", "nodes")  # which may go on for months


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code; the entry point of the `equipoise` script."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if sys.stdout is None:
        _leave("standard output is closed; to discard what is printed, send it to /dev/null", 1)
    try:
        _run(arguments)
    except OSError as error:
        _discard_stdout()
        _leave(f"standard output cannot be written: {error.strerror}", 1)


def _run(arguments: Sequence[str]) -> NoReturn:
    try:
        command = typer.main.get_command(_app(arguments))
        command.main(args=list(arguments), prog_name="equipoise")
    except EquipoiseError as e:
        _leave(str(e), e.exit_code)
    except KeyboardInterrupt:
        _leave_interrupted()
    except SystemExit as e:
        sys.stdout.flush()  # here, where it may fail with a message
        if e.code == INTERRUPTED:  # Typer makes it of a KeyboardInterrupt, without a word
            _leave_interrupted()
        raise
    except Exception as e:
        if isinstance(e, OSError):
            print(flush=True)  # fails in the same way once more if this was what failed
        if os.environ.get("EQUIPOISE_DEBUG"):
            raise
        what = f"{type(e).__name__}: {e}" if str(e) else type(e).__name__
        _leave(f"this is a bug in Equipoise ({what}); run again with EQUIPOISE_DEBUG=1 for the traceback to report", 1)
    raise AssertionError("a command leaves through SystemExit")


def _leave_interrupted() -> NoReturn:
    print("equipoise: interrupted", file=sys.stderr)
    sys.exit(INTERRUPTED)


def _discard_stdout() -> None:
    """Have what is still buffered go nowhere, or Python complains about it when it ends."""
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _leave(message: str, exit_code: int) -> NoReturn:
    from equipoise.cli.console import printable  # noqa: PLC0415 - takes a while to import, and is seldom needed

    print(f"equipoise: error: {printable(message)}", file=sys.stderr)
    sys.exit(exit_code)


def _app(arguments: Sequence[str]) -> typer.Typer:
    """The application with the command that is asked for, or with all of them where none can be told.

    Each command's module is imported only when it is needed, so that none has to pay for the others.
    """
    app = typer.Typer(
        name="equipoise",
        help=equipoise.__doc__,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_options)
    asked_for = next((word for word in arguments if not word.startswith("-")), None)
    if asked_for in _LASTING:
        from equipoise.node.allocation import share_one_heap  # noqa: PLC0415 - the others need not pay for it

        share_one_heap()  # before libraries that are imported start threads
    for name in [asked_for] if asked_for in _COMMANDS else _COMMANDS:
        command = _COMMANDS[name]
        _register(app, name, getattr(import_module(command.module), command.function))
    return app


def _register(app: typer.Typer, name: str, command: typer.Typer | Callable[..., Any]) -> None:
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"equipoise {equipoise.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Inference on unequal edge boards that keeps two promises at once: fast enough and accurate enough."""
