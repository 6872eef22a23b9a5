"""What a process holds: threads, open files, memory, and programs that it has started."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

SPARE_FILES = 4
"""Connections to the API server may be kept for the next request: one for each kind of object."""
SPARE_MB = 64.0
PATIENCE_S = 90.0


class Footprint(NamedTuple):
    """At a moment."""

    threads: Counter[str]
    """By name."""
    files: list[str]
    """What each descriptor is, `socket:[4711]` for example."""
    programs: list[str]
    memory_mb: float


def footprint(process: int) -> Footprint:
    """What a process holds now; what comes and goes meanwhile may be missed."""
    proc = Path(f"/proc/{process}")
    threads, files, programs = Counter[str](), list[str](), list[str]()
    for task in (proc / "task").iterdir():
        with suppress(OSError):
            threads[(task / "comm").read_text().strip()] += 1
            programs += (task / "children").read_text().split()
    for one in (proc / "fd").iterdir():
        with suppress(OSError):
            files.append(str(one.readlink()))
    pages = int((proc / "statm").read_text().split()[1])
    return Footprint(threads, sorted(files), programs, pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20))


@contextmanager
def nothing_leaked(process: int, spare_mb: float = SPARE_MB) -> Iterator[None]:
    """After the block the process comes to hold no more than before it, but for some connections and memory."""
    before = footprint(process)
    yield
    deadline = time.monotonic() + PATIENCE_S
    while True:
        now = footprint(process)
        if (
            sum(now.threads.values()) <= sum(before.threads.values())
            and len(now.files) <= len(before.files) + SPARE_FILES
            and not now.programs
            and now.memory_mb <= before.memory_mb + spare_mb
        ):
            return
        if time.monotonic() > deadline:
            pytest.fail(f"something leaked: {before} became {now}")
        time.sleep(0.05)
