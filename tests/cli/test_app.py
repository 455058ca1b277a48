"""The command group: help without heavy imports, mistakes in one sentence, exit codes."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
import typer

from defectctl.cli import app as application
from defectctl.cli.app import COMMANDS, main
from defectctl.cli.guard import guarded
from defectctl.errors import InputError, RunError

HEAVY = {
    "torch",
    "torchvision",
    "cv2",
    "scipy",
    "matplotlib",
    "timm",
    "segmentation_models_pytorch",
    "numpy",
    "rich",
    "pydantic",
    "yaml",
    "PIL",
}
COMMAND_HEAVY = HEAVY - {"numpy", "rich", "pydantic", "yaml", "PIL"}


class Kind(str, Enum):
    """A choice of the toy command."""

    A = "a"
    B = "b"


def imported_by(*arguments: str) -> tuple[int, str, set[str]]:
    """Run the command line in a fresh interpreter; return exit code, output, and the packages it imported."""
    code = (
        "import sys; from defectctl.cli.app import main; code = main(sys.argv[1:]); "
        "print('\\nMODULES', *{m.split('.')[0] for m in sys.modules}); sys.exit(code)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, encoding="utf-8", check=False
    )
    output, _, modules = run.stdout.partition("\nMODULES")
    return run.returncode, output + run.stderr, set(modules.split())


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Put a command `toy` into the table; its behaviour is set through `commands["run"]`."""
    held: dict = {"run": lambda: None}

    def command(
        images: Annotated[Path, typer.Argument(exists=True, help="Images.")],
        size: Annotated[int, typer.Option(help="Size.")] = 3,
        kind: Annotated[Kind, typer.Option(help="Kind.")] = Kind.A,
    ) -> None:
        """Play.

        Example: defectctl toy .
        """
        held["size"] = size
        held["run"]()

    monkeypatch.setitem(sys.modules, "toy_command", SimpleNamespace(command=command))
    monkeypatch.setattr(application, "COMMANDS", {"toy": ("toy_command", "Play."), **COMMANDS})
    return held


def test_help_lists_every_command_and_imports_none() -> None:
    code, output, modules = imported_by("--help")
    assert code == 0
    assert all(name in output for name in COMMANDS)
    assert not modules & HEAVY


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_without_heavy_imports(name: str) -> None:
    code, output, modules = imported_by(name, "--help")
    assert code == 0, output
    assert f"defectctl {name}" in output
    assert "--debug" in output
    assert "--quiet" in output
    assert not modules & COMMAND_HEAVY


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_module(name: str) -> None:
    assert importlib.util.find_spec(COMMANDS[name][0])


def test_no_arguments_show_help_and_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    seen = capsys.readouterr()
    assert "Usage: defectctl" in seen.err
    assert seen.out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["toi"], "error: no command 'toi'; did you mean 'toy'? (commands: toy, "),
        (["--versoin"], "error: no such option --versoin; did you mean '--version'? (see 'defectctl --help')"),
        (["toy", ".", "--sise", "3"], "no such option --sise; did you mean '--size'? (see 'defectctl toy --help')"),
        (["toy", ".", "--size", "big"], "error: invalid value for '--size': "),
        (["toy", ".", "--kind", "c"], "error: invalid value for '--kind': 'c' is not one of 'a', 'b'"),
        (["toy", "no/such/folder"], "no/such/folder' does not exist"),
        (["toy"], "error: missing argument"),
        (["toy", ".", "extra"], "error: got unexpected extra argument"),
        (["toy", ".", "--size"], "--size"),
    ],
)
def test_wrong_usage_is_one_sentence(
    commands: dict, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    seen = capsys.readouterr()
    assert words in seen.err
    assert len(seen.err.strip().splitlines()) == 1
    assert "Traceback" not in seen.err
    assert "Input should" not in seen.err
    assert seen.out == ""


def test_command_runs_and_gives_its_exit_code(commands: dict) -> None:
    assert main(["toy", ".", "--size", "5"]) == 0
    assert commands["size"] == 5

    def finish() -> None:
        raise typer.Exit(3)

    commands["run"] = finish
    assert main(["toy", "."]) == 3


@pytest.mark.parametrize("arguments", [["--debug", "toy", "."], ["toy", ".", "--debug"]])
def test_debug_shows_the_traceback(commands: dict, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    commands["run"] = lambda: 1 // 0
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "unexpected ZeroDivisionError" in error


def test_quiet_silences_messages(
    commands: dict, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from defectctl import messages

    monkeypatch.setattr(messages, "_quiet", False)
    commands["run"] = lambda: messages.say("hello")
    main(["toy", "."])
    assert "hello" in capsys.readouterr().err
    main(["toy", ".", "--quiet"])
    assert "hello" not in capsys.readouterr().err


class OutOfMemoryError(RuntimeError):
    """Stands for torch.OutOfMemoryError."""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("the folder 'x' is empty; give another"), 2, "error: the folder 'x' is empty; give another\n"),
        (RunError("the device is gone"), 1, "error: the device is gone\n"),
        (KeyboardInterrupt(), 130, "error: interrupted; what was finished is kept\n"),
        (MemoryError(), 1, "error: out of memory"),
        (OutOfMemoryError("CUDA out of memory. Tried …"), 1, "error: out of memory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, "error: the disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.png"), 2, "error: file or folder 'a.png' does not exist"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 2, "error: no permission to use 'out'"),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"),
            2,
            "error: not a directory: 'a/b'; check the path",
        ),
        (OSError(errno.EIO, "Input/output error", "disk.png"), 1, "error: input/output error: 'disk.png'"),
        (KeyError("x"), 1, "error: unexpected KeyError ('x'): this is a fault in defectctl; run again with --debug"),
    ],
)
def test_errors_become_a_sentence_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, words: str
) -> None:
    def run() -> None:
        raise error

    assert guarded(run) == code
    text = capsys.readouterr().err
    assert text.startswith(words)
    assert len(text.splitlines()) == 1


def test_interrupt_inside_a_command(commands: dict, capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    commands["run"] = stop
    assert main(["toy", "."]) == 130
    assert capsys.readouterr().err == "error: interrupted; what was finished is kept\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process on SIGTERM without asking it")
def test_sigterm_ends_like_an_interrupt(commands: dict) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    commands["run"] = stop
    assert main(["toy", "."]) == 130
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
def test_an_impatient_second_interrupt_does_not_disturb_the_tidying_up(commands: dict) -> None:
    tidied = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins with it ignored

    def stop() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            tidied.append(True)

    commands["run"] = stop
    try:
        assert main(["toy", "."]) == 130
        assert tidied and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file names that are not text")
def test_file_names_that_are_no_text_can_be_printed() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "defectctl", b"pr\xffdict"],
        capture_output=True,
        check=False,
        # Not the C locale itself: in it Python cannot even read where a folder with an umlaut is installed from.
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
    )
    assert run.returncode == 2
    assert rb"pr\udcffdict" in run.stderr


def test_version() -> None:
    from defectctl import __version__

    code, output, _ = imported_by("--version")
    assert (code, output.strip()) == (0, f"defectctl {__version__}")
