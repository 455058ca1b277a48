"""`defectctl doctor`: what a maintainer asks for first, fit to paste into a ticket."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, Annotated

import typer

from defectctl.errors import EXIT_FAILED
from defectctl.messages import set_quiet
from defectctl.version import __version__

if TYPE_CHECKING:
    from defectctl.diagnosis.checks import Check

INDENT = " " * 2


def command(
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Whether to compute something: train a step, predict images.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what needs attention.")] = False,
) -> None:
    """Look at the installation, the machine and the folders, and try a small job; for a ticket, or when in doubt.

    Exit code 0: all is well; 3: something needs attention; 1: the self-test failed. Nothing is sent anywhere, the
    user's name is taken out of paths, and what is written for a trial is removed.

    Example: defectctl doctor > report.txt
    """
    from defectctl.diagnosis.checks import exit_code
    from defectctl.diagnosis.doctor import diagnose

    set_quiet(quiet)
    began = time.perf_counter()
    if not (as_json or quiet):
        print(f"defectctl doctor {__version__}, Python {platform.python_version()}, {_now()}", flush=True)
    checks: list[Check] = []
    for check in diagnose(test):
        if not as_json:
            _print(check, quiet, heading=not checks or checks[-1].group != check.group)
        checks.append(check)
    code, seconds = exit_code(checks), time.perf_counter() - began
    if as_json:
        _print_json(checks, quiet, code, seconds)
    elif not quiet:
        print(f"\n{_verdict(checks, code)} ({seconds:.0f} s)")
    raise typer.Exit(code)


def _print(check: Check, quiet: bool, heading: bool) -> None:
    """One check as one line, with what to do on a second; headings only where everything is shown."""
    if quiet and not _needs_attention(check):
        return
    if heading and not quiet:
        print(f"\n{check.group}")
    print(f"{INDENT}{check.status:<9} {check.name}: {check.text}", flush=True)
    if check.advice:
        print(f"{INDENT}{'':<9} -> {check.advice}", flush=True)


def _print_json(checks: list[Check], quiet: bool, code: int, seconds: float) -> None:
    from defectctl.cli.tables import print_json

    shown = [check for check in checks if _needs_attention(check) or not quiet]
    keys = ("group", "name", "status", "text", "advice", "facts")
    print_json(
        {
            "defectctl": __version__,
            "when": _now(),
            "exit_code": code,
            "summary": _verdict(checks, code),
            "seconds": round(seconds, 1),
            "checks": [{key: getattr(check, key) for key in keys} for check in shown],
        }
    )


def _verdict(checks: list[Check], code: int) -> str:
    names = [check.name for check in checks if _needs_attention(check)]
    if not names:
        return "all is well"
    what = "the self-test failed" if code == EXIT_FAILED else f"{len(names)} finding{'s' * (len(names) > 1)}"
    return f"{what}; look at: {', '.join(names)}"


def _needs_attention(check: Check) -> bool:
    from defectctl.diagnosis.checks import FAILED, WARNING

    return check.status in (WARNING, FAILED)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
