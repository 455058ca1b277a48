"""The console entry: a group whose commands are loaded only when they are called."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from defectctl.cli.guard import guarded
from defectctl.errors import EXIT_OK, InputError, Interrupted, nearest
from defectctl.messages import set_quiet
from defectctl.version import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "prepare": ("defectctl.cli.prepare", "Turn a raw folder of images and labels into a dataset."),
    "train": ("defectctl.cli.train", "Train a model on a dataset."),
    "evaluate": ("defectctl.cli.evaluate", "Score a model on a part of a dataset."),
    "predict": ("defectctl.cli.predict", "Find defects in images: masks, boxes, verdicts."),
    "export": ("defectctl.cli.export", "Write a model as ONNX, to predict without torch."),
    "benchmark": ("defectctl.cli.benchmark", "Count parameters and operations of a model and time it."),
    "doctor": ("defectctl.cli.doctor", "Look at the installation and the machine; for a ticket, or when in doubt."),
    "demo": ("defectctl.cli.demo", "All steps once, on generated steel surfaces."),
}
"""Command -> the module with its function `command`, and its line in the help."""

TIDY_SECONDS = 5.0
"""How long after a Ctrl-C another one is overlooked, so that an impatient second does not leave half-written files."""

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class LazyGroup(TyperGroup):
    """A group that knows its commands by `COMMANDS` and imports a command's module only to run it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands' names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and build one command; None where there is none of that name."""
        return build_command(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that `args` begins with, or say which is nearest."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            names = list(COMMANDS)
            raise InputError(f"no command '{args[0]}'{nearest(args[0], names)} (commands: {', '.join(names)})")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands from the table, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C ends it with one line instead of typer's silence."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; what was finished is kept") from error


def _make_quiet(value: bool) -> bool:
    if value:
        set_quiet(True)
    return value


def _common(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages and no progress.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that every command takes."""


def build_command(name: str) -> Any:
    """Build the typer command of `COMMANDS[name]`, with the options that every command takes."""
    function = importlib.import_module(COMMANDS[name][0]).command
    command = _to_command(function, name)
    named = {option for param in command.params for option in param.opts}
    for param in _to_command(_common, "common").params:
        if not named.intersection(param.opts):
            param.expose_value = False
            param.callback = (lambda ctx, param, value: _make_quiet(value)) if param.name == "quiet" else None
            command.params.append(param)
    return command


def _to_command(function: Any, name: str) -> Any:
    single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=SETTINGS)
    single.command(name)(function)
    return typer.main.get_command(single)


def _show_version(value: bool) -> None:
    if value:
        print(f"defectctl {__version__}")
        raise typer.Exit(EXIT_OK)


# Completion is left out: its installer writes into the user's shell settings.
app = typer.Typer(
    name="defectctl",
    cls=LazyGroup,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=SETTINGS,
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Find, outline and grade surface defects in photographs of industrial parts.

    Begin with: defectctl demo
    """


class _Interrupter:
    """Raises KeyboardInterrupt at a first Ctrl-C or SIGTERM; more of them do not disturb the tidying up after it."""

    def __init__(self) -> None:
        self._first: float | None = None

    def __call__(self, signum: int, frame: Any) -> None:
        now = time.monotonic()
        if self._first is None or now - self._first > TIDY_SECONDS:
            self._first = now
            raise KeyboardInterrupt


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, once; only the main thread may set that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A SIGINT that the caller ignores (nohup, a shell's background job) stays ignored.
    ours = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        ours.append(signal.SIGINT)
    interrupter = _Interrupter()
    before = {number: signal.signal(number, interrupter) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prepare_streams() -> None:
    """UTF-8 on every system; a file name that is no valid text is shown with escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code (see `errors`).

    Args:
        args: arguments without the program's name; None: those of the process.
    """
    _prepare_streams()
    given = list(sys.argv[1:] if args is None else args)

    def run() -> Any:
        group = typer.main.get_command(app)
        # None lets typer expand wildcards on Windows, whose shells do not.
        return group.main(args=None if args is None else given, prog_name="defectctl", standalone_mode=False)

    with _signals_as_interrupt():
        return guarded(run, debug="--debug" in given)
