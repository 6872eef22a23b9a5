"""One run of the program: what it returns to the shell, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from kproxy.errors import KproxyError
from kproxy.report.layout import printable

PROGRAM = "kproxy"
COMPLETION_VARIABLE = "_KPROXY_COMPLETE"
"""Set by a shell's completion script, when it wants words instead of a run."""
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE
NOT_WRITTEN = 74
"""The output has no room where it goes (EX_IOERR of sysexits.h)."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNEXPECTED = 70
"""An error of kproxy's own (EX_SOFTWARE of sysexits.h)."""


class Session:
    """What the options at any place of the command line add up to."""

    def __init__(self) -> None:
        self.verbosity = 0


def start(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    session = Session()
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = _run(arguments, session)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence(sys.stdout)
        return PIPE_CLOSED
    except KproxyError as error:
        _say(str(error))
        return error.exit_code
    except Exception as error:
        if session.verbosity:
            raise
        return _unexpected(error)
    return code


def _open_standard_streams() -> None:
    """Where the caller closed one, nothing is read and nothing written; and no socket gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - it stays open as long as we run


def _unexpected(error: Exception) -> int:
    """Say what went wrong: a full disk behind our output, or a defect."""
    if isinstance(error, OSError) and error.errno in FULL:
        _silence(sys.stdout)
        _say(f"the output cannot be written: {error.strerror}")
        return NOT_WRITTEN
    _say(f"unexpected {type(error).__name__}: {error}; this is a defect of kproxy, -v shows where it happened")
    return UNEXPECTED


def _run(arguments: Sequence[str], session: Session) -> int:
    """As click's own `main`, but that every error comes through: a closed pipe is no exit code 1 there may be."""
    from kproxy.cli.app import app  # noqa: PLC0415 - so that its import's errors are told as all others are

    instruction = os.environ.get(COMPLETION_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete  # noqa: PLC0415 - seldom

        return shell_complete(app, {"obj": session}, PROGRAM, COMPLETION_VARIABLE, instruction)
    try:
        with app.make_context(PROGRAM, list(arguments), obj=session) as context:
            result = app.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    return result if isinstance(result, int) else 0


def _say(text: str) -> None:
    """A sentence on standard error, if anybody listens."""
    with contextlib.suppress(OSError):
        lines = text.splitlines() or [""]
        click.echo("\n".join(f"{PROGRAM}: {printable(line)}" for line in lines), err=True)


def _silence(stream: TextIO) -> None:
    """Whoever read this has gone: let nothing more be written, not even at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
