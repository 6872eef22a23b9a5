"""The one door that starts programs.

Never a shell, never the whole of this process's environment: a program gets
its arguments as a list, its input as bytes, and an environment of PATH and
`LC_ALL=C`, so that its messages can be read by us. What a program answers is a value; only a
missing program and a silent one are errors.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from typing import TypeAlias

from kproxy.core.values import Value
from kproxy.errors import KproxyError, UnsupportedHost

SYSTEM_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for after the caller's PATH, which often lacks the sbin directories."""


class Result(Value, frozen=True):
    """What a program left: its exit status (negative: the signal that ended it) and both outputs."""

    status: int
    output: str
    errors: str


class ProcessTimeout(KproxyError):
    """A program did not end in time and was killed."""


Run: TypeAlias = Callable[[Sequence[str], str, float], Result]
"""Starts a program: its arguments, its standard input, its time limit in seconds."""


def run(argv: Sequence[str], stdin: str, timeout_s: float) -> Result:
    """Start a program and wait for it.

    Raises:
        UnsupportedHost: there is no such program, or it may not be started.
        ProcessTimeout: it was killed after `timeout_s` seconds.
    """
    try:
        done = subprocess.run(  # noqa: S603 - an argument list, no shell; who calls names the program
            list(argv),
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PLACES}".lstrip(":"), "LC_ALL": "C"},
        )
    except (FileNotFoundError, PermissionError) as error:
        raise UnsupportedHost(f"{argv[0]} cannot be started: {error.strerror}; install it, or run as root") from error
    except subprocess.TimeoutExpired as error:
        raise ProcessTimeout(f"{argv[0]} did not end within {timeout_s:g} s and was killed") from error
    return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
