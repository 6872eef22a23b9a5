"""kproxy as a process on the laboratory's node, started as a user would start it, and watched by its log."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lab.machine import LabError, Machine
from lab.topology import NODE_NAME

KPROXY = str(Path(sys.executable).with_name("kproxy"))
FIRST, AGAIN = "synced for the first time", "synced"
FAMILIES = frozenset({"IPv4", "IPv6"})
STOP_TIMEOUT_S = 15.0
WAIT_S = 30.0

Entry = dict[str, Any]
"""One line of the log."""


class Agent:
    """A running agent and all that it has logged."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.process = process
        self.entries: list[Entry] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def _read(self, log: IO[bytes]) -> None:
        with log:
            for line in log:
                with self._news:
                    self.entries.append(_entry(line))
                    self._news.notify_all()
        self.process.wait()
        with self._news:
            self._news.notify_all()

    def wait(
        self, is_done: Callable[[Sequence[Entry]], bool], what: str, since: int = 0, patience_s: float = WAIT_S
    ) -> list[Entry]:
        """Wait until the log from its entry `since` on is as wanted, and return that part; LabError if it ends."""
        with self._news:
            self._news.wait_for(
                lambda: is_done(self.entries[since:]) or self.process.poll() is not None, timeout=patience_s
            )
            heard = self.entries[since:]
        if not is_done(heard):
            raise LabError(f"the agent did not say {what} (exit status {self.process.poll()}); it said {heard}")
        return heard

    def wait_synced(self, families: frozenset[str] = FAMILIES) -> list[Entry]:
        """Wait for the first sync of each family."""
        return self.wait(lambda heard: families <= _synced(heard, FIRST), FIRST)

    @contextmanager
    def change(self, *families: str) -> Iterator[None]:
        """Do something in the block, then wait until these families have been synced because of it."""
        since = len(self.entries)
        yield
        self.wait(lambda heard: set(families) <= _synced(heard, AGAIN), f"{AGAIN} {families}", since)

    def stop(self) -> int:
        """End it as a service manager would, and return its exit status."""
        self.process.terminate()
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._reader.join(STOP_TIMEOUT_S)
        return status


def _synced(heard: Sequence[Entry], event: str) -> set[str]:
    return {entry["family"] for entry in heard if entry.get("event") == event}


def _entry(line: bytes) -> Entry:
    try:
        entry: Entry = json.loads(line)
    except ValueError:
        return {"event": line.decode(errors="replace").rstrip()}
    return entry


@contextmanager
def agent(node: Machine, source: str | Path, *options: str, through: Sequence[str] = ()) -> Iterator[Agent]:
    """An agent on the node that follows a source (a directory of manifests, say), synced; stopped at the end.

    Its rules stay. `through` is a command that runs another command, as env(1) does; the agent is started through it.
    """
    command = [KPROXY, "run", "--source", str(source), "--node-name", NODE_NAME, "--log-format", "json", *options]
    process = node.start(*through, *command, output=subprocess.PIPE)
    if process.stdout is None:
        raise LabError("the agent has no output to read")
    running = Agent(process, process.stdout)
    try:
        running.wait_synced()
        yield running
    finally:
        running.stop()
