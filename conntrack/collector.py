"""Looks at the table every now and then for the sake of metrics, in a thread of its own and within a budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from conntrack.metrics import table_metrics
from conntrack.services import Services
from conntrack.stats import Tally, summarise
from conntrack.table import Table
from kproxy.core.metrics import Reading
from kproxy.errors import KproxyError

EVERY_S: Final = 30.0
SHARE: Final = 0.02
"""What share of one processor collecting may take: a large table is looked at less often."""


class Stopped(Exception):
    """The thread is to end."""


class Collector:
    """Keeps the newest metrics of the table; `latest` never waits. May be started again after it was stopped."""

    def __init__(
        self,
        services: Callable[[], Services],
        fail: Callable[[KproxyError], None],
        open_table: Callable[[], Table] = Table,
        every_s: float = EVERY_S,
    ) -> None:
        self._services = services
        self._fail = fail
        self._open_table = open_table
        self._every_s = every_s
        self._woken = threading.Event()
        self._stopped = False
        self._latest: tuple[Reading, ...] = ()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the thread works in the network namespace of the caller."""
        self._stopped = False
        self._woken.clear()
        self._thread = threading.Thread(target=self._run, name="conntrack-collector", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, though a look is under way, and wait for it; what was found is forgotten."""
        self._stopped = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
        self._latest = ()

    def look(self) -> None:
        """Look now, if it was started: Services have come to be known."""
        self._woken.set()

    def latest(self) -> tuple[Reading, ...]:
        """The metrics of the last look that succeeded; empty before the first."""
        return self._latest

    def _run(self) -> None:
        while not self._stopped:
            start = time.thread_time()
            try:
                self._latest = self._collect()
            except Stopped:
                return
            except KproxyError as error:
                self._fail(error)
            took_s = time.thread_time() - start
            self._woken.wait(max(self._every_s, took_s / SHARE))
            self._woken.clear()

    def _collect(self) -> tuple[Reading, ...]:
        with self._open_table() as table:
            tally = table.whole(self._tally)
            services = self._services()
            summary = summarise(tally, services)
            if not services.made_of:
                # Addresses would stand for Services then.
                summary = msgspec.structs.replace(summary, services={}, endpoints={})
            return table_metrics(table.limits(), table.cpu_counters(), summary)

    def _tally(self, batches: Iterator[list[bytes]]) -> Tally:
        tally = Tally(clients=False)
        for batch in batches:
            if self._stopped:
                raise Stopped
            tally.add(batch)
        return tally
