"""Stands before a program on PATH, and does to each start of it what a file beside it says.

`fail`: complain and refuse. `hang`: begin when somebody reads from the pipe beside it, or never. Else: nothing.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

COMPLAINT = "injected: No chain/target/match by that name."


class Wrapper(NamedTuple):
    """A directory with a wrapper for each of some programs; to be the first one on PATH."""

    folder: Path

    @property
    def path(self) -> str:
        """For the environment."""
        return f"{self.folder}:{os.environ['PATH']}"

    def behave(self, how: str) -> None:
        """From the next start on."""
        fresh = self.folder / "behaviour.new"
        fresh.write_text(how)
        fresh.rename(self.folder / "behaviour")

    @contextmanager
    def released(self) -> Iterator[None]:
        """What hangs goes on, and nothing hangs during the block or after it."""
        self.behave("")
        reader = os.open(self.folder / "hanging", os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield
        finally:
            os.close(reader)


def wrapped(folder: Path, *programs: str) -> Wrapper:
    """Wrappers for these programs that do nothing so far."""
    folder.mkdir()
    os.mkfifo(folder / "hanging")
    for program in programs:
        path = folder / program
        path.write_text(f"#!{sys.executable} -ESs\n{Path(__file__).read_text()}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    made = Wrapper(folder)
    made.behave("")
    return made


def become(own: Path, arguments: list[str]) -> None:
    """The next program of that name on PATH, unless told otherwise."""
    how = (own.parent / "behaviour").read_text()
    if how == "fail" and "--version" not in arguments:
        sys.exit(f"{own.name}: {COMPLAINT}\nError occurred at line: 1")
    if how == "hang":
        with (own.parent / "hanging").open("wb"):  # until somebody reads
            pass
    places = [Path(one) for one in os.environ["PATH"].split(":") if one and Path(one) != own.parent]
    found = next(place / own.name for place in places if (place / own.name).exists())
    os.execv(found, [own.name, *arguments])  # noqa: S606 - never a shell


if __name__ == "__main__":
    become(Path(sys.argv[0]).absolute(), sys.argv[1:])
