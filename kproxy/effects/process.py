"""The one door that starts programs.

Never a shell, never the whole of this process's environment: a program gets
its arguments as a list, its input as bytes, and an environment of PATH and
`LC_ALL=C`, so that its messages can be read by us. What a program answers is a value; only a
missing program and a silent one are errors.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from kproxy.core.values import Value
from kproxy.effects.only_reading import check_program
from kproxy.errors import KproxyError, UnsupportedHost

SYSTEM_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for after the caller's PATH, which often lacks the sbin directories."""


REMEMBERED_S = 60.0
"""For how long after its end a program is known as ours: what it did may be told of a little later."""

_ours_until: dict[int, float] = {}
"""Until when (monotonic) a process id is that of a program of ours."""


class Result(Value, frozen=True):
    """What a program left: its exit status (negative: the signal that ended it) and both outputs."""

    status: int
    output: str
    errors: str


class ProcessFailed(KproxyError):
    """A program could not be run now; another time it may."""


class ProcessTimeout(ProcessFailed):
    """A program did not end in time and was killed, with all that it had started."""


Run: TypeAlias = Callable[[Sequence[str], str, float], Result]
"""Starts a program: its arguments, its standard input, its time limit in seconds."""


def run(argv: Sequence[str], stdin: str, timeout_s: float) -> Result:
    """Start a program and wait for it.

    Raises:
        UnsupportedHost: there is no such program, or it may not be started.
        ProcessTimeout: it was killed after `timeout_s` seconds.
        ProcessFailed: this process has no descriptor, memory or room for another process left to start it with.
        WouldWrite: the calling thread only reads, and this program could write.
    """
    check_program(argv)
    try:
        status, output, errors = _communicate(argv, stdin.encode(), timeout_s)
    except (FileNotFoundError, PermissionError) as error:
        raise UnsupportedHost(f"{argv[0]} cannot be started: {error.strerror}; install it, or run as root") from error
    except subprocess.TimeoutExpired as error:
        raise ProcessTimeout(f"{argv[0]} did not end within {timeout_s:g} s and was killed") from error
    except OSError as error:
        raise ProcessFailed(f"{argv[0]} cannot be started now: {error.strerror}") from error
    return Result(status, output.decode(errors="replace"), errors.decode(errors="replace"))


def _communicate(argv: Sequence[str], stdin: bytes, timeout_s: float) -> tuple[int, bytes, bytes]:
    environment = {"PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PLACES}".lstrip(":"), "LC_ALL": "C"}
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - no shell; who calls names the program
        list(argv), stdin=pipe, stdout=pipe, stderr=pipe, env=environment, process_group=0
    ) as child:
        _ours_until[child.pid] = math.inf
        try:
            output, errors = child.communicate(stdin, timeout_s)
        except BaseException:
            _kill(child.pid)
            raise
        finally:
            _remember(child.pid)
    return child.returncode, output, errors


def _kill(leader: int) -> None:
    """End a program with all that it has started: what a wrapper runs must not write rules later."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


@atexit.register
def _kill_running() -> None:
    """End what threads still wait for that end with this process."""
    for leader in [one for one, until in _ours_until.copy().items() if until == math.inf]:
        _kill(leader)


def is_lately_ours(process: int) -> bool:
    """Whether this is the process id of a program that `run` started, running or ended not `REMEMBERED_S` ago."""
    return time.monotonic() < _ours_until.get(process, -math.inf)


def _remember(process: int) -> None:
    """Keep a program that ends for a while, and forget those that ended long ago: their numbers are given again."""
    now = time.monotonic()
    _ours_until[process] = now + REMEMBERED_S
    for old in [one for one, until in _ours_until.copy().items() if until < now]:
        _ours_until.pop(old, None)
