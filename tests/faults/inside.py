"""Runs a command in a mount namespace of its own, made as told: `inside.py FAULT PLACE COMMAND…`.

`read-only`: the mount at PLACE cannot be written to. `full`: a small file system lies there that has no room left; who
removes the file `filler` in it gives it room again. `full-log`: the same, and what the command says goes there too.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

SIZE_BYTES = 64 * 1024
FILLER, LOG = "filler", "log"


def become(fault: str, place: str, command: list[str]) -> None:
    """The command, in this process."""
    if fault == "read-only":
        subprocess.run(["mount", "--bind", place, place], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    else:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "none", place], check=True)
        with contextlib.suppress(OSError), Path(place, FILLER).open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * SIZE_BYTES)
    if fault == "full-log":
        log = os.open(Path(place, LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, sys.stdout.fileno())
        os.dup2(log, sys.stderr.fileno())
    os.execvp(command[0], command)  # noqa: S606 - never a shell


if __name__ == "__main__":
    become(sys.argv[1], sys.argv[2], sys.argv[3:])
