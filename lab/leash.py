"""Become a program that ends with the process that asked for it: `leash.py PARENT COMMAND…`.

`setpriv --pdeathsig` asks for the same signal, but a parent that died before it
asked never sends one; here the parent is looked at once more after asking.
Run by its path, without site packages, so that it takes a fiftieth of a second.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""linux/prctl.h; kept across execve(2), see prctl(2)."""


def become(parent: int, command: list[str]) -> None:
    """Replace this process by `command` (found on PATH), which gets SIGTERM when `parent` ends; not if it has."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(f"leash: process {parent} is gone: {command[0]} is not started")
    os.execvp(command[0], command)  # noqa: S606 - never a shell


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
