"""Turns whatever goes wrong in a command into one sentence on stderr and the right exit code."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable
from typing import Any

from defectctl.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, DefectctlError, nearest

MEMORY_ERRORS = ("OutOfMemoryError", "_ArrayMemoryError", "MemoryError")
"""Names of the exceptions of torch, numpy and Python (compared by name: torch is not imported for it)."""

JARGON = (
    (r"Input should be a valid integer.*", "must be a whole number"),
    (r"Input should be a valid number.*", "must be a number"),
    (r"Input should be (?=greater|less)", "must be "),
    (r"\bValue error, ", ""),
    (r"\bdir '", "folder '"),
)


def guarded(run: Callable[[], Any], debug: bool = False) -> int:
    """Call `run` and return the process' exit code.

    Args:
        run: returns an exit code or None, or raises.
        debug: print the traceback of an error before its sentence.
    """
    try:
        result = run()
    except KeyboardInterrupt:
        return _tell("interrupted; what was finished is kept", EXIT_INTERRUPTED)
    except Exception as error:
        if debug:
            _print_traceback()
        return _explain(error, debug)
    return result if isinstance(result, int) and not isinstance(result, bool) else EXIT_OK


def _explain(error: Exception, debug: bool) -> int:
    """Print the sentence for `error` and return its exit code."""
    if isinstance(error, DefectctlError):
        return _tell(str(error), error.exit_code)
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # typer's own and older click's alike
        return _explain_usage(error)
    if type(error).__name__ in MEMORY_ERRORS:
        return _tell("out of memory; use smaller batches or a smaller input, or close other programs", EXIT_FAILED)
    if type(error).__name__ == "Abort":
        return _tell("input ended before an answer was given", EXIT_FAILED)
    if isinstance(error, OSError) and error.strerror:
        return _explain_system(error)
    hint = "" if debug else "; run again with --debug to see where"
    text = " ".join(str(error).split()) or "no further word"
    return _tell(f"unexpected {type(error).__name__} ({text}): this is a fault in defectctl{hint}", EXIT_FAILED)


def _explain_usage(error: Any) -> int:
    """A wrong option or argument, as typer found it."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help(), file=sys.stderr)
        return EXIT_USAGE
    text = error.format_message()
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and context is not None:
        known = [name for param in context.command.params for name in param.opts if name.startswith("--")]
        text = f"no such option {option}{nearest(option, [*known, '--help'])}"
    text = _plain(text)
    place = f" (see '{context.command_path} --help')" if context is not None else ""
    return _tell(f"{text}{place}", EXIT_USAGE)


def _plain(text: str) -> str:
    """Typer's words in ours: current versions hand through what pydantic says of a value."""
    for pattern, words in JARGON:
        text = re.sub(pattern, words, text)
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _explain_system(error: OSError) -> int:
    """What the operating system refused."""
    if error.errno == errno.ENOSPC:
        return _tell("the disk is full; make room and run again", EXIT_FAILED)
    place = f" '{error.filename}'" if error.filename else ""
    if isinstance(error, FileNotFoundError):
        return _tell(f"file or folder{place} does not exist", EXIT_USAGE)
    if isinstance(error, PermissionError):
        return _tell(f"no permission to use{place}; check its rights or choose another place", EXIT_USAGE)
    if isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)):
        return _tell(f"{error.strerror.lower()}:{place}; check the path", EXIT_USAGE)
    if error.errno in (errno.EROFS, errno.ENAMETOOLONG):
        return _tell(f"{error.strerror.lower()}:{place}; choose another place", EXIT_USAGE)
    return _tell(f"{error.strerror.lower()}{':' if place else ''}{place}", EXIT_FAILED)


def _tell(text: str, code: int) -> int:
    print(f"error: {text}", file=sys.stderr, flush=True)
    return code


def _print_traceback() -> None:
    import traceback

    traceback.print_exc(file=sys.stderr)
