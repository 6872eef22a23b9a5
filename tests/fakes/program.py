"""Runs `kproxy` as its users do, in this process or as a program of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from kproxy.cli.session import start

COMMAND = [sys.executable, "-c", "from kproxy.cli import main; main()"]
TIMEOUT_S = 60
_MAY_READ = "-all,+dac_read_search"
AS_NOBODY = [
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *(f"--inh-caps={_MAY_READ}", f"--ambient-caps={_MAY_READ}"),
]
"""Runs a command as an ordinary user, who may read this checkout wherever it is."""


class Ran(NamedTuple):
    """What a run left."""

    code: int
    out: str
    err: str


def run_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ran:
    """Run in this process."""
    capsys.readouterr()
    code = start(arguments)
    out, err = capsys.readouterr()
    return Ran(code, out, err)


def run_program(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Ran:
    """Run as a program, in the calling thread's network namespace."""
    done = subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=env
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs until the block ends, and is killed if it still runs then."""
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
